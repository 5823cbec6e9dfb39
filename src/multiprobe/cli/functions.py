"""`multiprobe functions`: lists functions, which mechanisms can attach to each, and why not."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

import multiprobe as mp
from multiprobe.binaries.libraries import split_requests
from multiprobe.cli.command import SETTINGS, Command
from multiprobe.cli.completing import complete_pattern
from multiprobe.cli.options import (
    AttachingOption,
    OutputOption,
    SelectionOption,
    general_options,
    json_option,
    output_option,
    unsafe_option,
)
from multiprobe.cli.params import NATURAL
from multiprobe.cli.results import Results
from multiprobe.cli.slips import advise
from multiprobe.cli.user_functions import explain, show
from multiprobe.compiler.shape import SIDES
from multiprobe.errors import NoMatchError, PatternError, UsageError
from multiprobe.functions.describe import records, why
from multiprobe.functions.pattern import parse_pattern
from multiprobe.output.table import Column, TextTable, write_table
from multiprobe.output.terminal import write_lines
from multiprobe.plurals import plural_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from multiprobe.functions.describe import FunctionRecord
    from multiprobe.functions.kernel import Kernel
    from multiprobe.functions.sets import FunctionSet

EXAMPLES = """\
Examples:
  multiprobe functions 'tcp_*'                          all of a subsystem
  multiprobe functions '*' --refused                    functions that can't be attached to
  multiprobe functions --takes 'struct sk_buff *'       by the type of an argument
  multiprobe functions 'nf_*:*' --returns int --json    of modules, by the return type, for scripts
  multiprobe functions --why migrate_disable            every rule for one function
  multiprobe functions '/usr/bin/python3:Py*' 'libc:mem*'    of a program and a library
  multiprobe functions 'libstdc++:usdt:*'                    USDT probes of a library"""


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionsOptions:
    """The options of `functions`."""

    patterns: tuple[str, ...]
    why: tuple[str, ...]
    takes: str | None
    position: int | None
    returns: str | None
    n_args: int | None
    module: str | None
    when: str
    only_attachable: bool
    only_refused: bool
    unsafe: bool
    json: bool
    output: str | None
    kernel_files: str | None

    def __post_init__(self) -> None:
        """Raise UsageError for options that exclude each other, or select nothing."""
        if self.why and self.patterns:
            raise UsageError(
                "--why and PATTERN exclude each other", hint=f"multiprobe functions --why {self.patterns[0]}"
            )
        if self.only_attachable and self.only_refused:
            raise UsageError("--attachable and --refused exclude each other")
        if not self.why and not self.patterns and not self.has_conditions:
            raise UsageError("no functions were asked for", hint="give a PATTERN, such as '*', or --takes TYPE")

    @property
    def has_conditions(self) -> bool:
        """Whether functions are also chosen by types or module."""
        conditions = (self.takes, self.position, self.returns, self.n_args, self.module)
        return any(one is not None for one in conditions)

    @property
    def only(self) -> bool | None:
        """Show only functions that can be attached to (True), or that can't (False)."""
        return True if self.only_attachable else False if self.only_refused else None


def run(options: FunctionsOptions) -> int:
    """Select and list functions. Returns the exit status."""
    try:
        with Results(options.output, is_text=not options.json) as results:
            return _run(options, results)
    except (NoMatchError, PatternError) as error:
        advise(error, options.patterns)
        raise


def _run(options: FunctionsOptions, results: Results) -> int:
    of_binaries, patterns = split_requests(options.patterns)
    if of_binaries and (options.has_conditions or options.kernel_files):
        raise UsageError("types, modules and files of a kernel are for functions of the kernel, not of programs")
    for request in of_binaries:
        show(results, request, only=options.only, json=options.json)
    names = [name for name in options.why if not explain(results, name, json=options.json)]
    if patterns or names or options.has_conditions:
        return _run_kernel(options, results, patterns, names)
    return 0


def _run_kernel(options: FunctionsOptions, results: Results, patterns: Sequence[str], names: Sequence[str]) -> int:
    kernel = mp.Kernel.from_directory(options.kernel_files) if options.kernel_files else mp.Kernel()
    if names:
        return _explain(kernel, results, names, unsafe=options.unsafe, json=options.json)
    chosen = kernel.functions(
        *patterns,
        unsafe=options.unsafe,
        takes=options.takes,
        position=options.position,
        returns=options.returns,
        n_args=options.n_args,
        module=options.module,
    )
    _show(kernel, results, chosen, when=options.when, only=options.only, json=options.json)
    if not len(chosen):
        asked = " ".join(patterns) or "these types"
        reason = str(chosen.unresolved[0]) if chosen.unresolved else f"no function matches {asked}"
        raise NoMatchError(reason, hint="multiprobe functions '*' lists all functions")
    return 0


def _show(kernel: Kernel, results: Results, chosen: FunctionSet, *, when: str, only: bool | None, json: bool) -> None:
    found = list(records(chosen, when=when))
    shown = [record for record in found if only is None or record.is_attachable == only]
    if json:
        results.json(map(_to_json, shown))
    elif shown:
        write_table(_table(shown), results.file)
    _note(kernel.problems())
    n_attachable = sum(record.is_attachable for record in found)
    _say(f"{plural_text(len(chosen), 'function')}: {n_attachable:,} attachable, {len(found) - n_attachable:,} refused")


def _to_json(record: FunctionRecord) -> dict[str, object]:
    return {
        "type": "function",
        "function": record.function,
        "address": None if record.address is None else f"{record.address:#x}",
        "module": record.module,
        "verdict": "attachable" if record.is_attachable else "refused",
        "mechanisms": record.mechanisms,
        "reason": record.reason,
        "code": record.code,
    }


def _table(shown: Sequence[FunctionRecord]) -> TextTable:
    has_modules = any(record.module for record in shown)
    titles = ["FUNCTION", *(["MODULE"] if has_modules else []), "MECHANISMS", "WHY NOT"]
    rows = []
    for record in shown:
        reason = record.reason.removeprefix(f"{record.function} ")
        module = [record.module or "vmlinux"] if has_modules else []
        rows.append([record.function, *module, " ".join(record.mechanisms) or "-", reason])
    return TextTable(tuple(Column(title) for title in titles), rows)


def _explain(kernel: Kernel, results: Results, names: Sequence[str], *, unsafe: bool, json: bool) -> int:
    """Print all rules for each name."""
    missing = []
    for name in names:
        pattern = parse_pattern(name)
        if pattern.is_exclusion or not pattern.names_one:
            raise UsageError(f"--why expects the name of one function, not the pattern {name!r}")
        answers, problem = why(kernel, pattern, unsafe=unsafe)
        missing += [problem] if problem else []
        if json:
            results.json({"type": "why", **answer} for answer in answers)
        elif answers:
            results.lines("\n\n".join("\n".join(_why_lines(answer)) for answer in answers).split("\n"))
            if len(answers) > 1:
                results.lines(["", f"{len(answers)} functions are called {name}: use an address to select one."])
    if missing:
        raise NoMatchError("; ".join(missing))
    _note(kernel.problems())
    return 0


def _why_lines(answer: dict[str, Any]) -> Iterable[str]:
    """The explanation of one function as text."""
    yield f"{answer['function']}  {answer['address'] or '(address hidden)'}  {answer['module'] or 'vmlinux'}"
    if answer["signature"]:
        yield f"  {answer['signature']}"
    if answer["aliases"]:
        yield f"  also called {', '.join(answer['aliases'])}: a call of one is a call of all"
    if answer["call_offset"]:
        yield f"  ftrace's call site is at offset {answer['call_offset']}, behind the landing pad (ENDBR)"
    told: set[str] = set()
    for entry, leave in zip(answer["rules"][::2], answer["rules"][1::2], strict=True):
        state = _state(entry["allowed"], leave["allowed"])
        built = "" if entry["offered"] else "; this kernel was built without it"
        yield f"  {entry['mechanism']:<14} {state}{built}"
        for rule in (*entry["against"], *(rule for rule in leave["against"] if rule not in entry["against"])):
            if rule["code"] in told:
                yield f"{'':17}{rule['code']}: see above"
                continue
            told.add(rule["code"])
            yield f"{'':17}{rule['code']}: {rule['reason']}"
            yield f"{'':17}    {rule['kernel']}"


def _state(entry: bool, leave: bool) -> str:
    if entry and leave:
        return "yes"
    if not entry and not leave:
        return "no"
    return "at the entry only" if entry else "at the return only"


def _note(problems: Iterable[str]) -> None:
    for problem in problems:
        _say(f"note: {problem}")


def _say(text: str) -> None:
    write_lines([text], sys.stderr)


@click.command("functions", cls=Command, epilog=EXAMPLES, context_settings=SETTINGS)
@click.argument("patterns", nargs=-1, metavar="PATTERN…", shell_complete=complete_pattern)
@click.option("--takes", cls=SelectionOption, metavar="TYPE", help="Only functions with a parameter of this C type.")
@click.option(
    "--position", cls=SelectionOption, type=NATURAL, metavar="N", help="With --takes: only as the Nth, from 0."
)
@click.option("--returns", cls=SelectionOption, metavar="TYPE", help="Only functions that return this C type.")
@click.option(
    "--args", "n_args", cls=SelectionOption, type=NATURAL, metavar="N", help="Only functions with N parameters."
)
@click.option(
    "--module", cls=SelectionOption, metavar="GLOB", help="Only functions of these modules; vmlinux is the kernel."
)
@click.option(
    "--attachable", "only_attachable", cls=SelectionOption, is_flag=True, help="Only functions that can be attached to."
)
@click.option(
    "--refused", "only_refused", cls=SelectionOption, is_flag=True, help="Only functions that can't be attached to."
)
@click.option(
    "--when",
    cls=AttachingOption,
    type=click.Choice(SIDES),
    default="entry",
    show_default=True,
    help="The side of the function where a probe would run.",
)
@unsafe_option
@click.option(
    "--kernel-files", cls=AttachingOption, metavar="DIR", help="Another kernel, known by copies of its files in DIR."
)
@click.option(
    "--why", cls=OutputOption, multiple=True, metavar="NAME", help="Explain every rule for one function; repeatable."
)
@json_option
@output_option
@general_options
def command(**params: Any) -> int:
    """List functions of this kernel or of programs, which mechanisms can attach to each, and why not.

    PATTERN is a glob ('tcp_*'), a /regular expression/, module:pattern, a system call (syscall:openat), an exact
    symbol, an address or symbol+offset; !PATTERN excludes. Functions of a program or library are named by its path or
    name: '/usr/bin/python3:Py*', 'libc:mem*', './a.out:main'. Nothing is attached.
    """
    return run(FunctionsOptions(**params))
