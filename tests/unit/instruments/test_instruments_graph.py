"""What the program of `graph` recorded, arranged by threads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from multiprobe.instruments.graph.instrument import ThreadId, names, trees
from multiprobe.instruments.graph.program import IDLE, UNDER_WAY

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHELL = 40 << 32 | 41


def rows(content: dict[Any, int], *more: tuple[str, str]) -> NDArray[np.void]:
    """The content of a map as `HashMap.read` gives it."""
    fields = [("key0", "u8"), ("key1", "u8"), ("key2", "u4"), *more, ("value", "u8")]
    return np.array([(*key, number) for key, number in content.items()], dtype=fields)


def test_records_become_a_tree_for_each_thread() -> None:
    calls = {
        (SHELL, 20, 1): 30,
        (SHELL, 10, 0): 50,
        (IDLE | 3, 12, 1): 13,
        (SHELL, 60, 0): UNDER_WAY,
        (SHELL, 70, 1): 80,
    }
    idle, shell = sorted(trees(rows(calls), None, n_arguments=-1, is_complete=True), key=lambda found: found.thread.tid)
    assert (shell.thread, idle.thread) == (ThreadId(40, 41), ThreadId(0, 0, 3))
    assert [(call.depth, call.function, call.begin, call.end) for call in shell.calls] == [
        (0, 0, 10, 50),
        (1, 1, 20, 30),
        (0, 0, 60, None),
        (1, 1, 70, 80),
    ]
    assert [call.duration for call in idle.calls] == [1]


def test_where_something_was_missed_nothing_is_put_under_a_call_without_an_end() -> None:
    calls = {(SHELL, 60, 0): UNDER_WAY, (SHELL, 70, 1): 80}
    (shell,) = trees(rows(calls), None, n_arguments=-1, is_complete=False)
    assert [call.depth for call in shell.calls] == [0, 0]


def test_the_last_name_of_a_thread_counts() -> None:
    threads = {(SHELL, "cat"): 30, (SHELL, "sh"): 10, (40 << 32 | 42, "late"): 20}
    assert names(threads) == {41: "cat", 42: "late"}


def test_arguments_and_what_was_returned() -> None:
    calls = {(SHELL, 10, 0): 50, (SHELL, 60, 0): UNDER_WAY}
    values = {(SHELL, 10, 0, 0): 7, (SHELL, 10, 0, 1): 8, (SHELL, 10, 0, 6): 9, (SHELL, 60, 0, 0): 1}
    values[SHELL, 90, 0, 0] = 3  # of a call that began after the calls were read
    (shell,) = trees(rows(calls), rows(values, ("key3", "u4")), n_arguments=2, is_complete=True)
    assert [(call.arguments, call.returned) for call in shell.calls] == [((7, 8), 9), ((1, 0), None)]


def test_no_calls() -> None:
    assert trees(rows({}), rows({}, ("key3", "u4")), n_arguments=2, is_complete=True) == []


def test_ids_outside_of_our_pid_namespace_are_negative_and_no_idle_tasks() -> None:
    assert ThreadId.of((-40 & 0xFFFFFFFF) << 32 | (-41 & 0xFFFFFFFF)) == ThreadId(-40, -41)
    assert ThreadId.of(IDLE | 63) == ThreadId(0, 0, 63)
    assert ThreadId.of(SHELL) == ThreadId(40, 41)
