"""`latency` without a kernel: its program on the test machine, and what is made of its numbers."""

from __future__ import annotations

import sys
from pathlib import Path
from struct import unpack

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from multiprobe.compiler import ir
from multiprobe.compiler.frontend.statements import build
from multiprobe.errors import UsageError
from multiprobe.instruments import keyed_rows, task_rows
from multiprobe.instruments.latency import instrument as latency
from multiprobe.instruments.latency import task_table
from multiprobe.instruments.latency.instrument import Latency, all_buckets, rank, self_time
from multiprobe.instruments.latency.program import BUCKETS, CALLS, LONGEST, OWN, TOTAL, LatencyProbe
from multiprobe.instruments.latency.quantiles import bounds, quantile

sys.path[:0] = [str(Path(__file__).parents[1] / "compiler")]

from runner import Bench  # noqa: E402

ADDRESSES = (0x1000, 0x2000, 0x3000)


class Machine:
    """The probe on the test machine: calls of functions by tasks, in any order that a kernel could have."""

    def __init__(self, probe: LatencyProbe) -> None:
        self.bench = Bench(probe.program, "tracing", "session", addresses=ADDRESSES)
        self.maps = probe.maps
        self.time = 1000

    def enter(self, function: int, *, tid: int, pid: int = 7, cpu: int = 0) -> int:
        """The call: the address of its session."""
        session = self.bench.machine.allocate(8)
        self._hit(function, session, tid, pid, cpu, is_return=0)
        return session

    def leave(self, function: int, session: int, *, tid: int, pid: int = 7, cpu: int = 0) -> None:
        self._hit(function, session, tid, pid, cpu, is_return=1)

    def _hit(self, function: int, session: int, tid: int, pid: int, cpu: int, *, is_return: int) -> None:
        facts = {"kfunc:bpf_session_cookie": session, "kfunc:bpf_session_is_return": is_return}
        self.bench.hit(
            ip=ADDRESSES[function], cookie=function, cpu=cpu, pid_tgid=pid << 32 | tid, time=self.time, **facts
        )

    def rows(self) -> dict[tuple[int, int], list[int]]:
        """Of a probe by task: the rows by function and task."""
        assert isinstance(self.maps, task_table.TaskTable)
        rows, table = self.maps
        more = {unpack("<IiI", key): value for key, value in self.bench.table(self._name(table)).items()}
        return task_table.by_pair(self.bench.rows(self._name(rows)), more, rows.width)

    def n_rows(self) -> int:
        """Of a probe by task: how many pairs found a row."""
        assert isinstance(self.maps, task_table.TaskTable)
        return len(self.bench.rows(self._name(self.maps.rows)))

    def _name(self, spec: object) -> str:
        return next(name for name, item in self.bench.program.maps.items() if item is spec)

    def column(self, place: int) -> dict[tuple[int, ...], int]:
        return {key: row[place] for key, row in self.rows().items() if row[place]}

    def buckets(self) -> dict[tuple[int, ...], int]:
        """Calls by function, task and bit length."""
        rows = self.rows().items()
        return {(*key, bits): n for key, row in rows for bits, n in enumerate(row[BUCKETS:]) if n}

    def array(self, spec: object) -> list[int]:
        return self.bench.array(self._name(spec))

    def states(self) -> list[list[int]]:
        """The rows of tasks that measuring self time keeps."""
        return self.bench.rows(self._name(self_time.rows))

    def open_calls(self) -> int:
        """Values of calls in progress, and of tasks that have such; those that wait for the next calls are 0."""
        return sum(map(bool, (n for row in self.states() for n in row[task_rows.STATE :])))


@pytest.mark.parametrize("by", [None, "process", "thread"])
@pytest.mark.parametrize("has_self", [False, True])
def test_what_cpus_share_is_only_updated_atomically(by: str | None, has_self: bool) -> None:
    program = LatencyProbe(by=by, has_self=has_self).program
    statements = build(program, is_session=True).body
    maps = list(program.maps.values())
    stored = [maps[statement.map] for statement in statements if isinstance(statement, ir.Store)]
    assert all(spec is self_time.rows for spec in stored)  # only the task itself writes to its row
    assert "umax" in [statement.op for statement in statements if isinstance(statement, ir.Update)]


def test_self_time_is_what_traced_children_leave() -> None:
    probe = LatencyProbe(by="thread", has_self=True)
    machine = Machine(probe)
    outer = machine.enter(0, tid=5)
    for _ in range(2):
        machine.time += 10
        inner = machine.enter(1, tid=5)
        machine.time += 100
        innermost = machine.enter(0, tid=5)  # recursion
        machine.time += 1000
        machine.leave(0, innermost, tid=5)
        machine.leave(1, inner, tid=5)
    machine.time += 1
    machine.leave(0, outer, tid=5)
    assert machine.column(TOTAL) == {(0, 5): 2221 + 2000, (1, 5): 2200}
    assert machine.column(OWN) == {(0, 5): 21 + 2000, (1, 5): 200}
    assert machine.column(CALLS) == {(0, 5): 3, (1, 5): 2}
    assert machine.column(LONGEST) == {(0, 5): 2221, (1, 5): 1100}
    assert machine.buckets() == {(0, 5, 10): 2, (0, 5, 12): 1, (1, 5, 11): 2}
    assert machine.open_calls() == 0


def test_a_missed_return_upsets_only_itself() -> None:
    probe = LatencyProbe(by="thread", has_self=True)
    machine = Machine(probe)
    outer = machine.enter(0, tid=5)
    machine.time += 10
    machine.enter(1, tid=5)  # whose return is never seen
    machine.time += 100
    inner = machine.enter(2, tid=5)
    machine.time += 1000
    machine.leave(2, inner, tid=5)
    machine.time += 1
    machine.leave(0, outer, tid=5)
    again = machine.enter(2, tid=5)
    machine.time += 3
    machine.leave(2, again, tid=5)
    assert machine.column(OWN) == {(0, 5): 111, (2, 5): 1003}
    assert machine.array(self_time.lost) == [0]


def test_idle_tasks_of_two_cpus_are_two_tasks() -> None:
    probe = LatencyProbe(by="thread", has_self=True)
    machine = Machine(probe)
    first = machine.enter(0, tid=0, pid=0, cpu=0)
    machine.time += 10
    second = machine.enter(1, tid=0, pid=0, cpu=1)
    machine.time += 100
    machine.leave(0, first, tid=0, pid=0, cpu=0)
    machine.time += 1
    machine.leave(1, second, tid=0, pid=0, cpu=1)
    assert machine.column(OWN) == machine.column(TOTAL) == {(0, 0): 110, (1, 0): 101}


def test_too_deep_is_counted_not_guessed() -> None:
    probe = LatencyProbe(by="thread", has_self=True)
    machine = Machine(probe)
    calls = [machine.enter(0, tid=5) for _ in range(self_time.DEEPEST + 2)]
    machine.time += 1
    for session in reversed(calls):
        machine.leave(0, session, tid=5)
    assert machine.array(self_time.lost) == [self_time.DEEPEST]
    assert machine.column(TOTAL) == {(0, 5): self_time.DEEPEST + 2}
    assert machine.column(OWN) == {(0, 5): 1}
    assert machine.open_calls() == 0


def test_a_call_whose_task_lost_its_row_is_counted() -> None:
    """More tasks than have a row at the same place are in calls: the last one takes the first one's."""
    probe = LatencyProbe(by="thread", has_self=True)
    machine = Machine(probe)
    tids = [5 + n * task_rows.N_ROWS for n in range(task_rows.PROBES + 1)]
    calls = [machine.enter(0, tid=tid) for tid in tids]
    machine.time += 10
    for tid, session in zip(tids, calls, strict=True):
        machine.leave(0, session, tid=tid)
    assert machine.array(self_time.lost) == [1]
    assert machine.column(TOTAL) == {(0, tid): 10 for tid in tids}
    assert machine.column(OWN) == {(0, tid): 10 for tid in tids[1:]}
    again = machine.enter(2, tid=5)
    machine.time += 3
    machine.leave(2, again, tid=5)
    assert machine.column(OWN)[2, 5] == 3
    assert machine.open_calls() == 0
    assert len(machine.states()) == task_rows.PROBES


@pytest.mark.parametrize("has_self", [False, True])
def test_pairs_without_a_row_have_their_values_in_a_hash_table(monkeypatch: pytest.MonkeyPatch, has_self: bool) -> None:
    monkeypatch.setattr(keyed_rows, "PROBES", 1)
    machine = Machine(LatencyProbe(by="thread", has_self=has_self))
    tids = same_place(3)
    for took in (10, 100, 10):
        for tid in tids:
            outer = machine.enter(0, tid=tid)
            inner = machine.enter(1, tid=tid)
            machine.time += took
            machine.leave(1, inner, tid=tid)
            machine.time += 1
            machine.leave(0, outer, tid=tid)
    assert machine.n_rows() < 6
    expected = {CALLS: (3, 3), TOTAL: (123, 120), LONGEST: (101, 100)} | ({OWN: (3, 120)} if has_self else {})
    for place, values in expected.items():
        assert machine.column(place) == {(function, tid): values[function] for tid in tids for function in (0, 1)}
    assert {(tid, bits): n for (function, tid, bits), n in machine.buckets().items() if not function} == {
        (tid, bits): n for tid in tids for bits, n in ((4, 2), (7, 1))
    }
    assert machine.bench.losses() == {}


def test_pairs_without_any_room_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyed_rows, "PROBES", 1)
    monkeypatch.setattr(task_table, "MORE_VALUES", 4)
    machine = Machine(LatencyProbe(by="thread"))
    tids = same_place(3)
    for tid in tids:
        session = machine.enter(0, tid=tid)
        machine.time += 10
        machine.leave(0, session, tid=tid)
    assert machine.column(TOTAL) == {(0, tid): 10 for tid in tids[:2]}
    assert machine.bench.losses() == {"full_maps": 4}


def test_pairs_at_the_same_place_have_rows_of_their_own() -> None:
    probe = LatencyProbe(by="thread")
    machine = Machine(probe)
    tids = [*same_place(20), -7]
    for _ in range(2):
        for n, tid in enumerate(tids):
            session = machine.enter(0, tid=tid & 0xFFFFFFFF)
            machine.time += n
            machine.leave(0, session, tid=tid & 0xFFFFFFFF)
    assert machine.column(CALLS) == {(0, tid): 2 for tid in tids}
    assert machine.column(TOTAL) == {(0, tid): 2 * n for n, tid in enumerate(tids) if n}
    assert machine.n_rows() == len(tids)


def same_place(n: int) -> list[int]:
    """Ids of tasks whose pairs with the first function have the same first place."""

    def place(tid: int) -> int:
        key = 1 << task_table.TASK_BITS | tid
        return (key * keyed_rows.MULTIPLIER & (1 << 64) - 1) >> 64 - task_table.ROW_BITS

    return [tid for tid in range(1, n << task_table.ROW_BITS + 1) if place(tid) == place(1)][:n]


def test_a_call_from_before_its_task_started_anew_is_counted() -> None:
    probe = LatencyProbe(by="thread", has_self=True)
    machine = Machine(probe)
    machine.enter(0, tid=5)
    first = machine.enter(1, tid=5)
    machine.time += 1000
    machine.leave(1, first, tid=5)
    old = machine.enter(2, tid=5)
    for _ in range(self_time.DEEPEST - 1):
        machine.enter(1, tid=5)  # whose returns are missed, that of the last one, too, which is the outermost one now
    machine.time += 10
    machine.leave(2, old, tid=5)
    assert machine.array(self_time.lost) == [1]
    assert machine.column(OWN) == {(1, 5): 1000}


def test_any_number_of_missed_returns() -> None:
    """Of outermost calls, while others are seen: their self times are right, or lost where the depth starts again."""
    probe = LatencyProbe(by="thread", has_self=True)
    machine = Machine(probe)
    for n in range(2 * self_time.DEEPEST):
        machine.enter(1, tid=5)  # its return is missed
        outer = machine.enter(0, tid=5)
        machine.time += 10
        inner = machine.enter(2, tid=5)
        machine.time += 100
        machine.leave(2, inner, tid=5)
        machine.leave(0, outer, tid=5)
        (n_lost,) = machine.array(self_time.lost)
        own = machine.column(OWN)
        assert own[0, 5] + own.get((2, 5), 0) == 110 * (n + 1) - 10 * n_lost
    assert 0 < n_lost < 10


def test_a_call_that_began_before_is_not_timed() -> None:
    probe = LatencyProbe(by="process")
    machine = Machine(probe)
    machine.leave(0, machine.bench.machine.allocate(8), tid=5)
    assert not machine.column(TOTAL)
    assert not machine.buckets()


@pytest.fixture(scope="module")
def shared() -> tuple[LatencyProbe, Machine]:
    probe = LatencyProbe(by="process", has_self=True)
    return probe, Machine(probe)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.booleans(), st.integers(0, 50)), max_size=40))
def test_any_interleaving_of_tasks(
    shared: tuple[LatencyProbe, Machine], steps: list[tuple[int, int, bool, int]]
) -> None:
    """Against a model that knows the whole tree of calls. Tasks migrate."""
    _, machine = shared
    machine.time += 1
    pid = machine.time  # a process that was never there before
    total, own = dict.fromkeys(range(3), 0), dict.fromkeys(range(3), 0)
    stacks: dict[int, list[list[int]]] = {}
    for number, (tid, function, is_call, passes) in enumerate(steps):
        machine.time += passes
        stack = stacks.setdefault(tid, [])
        where = {"tid": 8 * pid + tid, "pid": pid, "cpu": number % 4}
        if is_call:
            stack.append([function, machine.time, 0, machine.enter(function, **where)])
        elif stack:
            function, began, children, session = stack.pop()
            machine.leave(function, session, **where)
            took = machine.time - began
            total[function] += took
            own[function] += took - children
            if stack:
                stack[-1][2] += took
    for place, expected in ((TOTAL, total), (OWN, own)):
        found = dict.fromkeys(range(3), 0)
        found |= {function: n for (function, who), n in machine.column(place).items() if who == pid}
        assert found == expected
    assert machine.array(self_time.lost) == [0]


# Numbers


@given(st.lists(st.integers(0, 1 << 40), min_size=1), st.floats(0, 1))
def test_quantiles_are_within_a_factor_of_two(values: list[int], share: float) -> None:
    buckets = [0] * 65
    for number in values:
        buckets[number.bit_length()] += 1
    found = quantile(buckets, share, longest=max(values))
    exact = sorted(values)[max(0, -(-int(share * len(values) * 1e9) // 10**9) - 1)]
    low, high = bounds(exact.bit_length())
    assert found <= max(values)
    assert low <= found <= high or abs(share * len(values) - round(share * len(values))) < 1e-6


def test_quantiles_of_nothing() -> None:
    assert quantile([], 0.5, longest=0) == 0
    assert quantile([0, 0], 0.5, longest=0) == 0


def row(calls: int, total: int, own: int | None, longest: int, buckets: tuple[int, ...] = ()) -> Latency:
    return Latency(None, 0, calls, 0, total, own, longest, buckets)  # type: ignore[arg-type]


def test_rank() -> None:
    rows = [row(1, 100, 90, 100), row(10, 50, 50, 5), row(2, 70, 1, 60)]
    assert rank(rows) == [rows[0], rows[2], rows[1]]
    assert rank(rows, sort="calls", top=1) == [rows[1]]
    assert rank(rows, sort="self") == [rows[0], rows[1], rows[2]]
    assert rank(rows, sort="max")[-1] == rows[1]
    with pytest.raises(UsageError, match="sort='speed'"):
        rank(rows, sort="speed")


def test_buckets_of_all() -> None:
    assert all_buckets([row(0, 0, 0, 0, (1, 2)), row(0, 0, 0, 0, (0, 0, 3))]) == [1, 2, 3]


def test_unknown_groups_are_refused() -> None:
    with pytest.raises(UsageError, match="by='cpu'"):
        LatencyProbe(by="cpu")
    assert latency.SORTS[0] == "total"
