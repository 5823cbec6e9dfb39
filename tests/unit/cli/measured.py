"""Measurements with extreme values and names: what a measuring command shows without a kernel."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from multiprobe.cli import coverage, record
from multiprobe.functions.sets import Function, Refusal
from multiprobe.functions.verdict import Verdict
from multiprobe.instruments import count
from multiprobe.instruments.count import CountSample
from multiprobe.instruments.coverage.covered import CheckedCapability, Coverage, CoveredFunction, FirstHit
from multiprobe.instruments.errors import instrument as errors
from multiprobe.instruments.errors.failures import NULL, FailedCall, FailureGroup
from multiprobe.instruments.errors.instrument import ErrorsSample
from multiprobe.instruments.graph import instrument as graph
from multiprobe.instruments.graph.calltree import CallTree
from multiprobe.instruments.graph.instrument import GraphSample, ThreadCalls, ThreadId
from multiprobe.instruments.latency import instrument as latency
from multiprobe.instruments.latency.instrument import Latency, LatencySample
from multiprobe.instruments.record.instrument import HeldCall, Recording
from multiprobe.instruments.stacks import instrument as stacks
from multiprobe.instruments.stacks.instrument import Stack, StacksSample
from multiprobe.instruments.task_names import TaskNames
from multiprobe.instruments.trace import instrument as trace
from multiprobe.instruments.trace.instrument import TracedCall
from multiprobe.kernel.modules import load_modules
from multiprobe.links.report import MEANINGS, Drop, Failure, Verified
from multiprobe.names import decode_name
from nasty_names import NASTY

if TYPE_CHECKING:
    from .conftest import FakeWorld

LONG = "bpf_struct_ops_of_a_scheduler_whose_author_had_a_wide_screen_and_no_mercy_on_anyone_who_reads_its_name_here"


class Functions(list[Function]):
    unresolved = ()
    rows = ()
    table = SimpleNamespace(origin=SimpleNamespace(modules=load_modules()), module=str)

    def n_attachable(self, *, when: str) -> int:
        return len(self)


LONG_WORD = "x".join("abcdefghijklmnopqrstuvwyz" * 5)
NAMES = ["vfs_read", LONG, "tcp_diag_dump", LONG_WORD, decode_name(b"\xff\x1b[31m"), "naïve_函数_😀x"]
MODULES = ["", "", "tcp_diag", "a_module_with_a_long_name", "", ""]
VERDICT = Verdict(0, 0, "", "", 0)
FUNCTIONS_MADE = Functions(
    Function(name, 0xFFFFFFFF81000010 + 16 * n, module, n, VERDICT)
    for n, (name, module) in enumerate(zip(NAMES, MODULES, strict=True))
)
TOLD = [Function(name, 0xFFFFFFFF82000000, "", 9, VERDICT) for name in ("__x64_sys_openat", "security_file_open")]
"""Functions whose names tell what was done."""
COMMS = [decode_name(raw) for raw, _ in NASTY]
HUGE = (1 << 64) - 1
CALLS = [1, HUGE, 12_345_678, 3, 2, 999]
TIMES = [0, HUGE, 7_080_000, 375_000, 1, 999_999]
"""Nanoseconds, from none at all to 585 years."""


class Instrument:
    """An instrument that has measured; `more` is what the commands ask of it besides."""

    def __init__(self, report: Any, sample: Any, more: dict[str, Any], finish: Callable[[], None]) -> None:
        self.__dict__ |= more
        self.functions, self.report, self._sample, self._finish = FUNCTIONS_MADE, report, sample, finish
        self.seconds = 1.0

    def sample(self) -> Any:
        return [] if isinstance(self._sample, list) else self._sample

    def finish(self) -> Any:
        self._finish()
        return self._sample

    def poll(self) -> bool:
        return False

    def close(self) -> None: ...

    def __enter__(self) -> Instrument:
        return self

    def __exit__(self, *_: object) -> None: ...


def times_of(n: int) -> Latency:
    buckets = [0] * 65
    buckets[TIMES[n].bit_length()] = CALLS[n]
    buckets = buckets[: TIMES[n].bit_length() + 1]
    return Latency(
        FUNCTIONS_MADE[n], 4_194_303 - n, CALLS[n], n % 3, min(TIMES[n] * CALLS[n], HUGE), 1, TIMES[n], tuple(buckets)
    )


FAILURES = [
    FailedCall(10, 7, 4_194_303, COMMS[0], 28, (1, None, 3), True, (HUGE,), 1, 5),
    FailedCall(20, 7, 7, COMMS[5], NULL, (2,), False, (0,), 2, NULL),
    FailedCall(30, 7, 7, "ls", 28, tuple(range(6)), False, (0,), None, 0),
]


def tree_of(n: int) -> CallTree:
    """Calls, each inside the one before."""
    numbers = np.arange(n)
    begin, end = numbers.astype(np.uint64), np.uint64(HUGE // 2) - numbers.astype(np.uint64)
    return CallTree((numbers % 4).astype(np.uint32), begin, np.where(numbers == 5, 0, end), numbers.astype(np.int32))


TRACED = [
    TracedCall(
        12_345.678, n, 255, 7, 4_194_303, name, FUNCTIONS_MADE[n % 6], (("count", HUGE), ("buf", "0xff4633")),
        {"file": {"name": name, "of": [LONG]}}, TIMES[n % 6], -2, -2, stack=(LONG, "ksys_read"),
    )
    for n, name in enumerate(COMMS)
]  # fmt: skip
COVERED = Coverage(
    585.5,
    12_345,
    Functions([*FUNCTIONS_MADE, *TOLD]),  # type: ignore[arg-type]
    [
        CoveredFunction(one, 12_345 - n, None if n == 1 else FirstHit(n + 1, TIMES[n % 6], -7, 4_194_303, COMMS[n]))
        for n, one in enumerate((*FUNCTIONS_MADE, *TOLD))
    ],
    [CheckedCapability("CAP_SYS_ADMIN", 0, HUGE), CheckedCapability("CAP_CHECKPOINT_RESTORE", 12_345, 0)],
)
SAMPLES: dict[Any, tuple[Any, dict[str, Any]]] = {
    count: (CountSample(2.0, array("Q", [HUGE // 2, 0, 12_345_678, 3, 2, 1])), {}),
    latency: (LatencySample(1.5, [times_of(n) for n in range(6)]), {"has_self": True}),
    trace: (TRACED, {}),
    errors: (
        ErrorsSample(2.0, [FailureGroup(CALLS[n], failure) for n, failure in enumerate(FAILURES)], 1, 3),
        {"n_untyped": 1, "arguments": lambda failure: {"inode": hex(failure.arguments[0])}},
    ),
    graph: (
        GraphSample(0.5, [ThreadCalls(ThreadId(7, 8), tree_of(13)), ThreadCalls(ThreadId(0, 0, 3), tree_of(0))], 2, 1),
        {"names": {7: COMMS[0], 8: COMMS[1]}},
    ),
    stacks: (
        StacksSample(
            0.5,
            [Stack(n, (LONG, "0xffffff", str(one)), CALLS[n], TIMES[n]) for n, one in enumerate(FUNCTIONS_MADE)],
            {"EFAULT": 1},
        ),
        {},
    ),
    record: (Recording(0.5, TRACED, HeldCall(123, 7, TRACED[2].begin, 2), HUGE), {}),
    coverage: (COVERED, {"begin_run": lambda pid=None: None, "end_run": lambda: None}),
}  # fmt: skip


def patch_instruments(world: FakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give measuring commands the measurements above, and a report that has something of everything."""
    world.functions = FUNCTIONS_MADE

    def report() -> Any:
        made = world.attach(None, FUNCTIONS_MADE).report
        return replace(
            made,
            skipped=tuple(Refusal(name, "not_traceable", f"{name} is not traceable") for name in NAMES),
            failed=(Failure(LONG, "kprobe_multi", 22, "its module is going away"),),
            dropped=(Drop(LONG, "budget", "1,234,567 hits a second at 120 ns each", 1e9, 0.5, 1.0),),
            budget={"share": 0.0625, "budget": 0.05},
            missed=dict.fromkeys(MEANINGS, 1) | {"link_misses": HUGE},
            verified=(Verified(LONG, "kprobe_multi", 1, 0),),
            kernel_memory={"predicted": 123_456_789, "taken": 1_200_000_000},
            notes=(f"no call of {LONG}; called alike: {', '.join(NAMES[:2])}",),
        )

    def starter(sample: Any, more: dict[str, Any]) -> Callable[..., Instrument]:
        def start(functions: Any, **options: Any) -> Instrument:
            on_failure = options.get("on_failure") or (lambda failure: None)
            return Instrument(report(), sample, more, lambda: [on_failure(one) for one in FAILURES] and None)

        return start

    for module, (sample, more) in SAMPLES.items():
        monkeypatch.setattr(module, "start", starter(sample, more))
    monkeypatch.setattr(coverage, "kernel_of", lambda functions: None)
    monkeypatch.setattr(TaskNames, "__getitem__", lambda _self, number: COMMS[number % len(COMMS)])
