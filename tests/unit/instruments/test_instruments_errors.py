"""`errors` without a kernel: its program on the test machine, against a model that knows the whole tree of calls."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import multiprobe as mp
from multiprobe.instruments import keyed_rows, task_rows
from multiprobe.instruments.errors import kinds
from multiprobe.instruments.errors import program as errors_probe
from multiprobe.instruments.errors.failures import NULL, OF_PROGRAM, FailedCall, Joiner, decoded
from multiprobe.instruments.errors.instrument import OF_PROGRAMS, UNTYPED, cookies_of
from multiprobe.instruments.errors.kinds import Kinds
from multiprobe.instruments.errors.program import INT, LONG, NEVER, POINTER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

sys.path[:0] = [str(Path(__file__).parents[1] / "compiler")]

from kernel_memory import kernel  # noqa: E402
from machine import Ring, words  # noqa: E402
from runner import Bench  # noqa: E402

from multiprobe.compiler.shape import Shape  # noqa: E402

ADDRESSES = tuple(0x1000 * n for n in range(1, 5))
KINDS = (INT, LONG, POINTER, NEVER)
MASK = (1 << 64) - 1
ENOENT, EIO = 2, 5
STACKS, STACK_SIZE = 0xFFFF_C900_C000_0000, 0x4000
FRAME = 0x80
"""What every function here takes of a stack."""


def stack_top(tid: int) -> int:
    """Where a task's stack begins: every second one of its size, as a guard page lies between them."""
    return STACKS + 2 * tid * STACK_SIZE + STACK_SIZE


IRQ_STACK = stack_top(1 << 16)


@cache
def fake_kernel() -> mp.Kernel:
    """A kernel with a `struct task_struct`, whose `comm` is at 16."""
    with TemporaryDirectory() as folder:
        made = kernel(Path(folder, "btf"))
        assert made.btf  # it is read while the file is there
        return made


class Machine:
    """The program on the test machine. Function n's kind is KINDS[n].

    is_each: every failure is sent by itself, or equal ones are counted
    is_paired: an entry and a return program make the session, as on kernels that have none
    stacks: by task, the stack pointers of calls under way; entry: the number of the task's entry into the kernel
    """

    is_each = False

    def __init__(self, *, n_arguments: int = 0, hook: str = "tracing", is_paired: bool = False) -> None:
        is_user = hook == "uprobe"
        kinds = (OF_PROGRAMS,) * len(KINDS) if is_user else KINDS
        program = errors_probe.make_program(
            n_arguments=n_arguments, has_types=not is_user, has_programs=is_user, is_each=self.is_each
        )
        source = "cookie" if is_user else "ip"
        shapes = [
            Shape(session_side=side, function_from=source) for side in (("entry", "return") if is_paired else ("",))
        ]
        options: dict[str, Any] = {"addresses": ADDRESSES, "cookies": kinds, "kernel": fake_kernel()}
        self.bench = Bench(program, hook, "session", shapes[0], **options)
        self.leaving = Bench(program, hook, "session", shapes[-1], machine=self.bench.machine, **options)
        self.task = self.bench.machine.put(b"bash".rjust(20, b"\0").ljust(32, b"\0"))
        self.hook = hook
        self.time = 0
        self.cpu = 0
        self.stacks: dict[int, list[int]] = {}
        self.entry = 0
        self.kinds = Kinds()
        self.counted: Counter[FailedCall] = Counter()
        self.n_events = 0

    def enter(self, function: int, *arguments: int, tid: int = 5, at: int = 0) -> int:
        """A call: the address of its session. `at`: the stack pointer, if not below that of the task's last call."""
        stack = self.stacks.setdefault(tid, [])
        stack.append(at or (stack[-1] if stack else stack_top(tid)) - FRAME)
        session = self.bench.machine.allocate(8)
        self._hit(function, session, tid, arguments, is_return=0, ret=0)
        return session

    def leave(self, function: int, session: int, ret: int, *, tid: int = 5) -> None:
        self._hit(function, session, tid, (), is_return=1, ret=ret)
        self.miss(tid=tid)

    def miss(self, *, tid: int = 5) -> None:
        """The innermost call returns, and the program doesn't run."""
        self.stacks[tid].pop()

    def _hit(
        self, function: int, session: int, tid: int, arguments: tuple[int, ...], *, is_return: int, ret: int
    ) -> None:
        self.time += 1
        user = self.bench.machine.put(words(*[self.entry] * 21))
        kfuncs = {"kfunc:bpf_session_cookie": session, "kfunc:bpf_session_is_return": is_return}
        facts = {
            "ip": ADDRESSES[function],
            "cookie": function if self.hook == "uprobe" else KINDS[function],
            "ret": ret & MASK,
            "time": self.time,
        }
        facts |= {
            "cpu": self.cpu,
            "task_btf": self.task,
            "user_registers": user,
            "arg_count": len(arguments),
            "pid_tgid": 7 << 32 | tid,
        }
        pointer = self.stacks[tid][-1]
        context = None
        if self.hook == "tracing":
            facts["at"] = pointer - 16 - 8 * len(arguments)
        else:
            # At the return of a kprobe nothing is left on the stack.
            context = registers(ret, pointer + 8 if is_return and self.hook == "kprobe" else pointer)
        bench = self.leaving if is_return else self.bench
        bench.hit(*arguments, *[0] * (6 - len(arguments)), context=context, **facts, **kfuncs)

    def failures(self) -> list[FailedCall]:
        """The failures since the last time."""
        return self._each() if self.is_each else self._counted()

    def _each(self) -> list[FailedCall]:
        joiner, found = Joiner(), []
        for identity, failure in decoded(self._records(errors_probe.begun)):
            found += joiner.begin(identity, failure)
        for identity, frame, error in self._records(errors_probe.ended).tolist():
            found += joiner.end(identity, frame - 1 if frame else None, error)
        assert joiner.n_open == 0
        return found

    def _counted(self) -> list[FailedCall]:
        self.kinds.learn(decoded(self._records(errors_probe.begun)))
        before, self.counted = self.counted, Counter()
        for failure, n in self.kinds.failures(self.rows(), is_last=True):
            self.counted[failure] += n
        assert self.kinds.n_unknown == 0
        assert self.bench.array(self._name(kinds.full)) == [0]
        assert all(failure.end is not None for failure in self.counted)
        return list((self.counted - before).elements())

    def rows(self) -> NDArray[np.uint64]:
        """The table of kinds."""
        return self.bench.all_rows(self._name(kinds.kinds))

    def ring(self, spec: object) -> Ring:
        """The ring buffer of a RingBuffer spec."""
        return self.bench.ring(self._name(spec))

    def _name(self, spec: object) -> str:
        return next(name for name, item in self.bench.program.maps.items() if item is spec)

    def _records(self, spec: Any) -> NDArray[np.void]:
        records = self.ring(spec).records
        found = np.frombuffer(b"".join(records), spec.record.dtype())
        self.n_events += len(records)
        records.clear()
        return found


@pytest.fixture(scope="module", autouse=True, params=[False, True], ids=["counted", "each"])
def is_each(request: pytest.FixtureRequest) -> Iterator[bool]:
    """Every test is of both programs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Machine, "is_each", request.param)
        yield request.param


def registers(ax: int, sp: int) -> bytes:
    """A pt_regs of x86-64."""
    image = [0] * 21
    image[10], image[19] = ax & MASK, sp
    return words(*image)


def run(machine: Machine, *steps: tuple[int, ...]) -> list[FailedCall]:
    """(function,) calls, (function, ret) returns."""
    sessions: list[int] = []
    for step in steps:
        if len(step) == 1:
            sessions.append(machine.enter(step[0]))
        else:
            machine.leave(step[0], sessions.pop(), step[1])
    return machine.failures()


def test_an_error_that_goes_all_the_way_up() -> None:
    (failure,) = run(Machine(), (1,), (2,), (0,), (0, -ENOENT), (2, -EIO), (1, -EIO))
    assert (failure.path, failure.error) == ((1, 2, 0), ENOENT)
    assert (failure.end, failure.end_error, failure.is_cut) == (1, EIO, False)
    assert (failure.pid, failure.tid, failure.name) == (7, 5, "bash")


def test_negative_results_of_programs() -> None:
    (failure,) = run(Machine(hook="uprobe"), (1,), (2,), (0,), (0, -1), (2, 0xFFFF_FFFF), (1, 7))
    assert (failure.path, failure.error, failure.errors) == ((1, 2, 0), OF_PROGRAM + 1, {"-1"})
    assert (failure.end, failure.end_error) == (1, 0)
    (failure,) = run(Machine(hook="uprobe"), (1,), (0,), (0, -22), (1, -1))
    assert (failure.errors, failure.end, failure.end_error) == ({"-22", "-1"}, 1, OF_PROGRAM + 1)
    assert not run(Machine(hook="uprobe"), (1,), (0,), (0, 0), (1, -5000))


def test_calls_that_longjmp_left_are_no_callers() -> None:
    machine = Machine(hook="uprobe")
    outer = machine.enter(1)
    machine.enter(2)
    machine.enter(0)
    machine.miss()
    machine.miss()
    inner = machine.enter(3, at=stack_top(5) - FRAME - FRAME // 2)
    machine.leave(3, inner, -1)
    machine.leave(1, outer, -1)
    (failure,) = machine.failures()
    assert failure.path == (1, 3)


def test_an_error_that_is_handled() -> None:
    (failure,) = run(Machine(), (1,), (0,), (0, -ENOENT), (1, 3))
    assert (failure.path, failure.end, failure.end_error) == ((1, 0), 1, 0)
    (failure,) = run(Machine(), (3,), (0,), (0, -ENOENT), (3, 3))  # whose caller returns nothing
    assert (failure.path, failure.end, failure.end_error) == ((3, 0), 3, 0)


def test_another_error_after_a_success_is_another_failure() -> None:
    found = run(Machine(), (1,), (0,), (0, -ENOENT), (0,), (0, 0), (1, -EIO))
    by_error = {failure.error: failure for failure in found}
    assert (by_error[ENOENT].path, by_error[ENOENT].end) == ((1, 0), 1)
    assert by_error[ENOENT].is_handled
    assert (by_error[EIO].path, by_error[EIO].end, by_error[EIO].end_error) == ((1,), 1, EIO)


def test_the_same_error_after_a_success_is_the_same_failure() -> None:
    (failure,) = run(Machine(), (1,), (0,), (0, -EIO), (0,), (0, 0), (1, -EIO))
    assert (failure.path, failure.end_error) == ((1, 0), EIO)


def test_what_counts_as_an_error() -> None:
    returned = {
        0: [(-1, 1), (-4095, 4095), (-4096, 0), (5, 0), (0xFFFFFFFE, 2)],
        1: [(-1, 1), (0xFFFFFFFE, 0), (0, 0)],
        2: [(0, NULL), (-5, 5), (-4096, 0), (0xFFFF888000000000, 0)],
        3: [(-1, 0), (0, 0)],
    }
    for function, cases in returned.items():
        for ret, error in cases:
            found = run(Machine(), (function,), (function, ret))
            assert [failure.error for failure in found] == ([error] if error else []), (function, ret)


def test_arguments_are_those_of_the_first() -> None:
    machine = Machine(n_arguments=6)
    outer = machine.enter(0, 1, 2, 3, 4, 5, 6)
    inner = machine.enter(0, 11, 12, 13, 14, 15, 16)
    machine.leave(0, inner, -ENOENT)
    machine.leave(0, outer, -ENOENT)
    (failure,) = machine.failures()
    assert failure.arguments == (11, 12, 13, 14, 15, 16)


def test_tasks_are_apart() -> None:
    machine = Machine()
    one, two = machine.enter(1, tid=5), machine.enter(1, tid=6)
    inner = machine.enter(0, tid=6)
    machine.leave(1, one, -EIO, tid=5)
    machine.leave(0, inner, -ENOENT, tid=6)
    machine.leave(1, two, -ENOENT, tid=6)
    assert sorted((failure.tid, failure.path, failure.error) for failure in machine.failures()) == [
        (5, (1,), EIO),
        (6, (1, 0), ENOENT),
    ]


def test_cookies_stand_for_requests_where_there_are_requests() -> None:
    @dataclass
    class Set:
        positions: list[int] | None
        unresolved: tuple[str, ...] = ()

        def __len__(self) -> int:
            return 2

    assert cookies_of(Set(None), [INT, UNTYPED]) == [INT, NEVER]  # type: ignore[arg-type]
    assert cookies_of(Set([2, 0], ("gone",)), [INT, POINTER]) == [POINTER, NEVER, INT]  # type: ignore[arg-type]


def test_a_long_path_is_cut_at_its_outer_end() -> None:
    n = errors_probe.LONGEST_PATH + 3
    (failure,) = run(Machine(), *[(0,)] * n, *[(0, -EIO)] * n)
    assert len(failure.path) == errors_probe.LONGEST_PATH
    assert failure.is_cut


HOOKS = {"session": ("tracing", False), "kprobe session": ("kprobe_multi", False)}
HOOKS |= {"trampolines": ("tracing", True), "kprobes": ("kprobe", True)}


@pytest.fixture(params=HOOKS)
def hooked(request: pytest.FixtureRequest) -> Machine:
    hook, is_paired = HOOKS[request.param]
    return Machine(hook=hook, is_paired=is_paired)


def found(machine: Machine) -> list[tuple[tuple[int | None, ...], int, int | None]]:
    """(path, error, end) of all failures since the last time."""
    return [(failure.path, failure.error, failure.end) for failure in machine.failures()]


def fail(machine: Machine, *functions: int, tid: int = 5, at: int = 0) -> list[Any]:
    """Calls of which each makes the next one; all fail. The failures that this makes."""
    sessions = [machine.enter(one, tid=tid, at=0 if n else at) for n, one in enumerate(functions)]
    for one in reversed(functions):
        machine.leave(one, sessions.pop(), -ENOENT, tid=tid)
    return found(machine)


@pytest.mark.parametrize("deeper", [0, 8, FRAME])
@pytest.mark.parametrize("other", [1, 2])
def test_the_missed_return_of_an_outermost_call(hooked: Machine, deeper: int, other: int) -> None:
    """Later calls may be made from the same depth of the stack, or from less deep."""
    outermost = stack_top(5) - FRAME
    for _ in range(3):
        hooked.enter(1, at=outermost - deeper)
        hooked.miss()
        if not deeper and hooked.hook != "tracing" and other != 1:
            # It might be a tail call: what it was shows when it has returned, and another call is made.
            hooked.leave(other, hooked.enter(other, at=outermost), 1)
        assert fail(hooked, other, 0, at=outermost) == [((other, 0), ENOENT, other)]


def test_missed_returns_below_a_call_that_goes_on(hooked: Machine) -> None:
    outer = hooked.enter(1)
    for _ in range(3):
        hooked.enter(2)
        hooked.enter(0)
        hooked.miss()
        hooked.miss()
    session = hooked.enter(0, at=stack_top(5) - FRAME - 8)
    hooked.leave(0, session, -EIO)
    hooked.leave(1, outer, -EIO)
    assert found(hooked) == [((1, 0), EIO, 1)]


def test_the_missed_returns_of_a_whole_stack(hooked: Machine) -> None:
    for _ in range(2):
        for n in range(errors_probe.DEEPEST):
            hooked.enter(n % 2, at=stack_top(5) - FRAME - 16 * n)
        for _ in range(errors_probe.DEEPEST):
            hooked.miss()
        assert fail(hooked, 2, 0, at=stack_top(5) - 8) == [((2, 0), ENOENT, 2)]
    assert "cut_loops" not in hooked.bench.losses()


def test_a_tail_call_has_the_stack_pointer_of_its_caller() -> None:
    machine = Machine(hook="kprobe_multi")
    for _ in range(3):
        outer = machine.enter(1)
        inner = machine.enter(0, at=machine.stacks[5][-1])
        machine.leave(0, inner, -ENOENT)
        machine.leave(1, outer, -ENOENT)
        assert found(machine) == [((1, 0), ENOENT, 1)]


def test_an_interrupt_between_the_returns_of_a_tail_call() -> None:
    machine = Machine(hook="kprobe_multi")
    outer = machine.enter(1)
    inner = machine.enter(0, at=machine.stacks[5][-1])
    machine.leave(0, inner, -ENOENT)
    interrupt = machine.enter(1, at=IRQ_STACK - FRAME)
    machine.leave(1, interrupt, 0)
    machine.leave(1, outer, -ENOENT)
    assert found(machine) == [((1, 0), ENOENT, 1)]


@pytest.mark.parametrize("stack", [IRQ_STACK, stack_top(5) - 2 * STACK_SIZE, stack_top(5) + 2 * STACK_SIZE])
def test_an_interrupt_on_a_stack_of_its_own(hooked: Machine, stack: int) -> None:
    """It may be above the task's stack or below it. What it calls are calls of the interrupted function."""
    outer = hooked.enter(1)
    for _ in range(2):
        interrupt = hooked.enter(2, at=stack - FRAME)
        hooked.leave(0, hooked.enter(0), -ENOENT)
        hooked.leave(2, interrupt, -ENOENT)
        hooked.leave(0, hooked.enter(0), 1)
    hooked.leave(1, outer, -ENOENT)
    assert found(hooked) == [((1, 2, 0), ENOENT, 1)] * 2


def test_a_missed_return_in_an_interrupt(hooked: Machine) -> None:
    outer = hooked.enter(1)
    hooked.enter(2, at=IRQ_STACK - FRAME)
    hooked.miss()
    inner = hooked.enter(0)
    hooked.leave(0, inner, -ENOENT)
    hooked.leave(1, outer, -ENOENT)
    assert found(hooked) == [((1, 0), ENOENT, 1)]
    hooked.enter(2, at=IRQ_STACK - FRAME)  # it interrupted user space
    hooked.miss()
    hooked.entry += 1
    assert fail(hooked, 1, 0) == [((1, 0), ENOENT, 1)]


def test_the_frames_of_a_dead_task_with_the_same_id(hooked: Machine) -> None:
    for _ in range(3):
        hooked.enter(3, at=IRQ_STACK - FRAME)  # an exit never returns
        hooked.miss()
    hooked.entry += 1
    assert fail(hooked, 1, 0) == [((1, 0), ENOENT, 1)]


@pytest.mark.parametrize("offset", [-0x400, -FRAME, 0, FRAME])
def test_another_system_call_has_none_of_the_callers_of_the_last_one(hooked: Machine, offset: int) -> None:
    """Wherever its stack begins: that is random on many kernels."""
    for _ in range(20):
        for function in (1, 3, 2):
            hooked.enter(function)
        for _ in range(3):
            hooked.miss()
        hooked.entry += 1
        assert fail(hooked, 3, 0, at=stack_top(5) - FRAME + offset) == [((3, 0), ENOENT, 3)]


def same_row(n: int) -> list[int]:
    """Ids of tasks that have the same first row."""
    return [9 + task_rows.N_ROWS * k for k in range(n)]


def lost(machine: Machine) -> list[int]:
    return machine.bench.array("lost")


def test_tasks_with_the_same_row_are_apart(hooked: Machine) -> None:
    tids = same_row(task_rows.PROBES)
    outer = {tid: hooked.enter(1, tid=tid) for tid in tids}
    for tid in reversed(tids):
        hooked.leave(0, hooked.enter(0, tid=tid), -ENOENT, tid=tid)
    for tid in tids:
        hooked.leave(1, outer[tid], -EIO if tid == tids[1] else 0, tid=tid)
    assert sorted(found(hooked)) == [((1, 0), ENOENT, 1)] * len(tids)
    assert lost(hooked) == [0, 0]


def test_a_row_without_calls_in_progress_serves_another_task(hooked: Machine) -> None:
    for tid in same_row(3 * task_rows.PROBES):
        assert fail(hooked, 1, 0, tid=tid) == [((1, 0), ENOENT, 1)]
    assert fail(hooked, 1, 0, tid=same_row(1)[0]) == [((1, 0), ENOENT, 1)]
    assert lost(hooked) == [0, 0]


def test_a_task_for_which_all_rows_are_in_use_takes_that_of_another(hooked: Machine) -> None:
    *tids, newest = same_row(task_rows.PROBES + 1)
    outer = {tid: hooked.enter(1, tid=tid) for tid in tids}
    assert fail(hooked, 2, 0, tid=newest) == [((2, 0), ENOENT, 2)]
    for tid in tids:
        hooked.leave(1, outer[tid], -ENOENT, tid=tid)
    assert found(hooked) == [((1,), ENOENT, 1)] * (len(tids) - 1)
    assert lost(hooked) == [0, 1]
    for tid in (*tids, newest):
        assert fail(hooked, 1, 0, tid=tid) == [((1, 0), ENOENT, 1)]
    assert lost(hooked) == [0, 1]


def test_calls_of_a_task_that_lost_its_row_begin_a_new_path(hooked: Machine) -> None:
    *tids, newest = same_row(task_rows.PROBES + 1)
    outer = [hooked.enter(1, tid=tid) for tid in tids]
    taker = hooked.enter(2, tid=newest)
    assert fail(hooked, 2, 0, tid=tids[0]) == [((2, 0), ENOENT, 2)]
    hooked.leave(1, outer[0], -ENOENT, tid=tids[0])
    hooked.leave(2, taker, -ENOENT, tid=newest)
    assert lost(hooked)[0] == 0
    assert lost(hooked)[1] >= 1


def test_calls_too_deep_are_counted() -> None:
    machine = Machine()
    sessions = [machine.enter(0) for _ in range(errors_probe.DEEPEST + 2)]
    for session in reversed(sessions):
        machine.leave(0, session, 0)
    assert lost(machine) == [2, 0]
    assert fail(machine, 1, 0) == [((1, 0), ENOENT, 1)]


@pytest.mark.parametrize("cpu", [0, 7])
def test_idle_tasks_are_told_apart_from_tasks_with_the_number_of_their_cpu(hooked: Machine, cpu: int) -> None:
    hooked.cpu = cpu
    idle = hooked.enter(1, tid=0)
    if cpu:
        assert fail(hooked, 2, 0, tid=cpu) == [((2, 0), ENOENT, 2)]
    hooked.leave(1, idle, -EIO, tid=0)
    assert found(hooked) == [((1,), EIO, 1)]


def test_a_thread_whose_id_changes_during_a_call(hooked: Machine) -> None:
    """As that of a thread that isn't a process's first one, when it calls execve."""
    session = hooked.enter(1, tid=9)
    hooked.stacks[8] = hooked.stacks[9]
    hooked.leave(1, session, -ENOENT, tid=8)
    assert found(hooked) == [((1,), ENOENT, 1)]


def test_without_types_the_last_entry_into_the_kernel_is_not_asked_for() -> None:
    for has_types in (True, False):
        program = errors_probe.make_program(has_types=has_types)
        bench = Bench(program, "tracing", "session", addresses=ADDRESSES, kernel=fake_kernel())
        assert ("kernel_entry" in bench.code.needs) == has_types


@pytest.fixture
def counted(is_each: bool) -> Machine:
    if is_each:
        pytest.skip("nothing is counted in the kernel")
    return Machine()


def test_equal_failures_are_one_event_and_many_counts(counted: Machine) -> None:
    for n in range(1, 4):
        for tid in (5, 6):
            assert fail(counted, 1, 0, tid=tid) == [((1, 0), ENOENT, 1)]
        assert list(counted.counted.values()) == [2 * n]
    outer = counted.enter(1)
    counted.leave(0, counted.enter(0), -ENOENT)
    counted.leave(1, outer, 0)  # the same beginning, another end
    assert found(counted) == [((1, 0), ENOENT, 1)]
    assert sorted(counted.counted.values()) == [1, 6]
    assert counted.n_events == 1


def test_a_kind_is_told_again_if_its_event_was_dropped(counted: Machine) -> None:
    ring = counted.ring(errors_probe.begun)
    ring.size, room = 0, ring.size
    fail_unseen(counted)
    assert list(counted.kinds.failures(counted.rows(), is_last=True)) == []
    assert counted.kinds.n_unknown == 1
    ring.size = room
    assert fail(counted, 1, 0) == [((1, 0), ENOENT, 1)] * 2
    assert counted.kinds.n_unknown == 0


def fail_unseen(machine: Machine) -> None:
    """A call fails, and its caller."""
    outer = machine.enter(1)
    machine.leave(0, machine.enter(0), -ENOENT)
    machine.leave(1, outer, -ENOENT)


def test_failures_that_have_not_ended(counted: Machine) -> None:
    counted.enter(1)
    counted.leave(0, counted.enter(0), -ENOENT)
    counted.kinds.learn(decoded(counted._records(errors_probe.begun)))
    assert list(counted.kinds.failures(counted.rows(), is_last=False)) == []
    ((failure, n),) = counted.kinds.failures(counted.rows(), is_last=True)
    assert (failure.path, failure.end, n) == ((1, 0), None, 1)


@pytest.fixture
def small(counted: Machine, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """There is room for two kinds, and for two whose paths are left out."""
    monkeypatch.setattr(keyed_rows, "PROBES", 2)
    monkeypatch.setattr(kinds, "ROW_BITS", 1)
    monkeypatch.setattr(kinds, "SPARE_BITS", 1)
    monkeypatch.setattr(kinds, "kinds", keyed_rows.make_rows(4, 2))
    return Machine()


def test_kinds_without_room_are_told_apart_by_the_first_function(small: Machine) -> None:
    for _ in range(3):  # a beginning and an end, which take both rows
        assert fail(small, 1, 0) == [((1, 0), ENOENT, 1)]
    assert fail(small, 2, 1, 0) == [((0,), ENOENT, 2)]
    assert fail(small, 2, 0) == [((0,), ENOENT, 2)]
    assert fail(small, 1, 0) == [((1, 0), ENOENT, 1)]
    assert [failure.is_cut for failure in small.counted] == [False, True]
    assert list(small.counted.values()) == [4, 2]


def test_outermost_calls_that_fail_have_no_other_path(small: Machine) -> None:
    fail(small, 1, 0)
    assert fail(small, 0) == [((0,), ENOENT, 0)]
    assert [failure.is_cut for failure in small.counted] == [False, False]


def test_kinds_without_any_room_are_counted(small: Machine) -> None:
    fail(small, 1, 0)
    fail(small, 2, 0)
    for _ in range(3):
        fail_unseen(small)
        small.leave(1, small.enter(1), -EIO)
    assert small.bench.array(small._name(kinds.full)) == [3]
    assert sorted(n for _, n in small.kinds.failures(small.rows(), is_last=True)) == [1, 4]


@pytest.fixture(scope="module")
def machine(is_each: bool) -> Machine:
    return Machine()


@settings(
    max_examples=60, deadline=None, phases=[Phase.generate], suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=st.lists(st.tuples(st.booleans(), st.integers(0, 3), st.sampled_from([0, 1, -ENOENT, -EIO])), max_size=40))
def test_any_calls(machine: Machine, steps: list[tuple[bool, int, int]]) -> None:
    tid = machine.time + 100  # a task that was never there before
    calls: list[Call] = []
    expected: list[tuple[object, ...]] = []
    sessions = []
    for is_call, function, ret in steps:
        if is_call:
            calls.append(Call(function))
            sessions.append(machine.enter(function, tid=tid))
        elif calls:
            machine.leave(calls[-1].function, sessions.pop(), ret, tid=tid)
            expected += settle(calls, ret)
    while calls:
        machine.leave(calls[-1].function, sessions.pop(), 1, tid=tid)
        expected += settle(calls, 1)
    found = [(f.error, f.path, f.end, f.end_error) for f in machine.failures()]
    assert sorted(found) == sorted(expected)


class Call:
    """A call in the model: its failed child's failure, [error, path, last error], and whether one succeeded since."""

    def __init__(self, function: int) -> None:
        self.function = function
        self.failed: list[object] | None = None
        self.is_followed = False


def settle(calls: list[Call], ret: int) -> list[tuple[object, ...]]:
    """The innermost call returns; which failures end with that: (error, path, end, end_error)."""
    call = calls.pop()
    kind = KINDS[call.function]
    error = NULL if kind == POINTER and not ret else -ret if kind != NEVER and ret < 0 else 0
    ends: list[tuple[object, ...]] = []
    goes_on = call.failed
    if goes_on is not None and (not error or (call.is_followed and goes_on[2] != error)):
        ends.append((goes_on[0], goes_on[1], call.function, 0))
        goes_on = None
    if error:
        path = (*(outer.function for outer in calls), call.function)
        goes_on = [goes_on[0], goes_on[1], error] if goes_on is not None else [error, path, error]
    parent = calls[-1] if calls else None
    if goes_on is not None and parent is None:
        ends.append((goes_on[0], goes_on[1], call.function, error))
    elif goes_on is not None and parent is not None:
        if parent.failed is not None:
            ends.append((parent.failed[0], parent.failed[1], parent.function, 0))
        parent.failed, parent.is_followed = goes_on, False
    elif parent is not None and kind != NEVER:
        parent.is_followed = parent.failed is not None
    return ends
