"""`multiprobe coverage`: the functions that a command ran."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from multiprobe.binaries.mixed import kernel_of, name_fields
from multiprobe.binaries.sources import find_sources
from multiprobe.cli.files import writing
from multiprobe.cli.measurement import Measurement
from multiprobe.cli.measuring_command import measuring_command
from multiprobe.cli.options import MeasuringOptions, SelectionOption, measuring_options, top_option
from multiprobe.cli.params import POSITIVE
from multiprobe.errors import UsageError
from multiprobe.instruments.coverage import program
from multiprobe.instruments.coverage.covered import by_module, lcov_lines
from multiprobe.instruments.coverage.instrument import EVERY, start
from multiprobe.kernel.module_directories import load_module_directories
from multiprobe.names import printable
from multiprobe.output.progress import Progress
from multiprobe.output.table import Column, TextTable
from multiprobe.output.terminal import write_lines
from multiprobe.output.units import percent_text, time_text
from multiprobe.plurals import plural_text
from multiprobe.runs.covering import compare_coverage
from multiprobe.runs.run import Run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from multiprobe.binaries.mixed import AnyFunctionSet
    from multiprobe.binaries.sources import FunctionSources
    from multiprobe.compiler.program import Program
    from multiprobe.instruments.coverage.covered import CheckedCapability, Coverage, CoveredFunction
    from multiprobe.instruments.coverage.instrument import CoverageCollector
    from multiprobe.instruments.instrument import AttachOptions
    from multiprobe.runs.covering import CoverageChange

EXAMPLES = """\
Examples:
  multiprobe coverage '*' -- cat /etc/hostname                     all functions of the kernel
  multiprobe coverage '*' --runs 5 -- cat /etc/hostname            which of them run always, which sometimes
  multiprobe coverage '*' --save ok.jsonl.gz -- cat /etc/hostname  and then what a failure adds:
  multiprobe coverage '*' --against ok.jsonl.gz -- cat /missing
  multiprobe coverage './program:*' --lcov out.info -- ./program   for genhtml and editors
  multiprobe coverage 'ext4:*' --pid 4242 -d 10                    a process, for ten seconds"""

ENDING = """\
With a COMMAND, its calls and those of its children count, and no others; with --pid, those of that process; otherwise
those of the whole system. The measurement ends after --duration, when COMMAND or the process of --pid exits, or on
Ctrl-C."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CoverageOptions(MeasuringOptions):
    """The options of `coverage`."""

    runs: int = 1
    against: str | None = None
    lcov: str | None = None
    vmlinux: str | None = None

    def __post_init__(self) -> None:
        if self.command and self.pid is None:
            object.__setattr__(self, "command_only", True)
        MeasuringOptions.__post_init__(self)
        if self.vmlinux is not None and self.lcov is None:
            raise UsageError("--vmlinux is only for --lcov", hint="add --lcov FILE")
        if self.runs > 1 and not self.command_only:
            raise UsageError("--runs needs a COMMAND to run, and excludes --pid", hint="add: -- COMMAND…")
        if self.runs > 1 and self.no_children:
            raise UsageError("--runs and --no-children exclude each other: each run is another process")


class CoverageMeasurement(Measurement[CoverageOptions, "Coverage"]):
    """Notes which functions run."""

    every = EVERY
    is_replaceable = True
    instrument: CoverageCollector

    def __init__(self, options: CoverageOptions) -> None:
        super().__init__(options)
        self.before: Run | None = None
        self._n_begun = 1
        self._directories: dict[str, str] = {}
        self._sources: FunctionSources | None = None

    def program_ahead(self) -> Program:
        """The program that sets flags."""
        return program.cover

    def start(self, functions: AnyFunctionSet, options: AttachOptions) -> CoverageCollector:
        """Attach, once the run to compare with and the source lines are there."""
        if self.options.against is not None:
            self.before = Run.load(self.options.against)
            compare_coverage(set(), set(), self.before)  # raises if it is no run of coverage
        kernel = kernel_of(functions)
        self._directories = load_module_directories(kernel.release) if kernel else {}
        if self.options.lcov is not None:
            self._sources = self._find_sources(functions)
        return start(functions, **options)

    def _find_sources(self, functions: AnyFunctionSet) -> FunctionSources:
        with Progress("reading source lines"):
            found = find_sources(functions, vmlinux=self.options.vmlinux)
        write_lines([f"note: not in {self.options.lcov}: {problem}" for problem in found.problems], sys.stderr)
        return found

    def begin(self) -> None:
        """Begin the first run: what was called until now does not count."""
        self.instrument.begin_run()

    def runs_again(self) -> bool:
        """End a run, and prepare the next one."""
        self.instrument.end_run()
        if self._n_begun >= self.options.runs or self.workload is None:
            return False
        self._n_begun += 1
        self.workload = self.workload.again()
        self.instrument.begin_run(self.workload.pid)
        return True

    def finish(self, sample: Coverage) -> None:
        """Write the file of `--lcov`."""
        if self.options.lcov is not None and self._sources is not None:
            with writing(self.options.lcov) as file:
                file.writelines(f"{line}\n" for line in lcov_lines(sample, self._sources))

    def figures(self, sample: Coverage) -> dict[str, object]:
        """What was covered, in numbers and by what the names tell."""
        found: dict[str, object] = {
            "runs": sample.n_runs,
            "covered": len(sample.covered),
            "always": len(sample.always),
            "modules": [
                {
                    "module": row.module,
                    "directory": self._directories.get(row.module, ""),
                    "attached": row.attached,
                    "covered": row.covered,
                    "always": row.always,
                }
                for row in by_module(sample)
            ],
            "system_calls": sample.system_calls,
            "lsm_hooks": sample.lsm_hooks,
            "capabilities": None if sample.capabilities is None else list(map(_capability, sample.capabilities)),
            "seconds": round(sample.seconds, 6),
        }
        change = self._change(sample)
        if change is not None:
            found["against"] = {
                "new": [{"module": module, "function": name} for module, name in change.new],
                "gone": [{"module": module, "function": name} for module, name in change.gone],
                "not_compared": change.not_compared,
            }
        return found

    def rows(self, sample: Coverage, *, top: int = 0) -> Iterator[dict[str, object]]:
        """A row for each function that ran, in the order of the first calls."""
        for one in sample.covered[: top or None]:
            yield _row(one, self._directories.get(one.function.module, ""))

    def print(self, sample: Coverage) -> None:
        """Print the first functions, the modules, and what the names tell."""
        shown = sample.covered[: self.options.limit()]
        self.results.table(_functions(shown, sample), n_more=len(sample.covered) - len(shown))
        self.results.table(_modules(sample, self._directories))
        self.results.lines(self._lists(sample), hang=2)
        change = self._change(sample)
        if change is not None:
            self.results.lines(_change_lines(change, str(self.options.against)), hang=2)
        self.results.lines([_summary(sample)])

    def _lists(self, sample: Coverage) -> Iterator[str]:
        yield from _list("system calls", sample.system_calls)
        yield from _list("LSM hooks", sample.lsm_hooks)
        yield from _list("capabilities", list(map(_capability_text, sample.capabilities or ())))

    def _change(self, sample: Coverage) -> CoverageChange | None:
        if self.before is None:
            return None
        covered = {(one.function.module, one.function.name) for one in sample.covered}
        attached = {(function.module, function.name) for function in sample.functions}
        return compare_coverage(covered, attached, self.before)


def _row(one: CoveredFunction, directory: str) -> dict[str, object]:
    first = one.first
    return {
        "type": "function",
        **name_fields(one.function),
        "address": f"{one.function.address:#x}",
        "directory": directory,
        "runs": one.n_runs,
        "first_run": None if first is None else first.run,
        "first_ns": None if first is None else first.ns,
        "process": None if first is None else first.process,
        "thread": None if first is None else first.thread,
        "name": None if first is None else first.name,
    }


def _functions(covered: Sequence[CoveredFunction], sample: Coverage) -> TextTable:
    columns = (Column("FIRST AT", True), Column("RUNS", True, 3), Column("PID", True, 2), Column("COMMAND", False, 1))
    return TextTable((*columns, Column("FUNCTION")), [_cells(one, sample.n_runs) for one in covered])


def _cells(one: CoveredFunction, n_runs: int) -> tuple[str, ...]:
    runs = f"{one.n_runs}/{n_runs}"
    if one.first is None:
        return "?", runs, "?", "?", str(one.function)
    return time_text(one.first.ns), runs, str(one.first.process), printable(one.first.name), str(one.function)


def _modules(sample: Coverage, directories: dict[str, str]) -> TextTable:
    columns = (
        Column("COVERED", True),
        Column("ALWAYS", True, 2),
        Column("ATTACHED", True, 1),
        Column("SHARE", True, 3),
    )
    rows = [
        (
            f"{row.covered:,}",
            f"{row.always:,}",
            f"{row.attached:,}",
            percent_text(row.covered / row.attached),
            row.module or "(kernel image)",
            directories.get(row.module, ""),
        )
        for row in by_module(sample)
        if row.covered
    ]
    return TextTable((*columns, Column("MODULE"), Column("DIRECTORY", False, 4)), rows)


def _list(title: str, items: Sequence[str]) -> Iterator[str]:
    if items:
        yield f"{title} ({len(items):,}): {', '.join(items)}"


def _capability(one: CheckedCapability) -> dict[str, object]:
    return {"name": one.name, "granted": one.granted, "denied": one.denied}


def _capability_text(one: CheckedCapability) -> str:
    return f"{one.name} (denied {one.denied:,} of {one.granted + one.denied:,})" if one.denied else one.name


def _change_lines(change: CoverageChange, path: str) -> Iterator[str]:
    if not change.new and not change.gone:
        yield f"no difference from {path}"
    yield from _list(f"new against {path}", list(map(_label, change.new)))
    yield from _list(f"gone against {path}", list(map(_label, change.gone)))
    if change.not_compared:
        yield f"{plural_text(change.not_compared, 'function')} not compared: attached in one of the two runs only"


def _label(label: tuple[str, str]) -> str:
    module, name = label
    return f"{name} [{module}]" if module else name


def _summary(sample: Coverage) -> str:
    n, of = len(sample.covered), plural_text(len(sample.functions), "function")
    runs = f", {len(sample.always):,} of them in each of {sample.n_runs:,} runs" if sample.n_runs > 1 else ""
    return f"{n:,} of {of} ran{runs} in {sample.seconds:.2f} s"


@measuring_command("coverage", CoverageOptions, examples=EXAMPLES, ending=ENDING)
@click.option(
    "--runs",
    cls=SelectionOption,
    type=POSITIVE,
    default=1,
    show_default=True,
    metavar="N",
    help="Run COMMAND N times, and tell what runs always from what runs sometimes.",
)
@click.option(
    "--against",
    cls=SelectionOption,
    type=click.Path(),
    metavar="FILE",
    help="Compare with a run of coverage that --save wrote: what is new, what is gone.",
)
@click.option(
    "--lcov",
    cls=SelectionOption,
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Write which functions of which source files ran, in LCOV's format. Needs DWARF and pyelftools.",
)
@click.option(
    "--vmlinux",
    cls=SelectionOption,
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="The running kernel with its DWARF, for --lcov: that of a debug package unless told otherwise.",
)
@top_option
@measuring_options
def command(options: CoverageOptions) -> CoverageMeasurement:
    """Find out which functions a command ran, with its children.

    Prints the functions in the order of their first calls, with the task that made them; how much of each module ran;
    and the system calls, the hooks of security modules and the capabilities among them. After the first second,
    functions that have run are detached, and cost nothing any more.
    """
    return CoverageMeasurement(options)
