"""Who calls whom, and for how long: every call of the chosen functions, recorded by a program in our own language.

A call is one record: a key that nothing else can have (thread, time of entry, function) and the time of its return. So
records come in any order and are matched by nothing but themselves, under recursion, on whatever CPU a thread runs. The
room for them is fixed: when it is full, what began later is left out and counted, and all that began before is there.

Knows how to attach, when to stop, what the records mean; must not know terminals, signals or output formats.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import multiprobe as mp
from multiprobe.instruments.graph.calltree import Call, build_tree
from multiprobe.instruments.running import Running
from multiprobe.instruments.tasks import load_name

if TYPE_CHECKING:
    from typing import Any

    from multiprobe.functions.sets import FunctionSet

UNDER_WAY = 1
"""Stands for the time of the return until there is one."""
IDLE = 1 << 63
"""The idle tasks all have the ids 0: this bit and the CPU stand for theirs."""
MAX_EVENTS = 100_000
MAX_ARGUMENTS = 6
_RETURNED = MAX_ARGUMENTS
_MAX_THREADS = 65_536


class Probe:
    """A program and its maps.

    calls: (thread, time of entry, function) → time of return, or UNDER_WAY; thread is pid << 32 | tid, or IDLE | cpu
    values: (…, n) → argument n, or at place 6 the returned value; only with `n_arguments` ≥ 0
    threads: (thread, name) → when the thread was first seen under that name
    """

    def __init__(self, *, max_events: int, n_arguments: int = -1) -> None:
        key = (mp.u64, mp.u64, mp.u32)
        self.calls: Any = mp.Hash(key, mp.u64, max_events)
        self.values: Any = mp.Hash((*key, mp.u32), mp.u64, max_events * max(1, n_arguments + 1))
        self.threads: Any = mp.Hash((mp.u64, mp.string(16)), mp.u64, _MAX_THREADS)
        self.n_arguments = n_arguments
        self.program = _graph(self)


@mp.helper
def _thread(ctx: Any) -> Any:
    return ctx.pid << 32 | ctx.tid if ctx.tid else IDLE | ctx.cpu


def _graph(probe: Probe) -> Any:
    calls, values, threads, n_arguments = probe.calls, probe.values, probe.threads, probe.n_arguments

    @mp.program(when="session")  # type: ignore[untyped-decorator]
    def graph(ctx: Any) -> None:
        thread = _thread(ctx)
        if ctx.is_return:
            begin = ctx.session
            now = ctx.time
            # A session whose entry wasn't run (it was before all this, or was missed) may hold anything.
            if calls[thread, begin, ctx.function] == UNDER_WAY:
                calls[thread, begin, ctx.function] = now
                if n_arguments >= 0:
                    values[thread, begin, ctx.function, _RETURNED] = ctx.ret
            return
        begin = ctx.time
        while (thread, begin, ctx.function) in calls:  # a clock too coarse for a function that calls itself
            begin += 1
        ctx.session = begin
        calls[thread, begin, ctx.function] = UNDER_WAY
        if (thread, ctx.comm) not in threads:
            threads[thread, ctx.comm] = begin
        if n_arguments > 0:
            values[thread, begin, ctx.function, 0] = ctx.arg(0)
        if n_arguments > 1:
            values[thread, begin, ctx.function, 1] = ctx.arg(1)
        if n_arguments > 2:
            values[thread, begin, ctx.function, 2] = ctx.arg(2)
        if n_arguments > 3:
            values[thread, begin, ctx.function, 3] = ctx.arg(3)
        if n_arguments > 4:
            values[thread, begin, ctx.function, 4] = ctx.arg(4)
        if n_arguments > 5:
            values[thread, begin, ctx.function, 5] = ctx.arg(5)

    return graph


@dataclass(frozen=True, slots=True)
class Thread:
    """A thread by its ids; the idle tasks have the ids 0 and a `cpu`, all others the cpu −1."""

    pid: int
    tid: int
    cpu: int = -1

    @classmethod
    def of(cls, key: int) -> Thread:
        """From the program's number for it."""
        return cls(0, 0, key & 0xFFFFFFFF) if key & IDLE else cls(key >> 32, key & 0xFFFFFFFF)


@dataclass(frozen=True, slots=True)
class ThreadCalls:
    """A thread and its outermost calls, in the order of their beginnings."""

    thread: Thread
    roots: list[Call]


@dataclass(frozen=True, slots=True)
class Sample:
    """What was recorded: `seconds` since it began, the threads, and how many calls."""

    seconds: float
    threads: list[ThreadCalls]
    n_calls: int
    n_unended: int


class Graphing(Running):
    """A running graph. Must be closed, which detaches."""

    def __init__(self, attachment: Any, probe: Probe) -> None:
        super().__init__(attachment)
        self.probe = probe
        self._began = time.monotonic()
        self._last: Sample | None = None
        self._processes: dict[int, str] = {}
        self.names: dict[int, str] = {}

    def sample(self) -> bool:
        """Note the names of processes seen since, whose first threads may call nothing. Is there no room left?"""
        for pid in {Thread.of(key).pid for key, _ in self._attachment.map(self.probe.threads).as_dict()}:
            if pid and not self._processes.get(pid):
                self._processes[pid] = load_name(pid)
        return self._losses().get("full_maps", 0) > 0

    def _losses(self) -> dict[str, int]:
        losses: dict[str, int] = self._attachment.missed()
        return losses

    def stop(self) -> Sample:
        """Record no more; note what was missed; everything that was recorded, as trees."""
        if self._last is None:
            self._attachment.pause()
            seconds = time.monotonic() - self._began
            self.sample()
            self.names = self._processes | names(self._attachment.map(self.probe.threads).as_dict())
            missed = self._losses()
            self._attachment.set_missed(missed)
            calls = self._attachment.map(self.probe.calls).as_dict()
            values = self._attachment.map(self.probe.values).as_dict() if self.probe.n_arguments >= 0 else {}
            threads = trees(calls, values, n_arguments=self.probe.n_arguments, is_complete=not any(missed.values()))
            n_unended = sum(1 for end in calls.values() if end == UNDER_WAY)
            self._last = Sample(seconds, threads, len(calls), n_unended)
        return self._last


def start(functions: FunctionSet, *, max_events: int = MAX_EVENTS, n_arguments: int = -1, **options: Any) -> Graphing:
    """Attach to `functions`; the other options are those of `multiprobe.attach`.

    max_events: for how many calls there is room; n_arguments: how many arguments of each call to keep (0 to 6), and
    what it returned; −1 keeps neither
    """
    probe = Probe(max_events=max_events, n_arguments=n_arguments)
    return Graphing(mp.attach(probe.program, functions, **options), probe)


def names(threads: dict[tuple[int, str], int]) -> dict[int, str]:
    """The last name of each thread by its id, from `Probe.threads`. Pure."""
    return {Thread.of(key).tid: name for (key, name), _ in sorted(threads.items(), key=lambda item: item[1])}


def trees(
    calls: dict[tuple[int, ...], int], values: dict[tuple[int, ...], int], *, n_arguments: int, is_complete: bool
) -> list[ThreadCalls]:
    """The records of `Probe`'s maps as a tree for each thread, threads by ids. Pure.

    is_complete: was nothing missed, so that a call without an end goes on?
    """
    by_thread: dict[int, list[Call]] = {}
    for key, end in calls.items():
        thread, begin, function = key
        given = tuple(values.get((*key, n), 0) for n in range(n_arguments))
        returned = values.get((*key, _RETURNED))
        call = Call(function, begin, None if end == UNDER_WAY else end, arguments=given, returned=returned)
        by_thread.setdefault(thread, []).append(call)
    return [
        ThreadCalls(Thread.of(key), build_tree(by_thread[key], is_complete=is_complete)) for key in sorted(by_thread)
    ]
