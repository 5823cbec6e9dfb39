"""`multiprobe graph` and `latency` against the kernel's own tracers and strace, on a workload of known shape.

All of them look at the same calls at the same time. The bounds:

- which calls there were, how often, by whom, nested and recursive, ended or not: equal, call by call;
- a call never takes longer than the system call that it is, by strace and by the trace points around it;
- durations and self times differ from ftrace's function_graph by less than `CLOSE` or a twentieth in nine calls of ten;
- a machine so busy that its timers end a sleep later than `CLOSE`, by function_graph, is allowed that much instead.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import shaped_workload as shape
from ground_truth import ROUNDING, Call, FunctionGraph, SystemCalls, is_ordered, is_whole, read_strace, walk

import forked
import leftovers

SLEEP = "__x64_sys_clock_nanosleep"
FUNCTIONS = (
    SLEEP, "common_nsleep", "hrtimer_nanosleep", "hrtimer_nanosleep_restart", "do_nanosleep", "__x64_sys_mkdir",
    "vfs_mkdir", "__x64_sys_pread64", "vfs_read", "ovl_read_iter", "ovl_getattr", "do_group_exit", "do_exit",
)  # fmt: skip
NUMBERS = {"pread64": 17, "mkdir": 83, "clock_nanosleep": 230}
CLOSE = 500_000
TRIES = 5
Tree = list[tuple[int, str, int | None]]
STRACE = shutil.which("strace")
"""Where there is none the trace points alone tell how long system calls took."""
#: fprobe shares the stack of returns with the function_graph tracer, which these tests turn on and off beside it.
KNOWN_COMPLAINT = leftovers.FPROBE_RETURN


@dataclass(slots=True)
class Seen:
    """What everybody saw: the processes by name, the function_graph calls by thread, the seconds of system calls by
    (thread, name) from each source, and multiprobe's objects and report."""

    pids: dict[str, int]
    truth: dict[int, list[Call]]
    seconds: dict[str, dict[tuple[int, str], list[float]]]
    objects: list[dict[str, Any]]
    report: dict[str, Any]


@pytest.fixture(scope="module")
def stacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An overlay over an overlay over tmpfs, with a file in the lowest layer."""
    folder = tmp_path_factory.mktemp("stacked")
    subprocess.run(["modprobe", "overlay"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "lowest", str(folder)], check=True)
    for name in ("low", "up", "work", "all", "up2", "work2", "top"):
        (folder / name).mkdir()
    (folder / "low" / "below").write_text("x" * 1000)
    for low, up, work, merged in (("low", "up", "work", "all"), ("all", "up2", "work2", "top")):
        options = f"lowerdir={folder}/{low},upperdir={folder}/{up},workdir={folder}/{work}"
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, f"{folder}/{merged}"], check=True)
    yield folder / "top"
    for name in ("top", "all", ""):
        subprocess.run(["umount", str(folder / name)], check=True)


def observe(factory: pytest.TempPathFactory, stacked: Path, *command: str) -> Seen:
    """What everybody saw, once more if the kernel's tracer printed its events out of order, or lacks some."""
    for _ in range(TRIES):
        seen = observe_once(factory.mktemp(command[0]), stacked, *command)
        threads = [seen.truth[pid] for pid in seen.pids.values()]
        if all(map(is_ordered, seen.truth.values())) and all(map(is_whole, threads)):
            return seen
        print("function_graph printed its events out of order, or lacks some")
    raise AssertionError(f"function_graph printed its events out of order, or lacks some, {TRIES} times")


def observe_once(folder: Path, stacked: Path, *command: str) -> Seen:
    """Run the workload under everything."""
    ids, trace = folder / "ids", folder / "strace"
    watched = ("-f", "-T", "-o", str(trace), "-e", f"trace={','.join(NUMBERS)}", "-e", "signal=none")
    strace = [STRACE, *watched] if STRACE else []
    workload = [*strace, sys.executable, "-ISs", shape.__file__, str(ids), str(stacked)]
    with SystemCalls(*NUMBERS.values()) as points, FunctionGraph(*FUNCTIONS) as truth:
        ended = forked.run([*command, *FUNCTIONS, "--json", "--", *workload])
    assert ended.returncode == 0, ended.stderr
    *objects, report = map(json.loads, ended.stdout.splitlines())
    assert report["command"]["status"] == 0, ended.stderr
    assert report["attached"] == len(FUNCTIONS)
    pids = {name: int(pid) for name, pid in map(str.split, ids.read_text().splitlines())}
    names = {number: name for name, number in NUMBERS.items()}
    seconds = {"trace points": {(tid, names[n]): took for (tid, n), took in points.took.items()}}
    if STRACE:
        seconds["strace"] = read_strace(trace.read_text())
    return Seen(pids, truth.calls, seconds, objects, report)


def tree_of(objects: list[dict[str, Any]], tid: int) -> Tree:
    """(depth, function, duration) of one thread's calls, as `graph` printed them, in the order of their beginnings."""
    depths: dict[int, int] = {}
    found = []
    for call in objects:
        if call["thread"] == tid:
            depth = depths[call["id"]] = 0 if call["caller"] is None else depths[call["caller"]] + 1
            found.append((depth, call["function"], call["duration"]))
    return found


def truth_of(seen: Seen, tid: int) -> Tree:
    """The same from function_graph. Where something was missed nothing stands under a call without an end, as
    docs/graph.md says."""
    found = [(depth, call.name, call.took) for depth, call in walk(seen.truth[tid])]
    if not n_missed(seen):
        return found
    open_depths: list[int] = []
    above = []
    for depth, name, took in found:
        open_depths = [other for other in open_depths if other < depth]
        above.append((depth - len(open_depths), name, took))
        if took is None:
            open_depths.append(depth)
    return above


def lateness_of(seen: Seen) -> int:
    """By how many nanoseconds this machine's sleeps exceeded what was asked for, in the median, by function_graph."""
    sleeps = [call.took for _, call in walk(seen.truth[seen.pids["sleeps"]]) if call.name == SLEEP and call.took]
    return round(statistics.median(sleeps) - shape.SLEEP * 1e9)


def are_close(pairs: list[tuple[int, int]], lateness: int) -> None:
    """Three in four pairs (ours, theirs) of nanoseconds differ by less than the bound.

    What the host of an emulated processor does between the two readings is in one of them.
    """
    assert pairs
    far = [pair for pair in pairs if abs(pair[0] - pair[1]) > max(CLOSE, lateness, pair[1] // 20)]
    assert len(far) <= len(pairs) // 4, far


@pytest.fixture(scope="module")
def graphed(stacked: Path, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    return observe(tmp_path_factory, stacked, "graph")


@pytest.fixture(scope="module")
def timed(stacked: Path, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    return observe(tmp_path_factory, stacked, "latency", "--self", "--by", "thread")


def n_missed(seen: Seen) -> int:
    """How many events multiprobe knows that it missed: on 7.3 a program that is preempted keeps others of that CPU from
    running."""
    return sum(seen.report["missed"].values())


def test_the_tree_is_the_kernels_own(graphed: Seen) -> None:
    threads = {call["thread"] for call in graphed.objects if call["process"] in graphed.pids.values()}
    assert len(threads) == len(graphed.pids) + shape.N_THREADS
    pairs = []
    n_lacking = 0
    for tid in threads:
        ours, theirs = tree_of(graphed.objects, tid), truth_of(graphed, tid)
        if shape_of(ours) == shape_of(theirs):
            pairs += [(mine[2], its[2]) for mine, its in zip(ours, theirs, strict=True) if mine[2] and its[2]]
            continue
        lacking, more = not_common(ours, theirs)
        assert not more, f"thread {tid} never made these calls: {more}"
        n_lacking += lacking
    assert n_lacking <= 2 * n_missed(graphed), "a call whose entry was missed lacks its return, too"
    assert len(pairs) > 100
    are_close(pairs, lateness_of(graphed))


def shape_of(tree: Tree) -> list[tuple[int, str, bool]]:
    """A tree without times, but for whether there is one."""
    return [(depth, name, took is None) for depth, name, took in tree]


def not_common(ours: Tree, theirs: Tree) -> tuple[int, Counter[str]]:
    """How many entries and returns the first lacks; the calls of each function that only the first has."""
    mine, its = (Counter(name for _, name, _ in tree) for tree in (ours, theirs))
    mine_ended, its_ended = (Counter(name for _, name, took in tree if took is not None) for tree in (ours, theirs))
    return (its - mine).total() + (its_ended - mine_ended).total(), (mine - its) + (mine_ended - its_ended)


def test_the_tree_has_the_shape_that_was_made(graphed: Seen) -> None:
    """By the kernel's tracer, so that the test knows what it tests; and sleeps are no shorter than asked for."""
    trees = {name: [(d, c.name, c.took) for d, c in walk(graphed.truth[pid])] for name, pid in graphed.pids.items()}
    slept = [(0, SLEEP), (1, "common_nsleep"), (2, "hrtimer_nanosleep"), (3, "do_nanosleep")]
    ended = [(0, "do_group_exit"), (1, "do_exit")]
    shapes = {name: [(depth, function) for depth, function, _ in tree] for name, tree in trees.items()}
    assert shapes["sleeps"] == slept * shape.N_SLEEPS + ended
    assert shapes["victim"] == slept + ended
    assert shapes["restarted"] == [*slept, (0, "hrtimer_nanosleep_restart"), (1, "do_nanosleep"), *ended]
    counted = sys.version_info >= (3, 12)  # os.fork() counts threads from then on, by reading /proc/self/stat
    assert shapes["waits"] == [(0, "vfs_read")] * (shape.N_READS + counted) + ended
    below = [(0, "__x64_sys_pread64"), (1, "vfs_read"), (2, "ovl_read_iter"), (3, "ovl_read_iter")]
    made = [(0, "__x64_sys_mkdir"), (1, "vfs_mkdir"), (2, "vfs_mkdir")]
    assert shapes["recurses"][: 3 * shape.N_MKDIRS] == made * shape.N_MKDIRS
    assert "".join(map(str, below * shape.N_BELOW)) in "".join(map(str, shapes["recurses"]))
    for tree in trees.values():
        assert [name for _, name, took in tree if took is None] == ["do_group_exit", "do_exit"]
    least = shape.SLEEP * 1e9
    slept_ns = [took for _, _, took in tree_of(graphed.objects, graphed.pids["sleeps"]) if took is not None]
    assert slept_ns
    assert min(slept_ns) >= least - CLOSE
    waited = sum(took or 0 for *_, took in tree_of(graphed.objects, graphed.pids["waits"]))
    assert waited >= least * (shape.N_READS - 1) or n_missed(graphed)


def test_both_were_inside_of_a_call_at_once_on_one_cpu(graphed: Seen) -> None:
    """Else preemption was not tested."""
    reads = [call for call in graphed.objects if call["function"] == "vfs_read" and call["end"] is not None]
    ours, others = (
        [call for call in reads if call["process"] == graphed.pids[name]] for name in ("preempted", "other")
    )
    assert any(one["begin"] < other["end"] and other["begin"] < one["end"] for one in ours for other in others)


@pytest.mark.parametrize("source", ["trace points", *(["strace"] if STRACE else [])])
def test_a_system_call_contains_its_function(graphed: Seen, source: str) -> None:
    n_compared = 0
    for (tid, name), seconds in graphed.seconds[source].items():
        ours = [took for _, function, took in tree_of(graphed.objects, tid) if function == f"__x64_sys_{name}"]
        if tid not in graphed.pids.values() or (source == "strace" and tid == graphed.pids["victim"]):
            continue
        if len(ours) != len(seconds):
            assert 0 < len(seconds) - len(ours) <= n_missed(graphed), (name, ours, seconds)
            continue
        pairs = [(mine, round(1e9 * its)) for mine, its in zip(ours, seconds, strict=True) if mine is not None]
        assert all(mine <= its + ROUNDING for mine, its in pairs), (name, pairs)
        n_compared += len(pairs)
    assert n_compared >= shape.N_SLEEPS + shape.N_MKDIRS + shape.N_BELOW


def test_latency_agrees_with_the_kernels_own_tracer(timed: Seen) -> None:
    rows = {(row["tid"], row["function"]): row for row in timed.objects}
    totals, owns = [], []
    n_lacking = 0
    for tid in timed.pids.values():
        theirs = [call for _, call in walk(timed.truth[tid])]
        began, ended = Counter(call.name for call in theirs), Counter(c.name for c in theirs if c.took is not None)
        mine = {function: row for (thread, function), row in rows.items() if thread == tid}
        differences = [began[name] - row["calls"] - row["running"] for name, row in mine.items()]
        differences += [ended[name] - row["calls"] for name, row in mine.items()]
        assert all(one >= 0 for one in differences), "more calls than there were"  # none, if all of a thread was missed
        lacking = sum(differences) + sum(began[name] for name in began.keys() - mine)
        n_lacking += lacking
        for name, row in mine.items() if not lacking else ():
            calls = [call for call in theirs if call.name == name and call.took is not None]
            if calls:
                took = [call.took or 0 for call in calls]
                totals += [(row["total_ns"], sum(took)), (row["max_ns"], max(took))]
                owns.append((row["self_ns"], sum(call.own or 0 for call in calls)))
    assert n_lacking <= 2 * n_missed(timed), "a call whose entry was missed lacks its return, too"
    assert len(totals) > 20
    are_close(totals, lateness_of(timed))
    are_close(owns, lateness_of(timed))
