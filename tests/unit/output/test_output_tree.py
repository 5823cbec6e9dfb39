from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from multiprobe.output.slices import Slice, TraceThread, Track
from multiprobe.output.tree import tree_lines

THREAD = TraceThread(40, 41, "worker", "sh")


def test_a_tree() -> None:
    slices = [
        Slice("vfs_read", 1_000_000, 2_250_000, 0, {"fd": 3, "name": '"a"', "=": "-ENOENT"}),
        Slice("verify", 1_012_000, 1_862_000, 1),
        Slice("security", 1_014_000, 1_134_000, 2),
        Slice("fsnotify", 1_140_000, 1_150_000, 2),
        Slice("last", 2_000_000, 2_000_100, 1, {"=": 0}),
        Slice("deep", 2_000_010, 2_000_020, 2),
        Slice("vfs_read", 5_450_000, None, 0),
    ]
    assert list(tree_lines(Track(THREAD, slices), start=1_000_000)) == [
        "worker, thread 41 of sh (40)",
        "     TIME/ms   DURATION  CALL",
        '       0.000    1.25 ms  vfs_read(fd = 3, name = "a") = -ENOENT',
        "       0.012     850 µs  ├─ verify",
        "       0.014     120 µs  │  ├─ security",
        "       0.140    10.0 µs  │  └─ fsnotify",
        "       1.000     100 ns  └─ last = 0",
        "       1.000      10 ns     └─ deep",
        "              … 3.20 ms",
        "       4.450          ?  vfs_read",
    ]


def test_an_idle_task_has_a_cpu() -> None:
    lines = list(tree_lines(Track(TraceThread(0, 0, "swapper/3", cpu=3), [Slice("f", 0, 1, 0)]), start=0))
    assert lines[0] == "swapper/3, CPU 3"


@given(st.lists(st.integers(0, 6), max_size=30))
def test_rails_hang_together(depths: list[int]) -> None:
    """Every branch continues upwards: above ├, └ and │ stands ├, │, or the call that it hangs on."""
    at, slices = -1, []
    for n, depth in enumerate(depths):
        at = min(depth, at + 1)
        slices.append(Slice("f", n, n + 1, at))
    rows = [line[25:] for line in tree_lines(Track(THREAD, slices), start=0)][2:]
    for above, row in zip(["", *rows], rows, strict=False):
        for column, letter in enumerate(row):
            if letter in "├└│":
                assert above[column : column + 1] in ("├", "│", "f")
            elif above[column : column + 1] in ("├", "│"):
                raise AssertionError("a rail ends in nothing")
