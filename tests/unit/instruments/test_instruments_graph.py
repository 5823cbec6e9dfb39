"""`graph` without a kernel: its program on the test machine, and what it recorded, arranged by threads."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from multiprobe.errors import UsageError
from multiprobe.instruments.graph.instrument import ThreadId, names, trees
from multiprobe.instruments.graph.program import CALL_WIDTH, IDLE, GraphProbe

sys.path[:0] = [str(Path(__file__).parents[1] / "compiler")]

from runner import Bench  # noqa: E402

from multiprobe.compiler.shape import Shape  # noqa: E402

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHELL = 40 << 32 | 41


def rows(*content: tuple[int, ...]) -> NDArray[np.uint64]:
    return np.array(content, np.uint64).reshape(len(content), -1)


def test_records_become_a_tree_for_each_thread() -> None:
    calls = rows(
        (20, 30, SHELL, 1),
        (10, 50, SHELL, 0),
        (12, 13, IDLE | 3, 1),
        (60, 0, SHELL, 0),
        (70, 80, SHELL, 1),
        (0, 0, 0, 0),
    )
    idle, shell = sorted(trees(calls, None, is_complete=True), key=lambda found: found.thread.tid)
    assert (shell.thread, idle.thread) == (ThreadId(40, 41), ThreadId(0, 0, 3))
    assert [(call.depth, call.function, call.begin, call.end) for call in shell.calls] == [
        (0, 0, 10, 50),
        (1, 1, 20, 30),
        (0, 0, 60, None),
        (1, 1, 70, 80),
    ]
    assert [call.duration for call in idle.calls] == [1]


def test_where_something_was_missed_nothing_is_put_under_a_call_without_an_end() -> None:
    (shell,) = trees(rows((60, 0, SHELL, 0), (70, 80, SHELL, 1)), None, is_complete=False)
    assert [call.depth for call in shell.calls] == [0, 0]


def test_the_last_name_of_a_thread_counts() -> None:
    calls = rows((10, 0, SHELL, 0), (20, 0, SHELL + 1, 0), (30, 0, SHELL, 0))
    recorded = np.array(["sh", "late", "cat"], "S16").view(np.uint64).reshape(-1, 2)
    assert names(calls, recorded) == {41: "cat", 42: "late"}


def test_arguments_and_what_was_returned() -> None:
    calls = rows((10, 50, SHELL, 0), (60, 0, SHELL, 0))
    (shell,) = trees(calls, rows((7, 8, 9), (1, 0, 0)), is_complete=True)
    assert [(call.arguments, call.returned) for call in shell.calls] == [((7, 8), 9), ((1, 0), None)]


def test_no_calls() -> None:
    assert trees(np.zeros((0, CALL_WIDTH), np.uint64), np.zeros((0, 3), np.uint64), is_complete=True) == []
    assert names(np.zeros((0, CALL_WIDTH), np.uint64), np.zeros((0, 2), np.uint64)) == {}


def test_ids_outside_of_our_pid_namespace_are_negative_and_no_idle_tasks() -> None:
    assert ThreadId.of((-40 & 0xFFFFFFFF) << 32 | (-41 & 0xFFFFFFFF)) == ThreadId(-40, -41)
    assert ThreadId.of(IDLE | 63) == ThreadId(0, 0, 63)
    assert ThreadId.of(SHELL) == ThreadId(40, 41)


class Recorder:
    """The program on the test machine, with sessions of the kernel's or made of two programs."""

    def __init__(self, *, max_events: int = 10, n_arguments: int = -1, is_paired: bool = False) -> None:
        probe = GraphProbe(max_events=max_events, n_arguments=n_arguments)
        sides = ("entry", "return") if is_paired else ("",)
        hook = "kprobe" if is_paired else "kprobe_multi"
        self.benches: list[Bench] = []
        for side in sides:
            machine = {"machine": self.benches[0].machine} if self.benches else {}
            shape = Shape(session_side=side)
            self.benches.append(Bench(probe.program, hook, "session", shape, ADDRESSES, **machine))  # type: ignore[arg-type]

    def hit(
        self, session: int, time: int, *, function: int = 0, is_return: bool, sp: int = 0x7000, tid: int = 41
    ) -> None:
        kfuncs = {"kfunc:bpf_session_cookie": session, "kfunc:bpf_session_is_return": int(is_return)}
        bench = self.benches[-1 if is_return else 0]
        image = [0] * 21
        image[10], image[14], image[19] = 77, 5, sp + (8 if is_return and len(self.benches) > 1 else 0)
        context = b"".join(word.to_bytes(8, "little") for word in image)
        facts = {"ip": ADDRESSES[function], "time": time, "pid_tgid": 40 << 32 | tid}
        bench.hit(context=context, **facts, **kfuncs)

    def rows(self, name: str, width: int) -> list[list[int]]:
        flat = self.benches[0].array(name)
        return [flat[start : start + width] for start in range(0, len(flat), width)]

    @property
    def session(self) -> int:
        return self.benches[0].machine.put(b"\xff" * 8)


ADDRESSES = (0x1000, 0x2000)


@pytest.mark.parametrize("is_paired", [False, True])
def test_the_program_records_nested_calls_by_number(is_paired: bool) -> None:
    recorder = Recorder(n_arguments=1, is_paired=is_paired)
    outer, inner = recorder.session, recorder.session
    recorder.hit(outer, 10, function=1, is_return=False)
    recorder.hit(inner, 20, is_return=False, sp=0x6000)
    recorder.hit(inner, 30, is_return=True, sp=0x6000)
    recorder.hit(outer, 40, function=1, is_return=True, tid=99)  # execve changes a thread's id
    assert recorder.rows("calls", CALL_WIDTH)[:3] == [[10, 40, SHELL, 1], [20, 30, SHELL, 0], [0] * CALL_WIDTH]
    assert recorder.rows("values", 2)[:3] == [[5, 77], [5, 77], [0, 0]]
    assert recorder.rows("names", 2)[0] == [int.from_bytes(b"bash", "little"), 0]


def test_calls_beyond_the_room_are_counted_and_change_nothing() -> None:
    recorder = Recorder(max_events=2)
    sessions = [recorder.session for _ in range(4)]
    for n, session in enumerate(sessions):
        recorder.hit(session, 10 + n, is_return=False)
    for n, session in enumerate(sessions):
        recorder.hit(session, 20 + n, is_return=True)
        recorder.hit(session, 30 + n, is_return=True)  # what another call left in a session
    assert recorder.rows("calls", CALL_WIDTH) == [[10, 20, SHELL, 0], [11, 21, SHELL, 0]]
    assert recorder.benches[0].array("n_calls") == [4]
    assert not recorder.benches[0].losses()


def test_more_calls_than_a_program_can_reach_are_refused() -> None:
    assert GraphProbe(max_events=1 << 24).program
    with pytest.raises(UsageError, match="16,777,217 calls can't be recorded: at most 16,777,216"):
        GraphProbe(max_events=(1 << 24) + 1)
    with pytest.raises(UsageError, match="calls with 6 arguments can't be recorded: at most 9,586,980"):
        GraphProbe(max_events=1 << 24, n_arguments=6)
