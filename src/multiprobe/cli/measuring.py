"""The steps of a command that measures, with words on stderr for those that take long.

Knows choosing, forking the command, attaching, waiting for the end, reporting and detaching; must not know what is
measured. On the way to the first attached function: imports nothing heavy.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import multiprobe as mp
from multiprobe.cli.forms import print_json, print_report
from multiprobe.cli.stopping import Until
from multiprobe.errors import NoMatchError, NotSupportedError, UsageError
from multiprobe.instruments.verify import verify
from multiprobe.instruments.workload import Workload
from multiprobe.links.plan.preview import instruction_rate, preview
from multiprobe.output.progress import Progress
from multiprobe.output.units import plural_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from multiprobe.cli.live import Live
    from multiprobe.cli.stopping import Until
    from multiprobe.functions.sets import FunctionSet
    from multiprobe.instruments.workload import Workload
    from multiprobe.output.table import TextTable

SAFETY = ("budget", "careful", "watchdog", "strict", "verify")


def check(name: str, *, command: Sequence[str], pid: int | None, command_only: bool) -> None:
    """Raise UsageError for what can't mean anything."""
    if command_only and not command:
        raise UsageError(
            "--command-only needs a command", hint=f"multiprobe {name} PATTERN… --command-only -- COMMAND…"
        )
    if command_only and pid is not None:
        raise UsageError("--command-only and --pid name two processes: give one of them")
    if pid is not None and not os.path.exists(f"/proc/{pid}"):
        raise UsageError(f"there is no process {pid}")


def choose(patterns: Sequence[str], *, unsafe: bool, kernel_files: str | None = None) -> FunctionSet:
    """The functions that match: this kernel's, or those of one known by copies of its files. Raises NoMatchError."""
    with Progress("reading the kernel's functions"):
        kernel = mp.Kernel.from_directory(kernel_files) if kernel_files else mp.Kernel()
        functions = kernel.functions(*patterns, unsafe=unsafe)
    if not len(functions) and not functions.unresolved:
        raise mp.NoMatchError(
            f"no function matches {' '.join(patterns)}",
            hint="`multiprobe functions PATTERN…` shows what a pattern matches; quote patterns in a shell",
        )
    return functions


def prepare(command: Sequence[str]) -> Workload | None:
    """The command, forked and waiting, or None."""
    if not command:
        return None
    return Workload(command)


def attach(
    start: Callable[..., Any],
    functions: FunctionSet,
    *,
    when: str,
    strict: bool = False,
    verify: bool = False,
    mechanism: str | None = None,
    without: Sequence[str] = (),
    max_singles: int = 1000,
    budget: float | None = None,
    careful: bool = False,
    watchdog: float | None = None,
    **options: Any,
) -> Any:
    """`start(functions, when=…, …)`, an instrument's, with words on stderr if it takes long.

    strict: `detach` raises IncompleteError if anything is known to be missing; verify: `make_report` makes known calls
    """
    mechanisms = mp.Mechanisms(only=mechanism, without=without, max_singles=max_singles)
    limits = mp.Limits(budget=budget, careful=careful, watchdog=watchdog)
    with Progress(f"attaching to {plural_text(functions.n_attachable(when=when), 'function')}") as shown:
        made = start(functions, when=when, mechanisms=mechanisms, limits=limits, progress=shown.update, **options)
    made.is_strict = strict
    made.verify_side = when if verify else ""
    return made


def watch(
    measuring: Any,
    workload: Workload | None,
    *,
    duration: float | None,
    pid: int | None,
    show: Callable[[Any, Any, int], TextTable] | None = None,
    on_sample: Callable[[Any], object] | None = None,
    every: Callable[[], float] = lambda: 1.0,
    live: Live[Any] | None = None,
) -> Any:
    """Let the command go and measure until the end: of time, command or process, or Ctrl-C. The last sample.

    measuring: an instrument that runs, with `sample()` and `stop()`; `show(sample, the one before or None, rows)` makes
    the table that a terminal shows meanwhile, `on_sample(sample)` looks at samples too, every `every()` seconds,
    and ends it by answering True. `live` has the whole screen instead.
    """
    pid_fd = -1
    if pid is not None:
        try:
            pid_fd = os.pidfd_open(pid)
        except ProcessLookupError:  # it ended meanwhile
            return measuring.stop()
    fds = ([workload.end_fd] if workload else []) + ([pid_fd] if pid is not None else [])
    try:
        with Until(duration=duration, process_fds=fds) as until:
            if workload is not None:
                workload.release()
            if live is not None:
                live.run(measuring, until, every=every, on_sample=on_sample)
                return measuring.stop()
            # A command that writes to the same terminal has it to itself.
            if show is not None and sys.stderr.isatty() and not (workload and sys.stdout.isatty()):
                return _watch_live(measuring, until, show, on_sample, every)
            while not until.wait(every()):
                if on_sample is not None and on_sample(measuring.sample()):
                    break
            return measuring.stop()
    finally:
        if pid_fd >= 0:
            os.close(pid_fd)


def _watch_live(
    measuring: Any,
    until: Until,
    show: Callable[[Any, Any, int], TextTable],
    on_sample: Callable[[Any], object] | None,
    every: Callable[[], float],
) -> Any:
    """The same with a table that is redrawn."""
    from multiprobe.output.live import LiveTable

    before: Any = None
    with LiveTable(sys.stderr) as live:
        while not until.wait(every()):
            sample = measuring.sample()
            if on_sample is not None and on_sample(sample):
                break
            title = f"{measuring.report.attached:,} functions, {sample.seconds:.0f} s, Ctrl-C ends"
            live.show(title, show(sample, before, live.rows))
            before = sample
        return measuring.stop()


def make_report(measuring: Any, workload: Workload | None, **more: Any) -> dict[str, Any]:
    """The report as `--json` prints it, with `more` of the instrument's own."""
    if measuring.verify_side:
        _verify(measuring)
    report: dict[str, Any] = measuring.report.to_json() | more
    if workload is not None:
        report["command"] = {"arguments": list(workload.command), "pid": workload.pid, "status": workload.poll()}
    return report


def _verify(measuring: Any) -> None:
    """Make known calls by each mechanism that was used, and note what was found of them."""
    with Progress("making known calls"):
        for mechanism in measuring.report.mechanisms:
            try:
                measuring.add_verified(verify(mechanism=mechanism, when=measuring.verify_side))
            except (NoMatchError, NotSupportedError) as error:
                measuring.note(f"no known calls could be made by {mechanism}: {error}")
    measuring.verify_side = ""


def print_plan(
    functions: FunctionSet,
    *,
    json: bool,
    when: str,
    mechanism: str | None,
    without: Sequence[str],
    max_singles: int,
    **_safety: object,
) -> int:
    """Print what would be attached, and what that would take. Limits don't change a plan."""
    mechanisms = mp.Mechanisms(only=mechanism, without=without, max_singles=max_singles)
    plan = preview(functions, mechanisms, when=when).to_json(rate=instruction_rate())
    if json:
        print_json([plan])
    else:
        print_report(plan, None, is_plan=True)
    return 0


def detach(measuring: Any) -> None:
    """Close it, with words on stderr if it takes long. Raises IncompleteError if that was asked for."""
    with Progress("detaching"):
        measuring.close()
    if measuring.is_strict:
        sys.stdout.flush()
        measuring.report.require_complete()
