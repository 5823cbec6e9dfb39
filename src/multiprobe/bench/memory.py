"""`bench memory`: kernel memory that each command takes on these functions, by the number of possible CPUs.

For other numbers of CPUs it is predicted, as `--dry-run` does; for this machine it is measured, too: what the kernel
allocated for itself meanwhile (/proc/meminfo), of which other work may be a part.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from multiprobe.bench.attaching import OURS
from multiprobe.bench.figures import Case, Figure, Task, in_turn
from multiprobe.errors import DataError, UsageError
from multiprobe.instruments import count
from multiprobe.instruments.errors import instrument as errors
from multiprobe.instruments.errors.program import make_program
from multiprobe.instruments.graph import instrument as graph
from multiprobe.instruments.graph.program import GraphProbe
from multiprobe.instruments.latency import instrument as latency
from multiprobe.instruments.latency.program import LatencyProbe
from multiprobe.instruments.stacks import instrument as stacks
from multiprobe.instruments.stacks.program import StacksProbe
from multiprobe.instruments.trace import instrument as trace
from multiprobe.instruments.trace.filter import Filter
from multiprobe.instruments.trace.program import TraceProbe
from multiprobe.kernel.memory import kernel_bytes_used, load_meminfo
from multiprobe.links.plan.mechanisms import Mechanisms
from multiprobe.links.plan.memory import predict_maps, predict_memory
from multiprobe.links.plan.planning import plan_attachment
from multiprobe.links.plan.programs import ProgramSettings, plan_program
from multiprobe.maps.cpus import load_n_cpus

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from multiprobe import Program
    from multiprobe.functions.sets import FunctionSet

CPUS = (8, 32, 128)
QUIET_SECONDS, SETTLING_SECONDS = 1.0, 30.0
NOISE_BYTES = 100_000


class _Command(NamedTuple):
    """The side on which a command's program runs, that program, and how it is started."""

    when: str
    program: Callable[[], Program]
    start: Callable[[FunctionSet], AbstractContextManager[object]]


COMMANDS = {
    "count": _Command("entry", lambda: count.count, count.start),
    "latency": _Command("session", lambda: LatencyProbe().program, latency.start),
    "latency --self": _Command(
        "session", lambda: LatencyProbe(has_self=True).program, partial(latency.start, has_self=True)
    ),
    "latency --by process": _Command(
        "session", lambda: LatencyProbe(by="process").program, partial(latency.start, by="process")
    ),
    "trace": _Command(
        "session",
        lambda: TraceProbe(Filter(), entries_only=False, size=trace.RING_SIZE).program,
        trace.start,
    ),
    "errors": _Command("session", make_program, errors.start),
    "graph": _Command("session", lambda: GraphProbe(max_events=graph.MAX_EVENTS).program, graph.start),
    "stacks": _Command("entry", lambda: StacksProbe(has_user=False, is_timed=False).program, stacks.start),
}


def measure(task: Task) -> Iterator[Figure]:
    """What is predicted for each command, by CPUs, and what it took here."""
    here = _n_cpus()
    functions = task.functions.attachable()
    for name, one in COMMANDS.items():
        task.step(f"memory: {name}")
        for n_cpus in sorted({*CPUS, here}):
            predicted = _predicted(one, functions, n_cpus)
            if predicted is not None:
                yield _figure(name, "predicted", (float(predicted),), len(functions), n_cpus)
    cases = {Case(OURS, name): lambda one=one: _taken(one, functions) for name, one in COMMANDS.items()}
    for case, runs in in_turn("memory", cases, task).items():
        yield _figure(case.way, "measured", tuple(run["measured"] for run in runs), len(functions), here)


def _figure(name: str, step: str, runs: tuple[float, ...], n: int, n_cpus: int) -> Figure:
    return Figure(bench="memory", step=step, tool=OURS, way=name, unit="bytes", runs=runs, functions=n, cpus=n_cpus)


def _predicted(command: _Command, functions: FunctionSet, n_cpus: int) -> int | None:
    """Bytes of maps and links together; None where the command would be refused."""
    plan, _ = plan_attachment(functions, Mechanisms.of(None), when=command.when)
    try:
        planned = plan_program(command.program(), functions.take(plan.planned), plan, ProgramSettings(), n_cpus=n_cpus)
        maps = predict_maps(planned, n_parts=len(plan.groups))
    except UsageError:
        return None
    return maps + predict_memory(plan, functions.table, n_cpus)


def _taken(command: _Command, functions: FunctionSet) -> dict[str, float]:
    """Bytes that the kernel has allocated for itself once the command's program is attached."""
    before = _settled()
    with command.start(functions):
        after = kernel_bytes_used(load_meminfo())
    return {"measured": float(max(0, after - before))}


def _settled() -> int:
    """What the kernel uses once it has freed what was closed before, which it does in the background."""
    used, quiet_since = kernel_bytes_used(load_meminfo()), time.monotonic()
    deadline = quiet_since + SETTLING_SECONDS
    while (now := time.monotonic()) < deadline and now - quiet_since < QUIET_SECONDS:
        time.sleep(0.1)
        before, used = used, kernel_bytes_used(load_meminfo())
        if used < before - NOISE_BYTES:
            quiet_since = time.monotonic()
    return used


def _n_cpus() -> int:
    try:
        return load_n_cpus()
    except DataError:  # sysfs isn't mounted
        return 1
