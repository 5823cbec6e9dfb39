"""The options that commands have in common: as click decorators, and as the dataclass of what was given.

Each option belongs to a section of `--help`, by its class.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import click

from multiprobe.cli.completing import complete_pattern
from multiprobe.cli.params import (
    NATURAL,
    Duration,
    ListenAddress,
    Listening,
    MechanismName,
    OutputFile,
    Percentage,
    ProcessId,
    SavedRunFile,
)
from multiprobe.errors import NotSupportedError, UsageError
from multiprobe.kernel.mechanism import MECHANISMS
from multiprobe.links.guard.limits import MAX_MEMORY, Limits
from multiprobe.links.plan.mechanisms import FSESSION, MAX_SINGLES, Mechanisms

if TYPE_CHECKING:
    from multiprobe.instruments.instrument import AttachOptions

F = TypeVar("F", bound=Callable[..., Any] | click.Command)

DEFAULT_TOP = 40
"""Rows of text shown unless `--top` is given."""
METRICS_BUDGET = 0.05
"""With `--metrics`, which is for days, the part of CPU time that probes may use unless `--budget` is given."""


class SelectionOption(click.Option):
    """An option that says what to measure or to show."""

    section = "What to measure"


class StoppingOption(click.Option):
    """An option that says when to stop."""

    section = "When to stop"


class AttachingOption(click.Option):
    """An option that says how to attach."""

    section = "How to attach"


class SafetyOption(click.Option):
    """An option that limits the cost of tracing, or verifies the results."""

    section = "Safety and verification"


class OutputOption(click.Option):
    """An option that says what is printed and written."""

    section = "Output"


class GeneralOption(click.Option):
    """An option that any command has."""

    section = "General"


OTHERS = "Options"
"""The section of options without a class of their own."""
_KINDS = (SelectionOption, StoppingOption, AttachingOption, SafetyOption, OutputOption)
SECTIONS = (*(kind.section for kind in _KINDS), OTHERS, GeneralOption.section)


def _together(*decorators: Callable[[F], F]) -> Callable[[F], F]:
    """Decorators as one, in their order."""

    def decorate(function: F) -> F:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


patterns_argument = click.argument(
    "patterns", nargs=-1, required=True, metavar="PATTERN…", shell_complete=complete_pattern
)
duration_option = click.option(
    "--duration",
    "-d",
    cls=StoppingOption,
    type=Duration(),
    metavar="TIME",
    help="Stop after this time (10, 0.5, 500ms, 2m).",
)
top_option = click.option(
    "--top", "-n", cls=OutputOption, type=NATURAL, metavar="N", help="Show the N largest rows only; 0 shows all."
)
live_option = click.option(
    "--live", cls=OutputOption, is_flag=True, help="Show a full-screen view: sort, filter, pause, details."
)
folded_option = click.option(
    "--folded", cls=OutputOption, is_flag=True, help="Print folded stacks; all else goes to standard error."
)
flame_option = click.option(
    "--flame", cls=OutputOption, type=OutputFile(), metavar="FILE", help="Write a flame graph as SVG."
)
perfetto_option = click.option(
    "--perfetto", cls=OutputOption, type=OutputFile(), metavar="FILE", help="Write a trace for ui.perfetto.dev."
)
metrics_option = click.option(
    "--metrics",
    cls=OutputOption,
    type=Listening(),
    metavar="[HOST]:PORT",
    help="Serve the numbers to Prometheus while it measures, on the loopback interface unless HOST is given.",
)
json_option = click.option(
    "--json", cls=OutputOption, is_flag=True, help="Print one JSON object per line, for scripts."
)
csv_option = click.option(
    "--csv", cls=OutputOption, is_flag=True, help="Print the rows as CSV; all else goes to standard error."
)
unsafe_option = click.option(
    "--unsafe",
    cls=AttachingOption,
    is_flag=True,
    help="Include functions known to hang a machine, or to crash their program, when traced.",
)
vm_option = click.option(
    "--vm", cls=GeneralOption, metavar="[=VERSION]", help="Run this command in a throw-away virtual machine."
)
debug_option = click.option("--debug", cls=GeneralOption, is_flag=True, help="Show a traceback with an error.")
general_options = _together(vm_option, debug_option)

_selection_options = _together(
    click.option(
        "--pid",
        "-p",
        cls=SelectionOption,
        type=ProcessId(),
        metavar="PID",
        help="Measure only this process and its children; stop when it exits.",
    ),
    click.option(
        "--own",
        cls=SelectionOption,
        is_flag=True,
        help="Measure multiprobe's own processes, too, as count always does.",
    ),
    click.option(
        "--command-only", cls=SelectionOption, is_flag=True, help="Measure only COMMAND's process and its children."
    ),
    click.option(
        "--no-children",
        cls=SelectionOption,
        is_flag=True,
        help="With --pid or --command-only: measure the one process alone.",
    ),
)
_attaching_options = _together(
    click.option(
        "--mechanism",
        cls=AttachingOption,
        type=MechanismName(),
        metavar="NAME",
        help=f"Use only this mechanism: {', '.join(MECHANISMS)}.",
    ),
    click.option(
        "--without",
        cls=AttachingOption,
        type=MechanismName(FSESSION),
        multiple=True,
        metavar="NAME",
        help="Do not use this mechanism; repeatable.",
    ),
    click.option(
        "--max-singles",
        cls=AttachingOption,
        type=NATURAL,
        default=MAX_SINGLES,
        show_default=True,
        metavar="N",
        help="Attach at most N functions one by one; 0 is no limit.",
    ),
    unsafe_option,
    click.option(
        "--dry-run", cls=AttachingOption, is_flag=True, help="Print the plan of the attachment; attach nothing."
    ),
    click.option(
        "--kernel-files",
        cls=AttachingOption,
        metavar="DIR",
        help="With --dry-run: plan for another kernel, from its files in DIR.",
    ),
)
_safety_options = _together(
    click.option(
        "--budget",
        cls=SafetyOption,
        type=Percentage(),
        metavar="5%",
        help="Limit the CPU time of probes; detaches the most expensive functions.",
    ),
    click.option(
        "--careful", cls=SafetyOption, is_flag=True, help="Attach in steps; stop when the machine's latency suffers."
    ),
    click.option(
        "--watchdog",
        cls=SafetyOption,
        type=Duration(),
        default="10s",
        show_default=True,
        metavar="TIME",
        help="Detach if this process hangs for TIME; 0 disables it.",
    ),
    click.option(
        "--max-memory",
        cls=SafetyOption,
        type=Percentage(has_ends=True),
        default=MAX_MEMORY,
        show_default="25%",
        metavar="25%",
        help="Refuse to take more of the available memory for links; 0 is no limit.",
    ),
    click.option("--strict", cls=SafetyOption, is_flag=True, help="Exit with status 1 if the results are incomplete."),
    click.option(
        "--verify", cls=SafetyOption, is_flag=True, help="Make known calls, and compare them with the counts."
    ),
)


def _output_option(help_text: str) -> Callable[[F], F]:
    return click.option("--output", "-o", cls=OutputOption, type=OutputFile(), metavar="FILE", help=help_text)


output_option = _output_option("Write the results to FILE.")
_form_options = _together(
    json_option,
    csv_option,
    _output_option(
        "Write the results to FILE; otherwise, with --json, --csv or --folded, COMMAND prints to standard error."
    ),
    click.option(
        "--parquet", cls=OutputOption, type=OutputFile(), metavar="FILE", help="Also write the rows as a Parquet file."
    ),
    click.option(
        "--html",
        cls=OutputOption,
        type=OutputFile(),
        metavar="FILE",
        help="Also write a page with the rows, pictures, and what is missing.",
    ),
    click.option(
        "--save",
        cls=OutputOption,
        type=SavedRunFile(),
        metavar="FILE",
        help="Also save the run for merge and diff; compressed if FILE ends in .gz or .zst.",
    ),
)
measuring_options = _together(
    patterns_argument,
    _selection_options,
    duration_option,
    _attaching_options,
    _safety_options,
    _form_options,
    general_options,
)
"""What every measuring command has."""


def _has_zstd() -> bool:
    return sys.version_info >= (3, 14) or find_spec("zstandard") is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuringOptions:
    """What was given to a measuring command; each command adds its own options.

    `command` follows `--`. `line` is the whole command line, from the command's name. `top`, `live`, `folded`
    and `metrics` are options of some commands only.
    always_own: the command never leaves out multiprobe's own processes
    """

    always_own: ClassVar[bool] = False
    patterns: tuple[str, ...]
    command: tuple[str, ...] = ()
    line: tuple[str, ...] = field(default=(), compare=False)
    pid: int | None = None
    own: bool = False
    command_only: bool = False
    no_children: bool = False
    duration: float | None = None
    mechanism: str | None = None
    without: tuple[str, ...] = ()
    max_singles: int = MAX_SINGLES
    unsafe: bool = False
    dry_run: bool = False
    kernel_files: str | None = None
    budget: float | None = None
    careful: bool = False
    watchdog: float = 10.0
    max_memory: float = MAX_MEMORY
    strict: bool = False
    verify: bool = False
    json: bool = False
    csv: bool = False
    output: str | None = None
    parquet: str | None = None
    html: str | None = None
    save: str | None = None
    top: int | None = None
    live: bool = False
    folded: bool = False
    metrics: ListenAddress | None = None

    def __post_init__(self) -> None:
        """Raise UsageError for options that exclude each other, before anything is measured."""
        if self.command_only and not self.command:
            raise UsageError("--command-only needs a COMMAND", hint="add: -- COMMAND…")
        if self.command_only and self.pid is not None:
            raise UsageError("--command-only and --pid exclude each other")
        if self.no_children and not self.command_only and self.pid is None:
            raise UsageError("--no-children needs --pid or --command-only: otherwise all processes are measured")
        if self.kernel_files and not self.dry_run:
            raise UsageError("--kernel-files needs --dry-run: nothing can be attached to another kernel")
        printing = [f"--{name}" for name in ("json", "csv", "folded") if getattr(self, name)]
        if len(printing) > 1:
            raise UsageError(f"{' and '.join(printing)} exclude each other: all print to standard output")
        if self.metrics is not None and self.live:
            raise UsageError("--metrics and --live exclude each other", hint="a dashboard shows what --metrics serves")
        if self.parquet is not None and find_spec("pyarrow") is None:
            raise NotSupportedError("--parquet needs pyarrow", hint="pip install 'multiprobe[arrow]'")
        if self.save is not None and self.save.endswith(".zst") and not _has_zstd():
            raise NotSupportedError(
                "--save FILE.zst needs Python 3.14, or the package zstandard",
                hint="pip install 'multiprobe[zstd]', or use a name that ends in .gz",
            )

    @property
    def is_text(self) -> bool:
        """Whether the results are printed as text."""
        return not (self.json or self.csv or self.folded)

    @property
    def is_table(self) -> bool:
        """Whether all rows are written as a table at the end."""
        return self.csv or self.parquet is not None or self.html is not None

    @property
    def keeps_rows(self) -> bool:
        """Whether rows are needed at the end that text and JSON print as they come."""
        return self.is_table or self.save is not None

    @property
    def settings(self) -> dict[str, object]:
        """What the rows of a saved run depend on besides their functions."""
        is_one = self.pid is not None or self.command_only
        scope = "system" if not is_one else "process" if self.no_children else "process and children"
        return {"scope": scope}

    def limit(self, usual: int = DEFAULT_TOP) -> int | None:
        """The number of rows of text; None for all."""
        return usual if self.top is None else self.top or None

    @property
    def mechanisms(self) -> Mechanisms:
        """The mechanisms to choose from. Raises UsageError if none is left."""
        return Mechanisms(only=self.mechanism, without=self.without, max_singles=self.max_singles)

    @property
    def limits(self) -> Limits:
        """The limits of the attachment."""
        budget = METRICS_BUDGET if self.metrics is not None and self.budget is None else self.budget
        return Limits(budget=budget, careful=self.careful, watchdog=self.watchdog, max_memory=self.max_memory)

    def attach_options(self, workload_pid: int | None) -> AttachOptions:
        """The options of `multiprobe.attach`; `workload_pid` is the process of COMMAND."""
        pid = workload_pid if self.command_only else self.pid
        return {
            "own": self.own or (self.always_own if pid is None else self.no_children),
            "mechanisms": self.mechanisms,
            "limits": self.limits,
            "unsafe": self.unsafe,
            "pid": pid,
            "children": not self.no_children,
        }
