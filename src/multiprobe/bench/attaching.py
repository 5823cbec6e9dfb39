"""`bench attach`: time to attach an empty program to n functions, and to detach it, by each mechanism and tool; and to
all of them the program of `count`.

Batches: all functions and parts of them. One by one: `SINGLES` functions, since that takes seconds each hundred.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

import multiprobe as mp
from multiprobe.bench import bpftrace, libbpf, system_calls
from multiprobe.bench.figures import Case, Figure, Run, Task, figures, in_turn
from multiprobe.errors import MultiprobeError
from multiprobe.instruments.count import count
from multiprobe.kernel.mechanism import MECHANISMS, Mechanism
from multiprobe.links.plan.usable import usable_mechanisms

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from multiprobe.functions.sets import FunctionSet

SIZES = (10, 100, 1_000, 10_000)
SINGLES = 40
_WARMED = 1_000
"""Batches of so many are attached once before they are measured: what a large one left behind is cleared up by then."""
OURS, RAW = "multiprobe", "system calls"
_BY_TYPES = Mechanism.TRACING_MULTI | Mechanism.TRAMPOLINE


@mp.program
def empty(ctx: mp.Context) -> None:
    """Do nothing."""


def measure(task: Task) -> Iterator[Figure]:
    """All figures of this kernel, mechanism by mechanism."""
    yield _found(task)
    _note_bpftrace(task)
    with libbpf.built(task.notes) as in_c:
        for mechanism in usable_mechanisms(mp.Kernel(), when="entry") & Mechanism.KERNEL:
            functions = _attachable(task, mechanism)
            for n in _sizes(mechanism, len(functions)):
                cases = _cases(task, mechanism, spread(functions, n), in_c, is_whole=n == len(functions))
                yield from _compared(task, mechanism, dict(cases), n)


def _sizes(mechanism: Mechanism, n: int) -> list[int]:
    """How many functions are attached to, of `n`."""
    return sorted({min(SINGLES, n)} if mechanism.is_single else {*(size for size in SIZES if size < n), n}) if n else []


def _note_bpftrace(task: Task) -> None:
    if not task.bpftraces:
        task.notes.append("attach: bpftrace is left out: it is not installed")
    elif not bpftrace.probes(task.patterns):
        task.notes.append(f"attach: bpftrace is left out: it has no such patterns as {' '.join(task.patterns)}")


def _found(task: Task) -> Figure:
    """Reading the kernel's lists of functions and choosing, in this process, which has done so before."""
    runs = []
    for n in range(task.n_runs):
        task.step(f"attach: finding functions, run {n + 1} of {task.n_runs}")
        began = time.perf_counter()
        mp.Kernel().functions(*task.patterns).attachable()
        runs.append(time.perf_counter() - began)
    n_found = len(task.functions.attachable())
    return Figure(bench="attach", step="find", tool=OURS, way="", unit="s", runs=tuple(runs), functions=n_found)


def _attachable(task: Task, mechanism: Mechanism) -> FunctionSet:
    """The functions that the kernel lets us attach to by a mechanism, of those that come one by one a few.

    To know which, all are attached to once. After that, every code that is measured has run.
    """
    functions = task.functions.attachable(mechanism)
    if mechanism & _BY_TYPES:
        functions = _of_image(functions)
    if mechanism.is_single:
        functions = spread(functions, min(SINGLES, len(functions)))
    if not len(functions):
        return functions
    task.step(f"attach: which functions the kernel allows by {mechanism.label}")
    try:
        with mp.attach(empty, functions, mechanisms=mechanism.label) as attachment:
            report = attachment.report
    except MultiprobeError as error:
        task.notes.append(f"attach: {mechanism.label}: {error}")
        return functions.take([])
    bad = {failure.function for failure in report.failed} | {refusal.request for refusal in report.skipped}
    good = functions.where(bytes(functions.label(position) not in bad for position in range(len(functions))))
    system_calls.attach(spread(good, min(3, len(good))), mechanism)
    return good


def _of_image(functions: FunctionSet) -> FunctionSet:
    """Without those of modules, whose types take a link of their own."""
    return functions.where(bytes(not functions.table.module(row) for row in functions.rows))


def spread(functions: FunctionSet, n: int) -> FunctionSet:
    """`n` of the functions, evenly spread over all of them."""
    return functions.take([index * len(functions) // n for index in range(n)])


def _compared(task: Task, mechanism: Mechanism, cases: dict[Case, Run], n: int) -> Iterator[Figure]:
    is_small = n <= _WARMED and not mechanism.is_single
    found = in_turn("attach", cases, task, to_warm_up=cases if is_small else ())
    return figures("attach", found, unit="s", peer=Case(RAW, mechanism.label), functions=n)


def _cases(
    task: Task, mechanism: Mechanism, functions: FunctionSet, in_c: libbpf.Peer | None, *, is_whole: bool
) -> Iterator[tuple[Case, Run]]:
    yield Case(OURS, mechanism.label), lambda: ours(empty, functions, mechanism)
    if is_whole and not mechanism.is_single:
        yield Case(f"{OURS} count", mechanism.label), lambda: ours(count, functions, mechanism)
    yield Case(RAW, mechanism.label), lambda: system_calls.attach(functions, mechanism)
    if mechanism != Mechanism.KPROBE_MULTI:
        return
    if in_c is not None:
        yield Case("libbpf", mechanism.label), lambda: in_c.attach(functions)
    wanted = bpftrace.probes(task.patterns)
    for peer in task.bpftraces if is_whole and wanted else ():
        yield Case(peer.name, mechanism.label), partial(peer.attach, wanted)


def ours(program: mp.Program, functions: FunctionSet, mechanism: Mechanism) -> Mapping[str, float]:
    """A program by `mp.attach`."""
    options = mp.Mechanisms(mechanism.label, max_singles=0)
    began = time.perf_counter()
    attachment = mp.attach(program, functions, mechanisms=options)
    attached = time.perf_counter()
    attachment.close()
    return {"attach": attached - began, "detach": time.perf_counter() - attached}


def lines(found: list[Figure]) -> Iterator[str]:
    """What the kernel's own benchmark prints, for the largest set of each mechanism that attaches batches."""
    batches = [label for label, one in MECHANISMS.items() if one & Mechanism.KERNEL and not one.is_single]
    for label in batches:
        mine = [one for one in found if one.bench == "attach" and one.tool == OURS and one.way == label]
        largest = max((one.functions or 0 for one in mine), default=0)
        steps = {one.step: one.median for one in mine if one.functions == largest}
        if steps:
            yield f"{label}: found {largest} functions"
            yield f"{label}: attached in {steps['attach']:.3f}s"
            yield f"{label}: detached in {steps['detach']:.3f}s"
