"""A command that measures: declared once, and run by one order of events.

Knows which options all such commands have, and what happens when: choose, fork the command, attach, let it go, wait,
stop, print, detach. What is asked, watched and printed is a `Question`, in the command's own file. On the way to the
first attached function: imports nothing heavy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from multiprobe.cli.forms import DEFAULT_TOP, Forms, print_json, print_report
from multiprobe.cli.group import tracing_command
from multiprobe.cli.live import check as check_live
from multiprobe.cli.measuring import (
    SAFETY,
    attach,
    check,
    choose,
    detach,
    make_report,
    prepare,
    print_plan,
    watch,
)
from multiprobe.cli.options import SHARED, Option
from multiprobe.compiler.compiling import compile_ahead
from multiprobe.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    import click

    from multiprobe.cli.live import Live
    from multiprobe.functions.sets import FunctionSet
    from multiprobe.instruments.workload import Workload
    from multiprobe.output.table import TextTable

COMMAND_ONLY = Option(
    "command_only", ("--command-only",), "flag", "Only what COMMAND's own process does.", default=False
)
FORMS = ("json", "csv", "parquet")
HOW = ("mechanism", "without", "max_singles", *SAFETY)
"""The options that say how to attach."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What every measuring command is asked."""

    patterns: Sequence[str]
    command: Sequence[str]
    duration: float | None
    pid: int | None
    command_only: bool
    top: int | None
    live: bool
    forms: Forms

    def limit(self, usual: int = DEFAULT_TOP) -> int | None:
        """How many rows of text are wanted; None: all."""
        return usual if self.top is None else self.top or None


class Question:
    """What one run of a command asks: what only this command knows.

    A subclass takes the values of the command's own options by name, and raises UsageError for what means nothing.
    """

    when = "entry"
    """At which end of a call: entry, return or session."""
    every = 1.0
    """Seconds between looks; may change meanwhile."""
    is_looking = False
    """Must `look` see samples while it runs?"""
    measuring: Any
    """The instrument, from when it runs."""
    workload: Workload | None = None

    def __init__(self, asked: Asked, **own: Any) -> None:
        self.asked = asked

    @staticmethod
    def ahead(options: dict[str, Any]) -> tuple[Any, str] | None:
        """The program that these options (all of the command) will need, and `when`, where it's known without a
        kernel: a virtual machine compiles slowly."""
        return None

    def start(self, functions: FunctionSet, **options: Any) -> Any:
        """Attach; the instrument, which runs."""
        raise NotImplementedError

    def begin(self) -> None:
        """It runs; the command doesn't yet."""

    def look(self, sample: Any) -> object:
        """See a sample; True ends it all."""
        return None

    def show(self) -> Callable[[Any, Any, int], TextTable] | None:
        """What makes the table that a terminal shows meanwhile of a sample, the one before or None, in so many rows."""
        return None

    def screen(self) -> Live[Any]:
        """The full-screen view."""
        raise NotImplementedError

    def figures(self, sample: Any) -> dict[str, Any]:
        """What the report says besides of the last sample."""
        raise NotImplementedError

    def rows(self, sample: Any) -> Iterable[dict[str, Any]]:
        """All results, as JSON objects: the rows of a table."""
        raise NotImplementedError

    def json(self, sample: Any) -> Iterable[dict[str, Any]]:
        """The JSON objects that are printed at the end: all results, unless some were printed before."""
        return self.rows(sample)

    def print(self, sample: Any, report: dict[str, Any]) -> None:
        """The results in the last sample, as text."""
        raise NotImplementedError

    def folded(self, sample: Any) -> Iterable[str]:
        """The last sample as folded stacks, line by line."""
        raise NotImplementedError

    def finish(self, sample: Any) -> None:
        """It's over: see the last sample, and write the files that the command's own options ask for."""


@dataclass(frozen=True, slots=True)
class Command:
    """A measuring command: its words, its question, and its options: its `own`, and which of the shared ones it `has`
    besides those that all have."""

    name: str
    help: str
    examples: str
    question: type[Question]
    own: tuple[Option, ...]
    has: tuple[str, ...] = ()

    @property
    def options(self) -> tuple[Option, ...]:
        """All of them, in the order of `--help`."""
        top = (SHARED["top"],) if "top" in self.has else ()
        live = (SHARED["live"],) if "live" in self.has else ()
        rest = (*FORMS, *HOW, "unsafe", "dry_run", "kernel_files", "vm", "debug")
        shared = (SHARED["pid"], COMMAND_ONLY, *live, *(SHARED[name] for name in rest))
        return (SHARED["duration"], *self.own, *top, *shared)

    def click_command(self) -> click.Command:
        """As click sees it."""
        return tracing_command(self.name, self.options, self.run, help=self.help, epilog=self.examples)

    def run(self, **options: Any) -> int:
        """Choose, attach, measure until the end, print. Returns the exit status."""
        asked = self._asked(options)
        question = self.question(asked, **{option.name: options[option.name] for option in self.own})
        unsafe = options["unsafe"]
        functions = choose(asked.patterns, unsafe=unsafe, kernel_files=options["kernel_files"])
        terms = {name: options[name] for name in HOW} | {"when": question.when}
        if options["dry_run"]:
            return print_plan(functions, **terms, json=asked.forms.json)
        workload = question.workload = prepare(asked.command)
        try:
            only = workload.pid if workload and asked.command_only else asked.pid
            with attach(question.start, functions, pid=only, unsafe=unsafe, **terms) as measuring:
                question.measuring = measuring
                question.begin()
                _report(question, _watch(question))
                detach(measuring)
        finally:
            if workload is not None:
                workload.close()
        return 0

    def _asked(self, options: dict[str, Any]) -> Asked:
        """The options that all have. Raises UsageError for what can't mean anything."""
        check(self.name, **{name: options[name] for name in ("command", "pid", "command_only")})
        live = options.get("live", False)
        forms = Forms(**{name: options[name] for name in FORMS}, folded=options.get("folded", False))
        if options["kernel_files"] and not options["dry_run"]:
            raise UsageError("--kernel-files is about another kernel: it can only be planned for", hint="add --dry-run")
        if live:
            check_live(is_text=forms.is_text)
        named = {name: options[name] for name in ("patterns", "command", "duration", "pid", "command_only")}
        return Asked(**named, top=options.get("top"), live=live, forms=forms)

    def compile_ahead(self, arguments: Sequence[str]) -> None:
        """Fill the cache with the program that this command line will need, if that can be known."""
        options = self.click_command().make_context(self.name, list(arguments)).params
        found = self.question.ahead(options)
        if found is not None:
            program, when = found
            is_guarded = options["budget"] is not None or options["careful"]
            compile_ahead(program, when=when, has_gate=is_guarded)


def _watch(question: Question) -> Any:
    """Measure until the end; the last sample."""
    asked = question.asked
    return watch(
        question.measuring,
        question.workload,
        duration=asked.duration,
        pid=asked.pid,
        show=question.show() if asked.forms.is_text else None,
        on_sample=question.look if question.is_looking else None,
        every=lambda: question.every,
        live=question.screen() if asked.live else None,
    )


def _report(question: Question, sample: Any) -> None:
    """Write the results in every form that is wanted."""
    forms, workload = question.asked.forms, question.workload
    trouble: OSError | None = None
    try:
        question.finish(sample)
    except OSError as error:  # a file: what else there is to show isn't lost with it
        trouble = error
    report = make_report(question.measuring, workload, **question.figures(sample))
    if forms.is_text:
        question.print(sample, report)
        print_report(report, workload)
    if forms.folded:
        forms.print_lines(question.folded(sample), report, workload)
    if forms.json:
        print_json([*question.json(sample), report])
    if forms.is_table:
        forms.write_table(question.rows(sample), report, workload)
    if trouble is not None:
        raise trouble
