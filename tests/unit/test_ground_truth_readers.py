"""The readers of the kernel's tracers that the kernel tests compare with."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

SPEC = importlib.util.spec_from_file_location("ground_truth", Path(__file__).parents[1] / "kernel" / "ground_truth.py")

TRACE = """\
# TIME        CPU  TASK/PID         DURATION                  FUNCTION CALLS
 5.000001 |   0)  python-42    |               |  do_nanosleep() {
 5.000002 |   0)  python-42    |   3.125 us    |    hrtimer_start();
 6.200003 |   0)  python-42    |   1200002 us  |  } /* do_nanosleep */
 6.300003 |   0)  python-42    |   2345678 us  |  vfs_read();
 6.400003 |   0)  python-42    |   123456.7 us |  vfs_mkdir();
"""


@pytest.fixture
def ground_truth(monkeypatch: pytest.MonkeyPatch) -> object:
    assert SPEC is not None
    assert SPEC.loader is not None
    module = importlib.util.module_from_spec(SPEC)
    monkeypatch.setitem(sys.modules, "ground_truth", module)
    SPEC.loader.exec_module(module)
    return module


def test_calls_of_a_second_and_more_have_no_decimals(ground_truth: object) -> None:
    calls = ground_truth.parse_graph(TRACE)[42]  # type: ignore[attr-defined]
    assert [(call.name, call.took) for call in calls] == [
        ("do_nanosleep", 1_200_002_000), ("vfs_read", 2_345_678_000), ("vfs_mkdir", 123_456_700),
    ]  # fmt: skip
    assert [call.took for call in calls[0].children] == [3125]


MIXED_UP = """\
 5.000001 |   0)  python-42    |               |  hrtimer_nanosleep() {
 5.000002 |   0)  python-42    |               |    do_nanosleep() {
 5.900003 |   1)  python-42    |   10393.75 us |    } /* do_nanosleep */
 5.007002 |   0)  python-42    |   7858.991 us |    } /* do_nanosleep */
 5.007003 |   0)  python-42    |   7877.414 us |  } /* hrtimer_nanosleep */
"""


def test_ends_that_were_printed_too_early_are_noticed(ground_truth: object) -> None:
    assert ground_truth.is_ordered(ground_truth.parse_graph(TRACE)[42])  # type: ignore[attr-defined]
    assert not ground_truth.is_ordered(ground_truth.parse_graph(MIXED_UP)[42])  # type: ignore[attr-defined]


def test_ends_that_are_missing_are_told(ground_truth: object) -> None:
    without = "".join(line for line in TRACE.splitlines(keepends=True) if "}" not in line)
    assert ground_truth.is_whole(ground_truth.parse_graph(TRACE)[42])  # type: ignore[attr-defined]
    assert not ground_truth.is_whole(ground_truth.parse_graph(without)[42])  # type: ignore[attr-defined]
    never = TRACE + " 6.500000 |   0)  python-42    |               |  do_exit() {\n"
    assert ground_truth.is_whole(ground_truth.parse_graph(never)[42])  # type: ignore[attr-defined]
