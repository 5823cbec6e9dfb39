"""Functions of a fake kernel are called: what programs count is what was called, by every mechanism."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest

import multiprobe as mp
from fake_kernel import LIKE_7_3, FakeKernel
from fake_kernel.functions import FUNCTIONS, FakeFunction
from multiprobe.instruments.task_names import task_ids

MECHANISMS = ("kprobe_multi", "tracing_multi", "trampoline", "kprobe")
NAMES = ["vfs_write", "vfs_read", "tcp_ack"]

calls = mp.PerFunction(mp.u64)
by_cookie = mp.Hash(mp.u64, mp.u64, max_entries=64)
per_cpu = mp.Hash(mp.u64, mp.u64, max_entries=64, per_cpu=True)


taken = mp.Hash((mp.u64, mp.u32), mp.u64)


class Hit(mp.Event):
    function: mp.u32
    cookie: mp.u64


hits = mp.RingBuffer(Hit, size=1 << 16)


@mp.program
def count(ctx):
    calls[ctx.function] += 1


@mp.program
def tell(ctx):
    by_cookie[ctx.cookie] += 1
    per_cpu[ctx.cookie] += 1
    hits.send(function=ctx.function, cookie=ctx.cookie)


@mp.program(when="session")
def both(ctx):
    if ctx.is_return:
        by_cookie[ctx.session] += 1
    else:
        ctx.session = ctx.cookie


@pytest.mark.parametrize("when", ["entry", "return"])
@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_calls_are_counted_while_the_attachment_is_active(fake: FakeKernel, mechanism: str, when: str) -> None:
    with mp.attach(count, NAMES, mechanisms=mechanism, when=when) as attachment:
        for n, name in enumerate(NAMES, 1):
            for cpu in range(n):
                fake.fire(name, 7, 8, cpu=cpu)
        assert list(attachment.totals(calls)) == [1, 2, 3]
        assert [row.tolist() for row in attachment.read(calls, per_cpu=True)] == [
            [1, 1, 1], [0, 1, 1], [0, 0, 1], [0, 0, 0],
        ]  # fmt: skip
        attachment.pause()
        fake.fire("vfs_read")
        attachment.resume()
        fake.fire("tcp_ack")
        assert list(attachment.totals(calls)) == [1, 2, 4]


@mp.program
def take(ctx):
    taken[ctx.cookie, 0] = ctx.arg(0)
    taken[ctx.cookie, 1] = ctx.arg(1)
    taken[ctx.cookie, 2] = ctx.arg(2)
    taken[ctx.cookie, 3] = ctx.arg(3)


@mp.program
def take_second(ctx):
    taken[0, 1] = ctx.arg(1)


@pytest.mark.parametrize("names", [["vfs_read", "takes_one", "takes_none", "takes_three"], ["takes_one"], ["vfs_read"]])
@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_arguments_past_the_last_are_zero(directory: Path, mechanism: str, names: list[str]) -> None:
    """Also where the registers hold something else, and where the functions have different numbers of arguments."""
    counts = {"vfs_read": 2, "takes_one": 1, "takes_none": 0, "takes_three": 3}
    more = [FakeFunction(name, parameters=("long",) * n) for name, n in counts.items() if name != "vfs_read"]
    with FakeKernel(directory, LIKE_7_3, functions=(*FUNCTIONS, *more)) as fake:
        with mp.attach(take, names, cookies=range(len(names)), mechanisms=mechanism) as attachment:
            for name in names:
                fake.fire(name, *(50, 51, 52)[: counts[name]])
            found = attachment.map(taken).as_dict()
        assert found == {
            (place, n): 50 + n if n < counts[name] else 0 for place, name in enumerate(names) for n in range(4)
        }
        assert fake.left() == []


@pytest.mark.parametrize("mechanism", ["kprobe_multi", "kprobe"])
def test_where_the_number_of_arguments_is_not_known_they_are_what_the_registers_hold(
    directory: Path, mechanism: str
) -> None:
    functions = (
        *FUNCTIONS,
        FakeFunction("unknown_one", has_btf=False),
        FakeFunction("takes_one", parameters=("long",)),
    )
    with FakeKernel(directory, LIKE_7_3, functions=functions) as fake:
        with mp.attach(take_second, ["unknown_one", "takes_one"], mechanisms=mechanism) as attachment:
            fake.fire("unknown_one", 1, 77)
            assert attachment.map(taken).as_dict() == {(0, 1): 77}
            fake.fire("takes_one", 1)
            assert attachment.map(taken).as_dict() == {(0, 1): 0}
        assert fake.left() == []


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_only_one_process_is_counted(fake: FakeKernel, mechanism: str) -> None:
    with mp.attach(count, NAMES, mechanisms=mechanism, pid=77) as attachment:
        fake.fire("vfs_read", tgid=77)
        fake.fire("vfs_read", tgid=78)
        assert list(attachment.totals(calls)) == [0, 1, 0]


@pytest.mark.parametrize("when", ["entry", "return", "session"])
@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_own_processes_are_left_out(fake: FakeKernel, mechanism: str, when: str) -> None:
    limits = mp.Limits(watchdog=10)
    with mp.attach(count, NAMES, mechanisms=mechanism, when=when, own=False, limits=limits) as attachment:
        (dog,) = children()
        for tgid in (os.getpid(), dog, 77, 0):
            fake.fire("vfs_read", tgid=tgid)
        assert list(attachment.totals(calls)) == [0, 4 if when == "session" and mechanism != "kprobe" else 2, 0]
    with mp.attach(count, NAMES, mechanisms=mechanism) as attachment:
        fake.fire("vfs_read", tgid=os.getpid())
        assert list(attachment.totals(calls)) == [0, 1, 0]


def children() -> list[int]:
    found = list[str]()
    for thread in os.listdir("/proc/self/task"):
        with contextlib.suppress(FileNotFoundError), open(f"/proc/self/task/{thread}/children") as file:
            found += file.read().split()  # a thread that has ended since has none
    return [int(one) for one in found]


NAMESPACE = (4, 4026532999)


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_ids_are_those_of_the_pid_namespace(fake: FakeKernel, mechanism: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Process 77 of the namespace is another one than 77 of the first namespace; those outside have no id."""
    monkeypatch.setattr("multiprobe.kernel.tasks.load_namespace", lambda: NAMESPACE)
    with mp.attach(count, NAMES, mechanisms=mechanism, pid=77) as attachment:
        fake.fire("vfs_read", tgid=5077, namespaces={NAMESPACE: 77 << 32 | 78})
        fake.fire("vfs_read", tgid=77, namespaces={NAMESPACE: 9 << 32 | 9})
        fake.fire("vfs_read", tgid=77)
        assert list(attachment.totals(calls)) == [0, 1, 0]
    own = os.getpid()
    with mp.attach(count, NAMES, mechanisms=mechanism, own=False) as attachment:
        fake.fire("vfs_read", tgid=5077, namespaces={NAMESPACE: own << 32 | own})
        fake.fire("vfs_read", tgid=own)
        fake.fire("vfs_read", tgid=8, namespaces={NAMESPACE: 9 << 32 | 9})
        assert list(attachment.totals(calls)) == [0, 2, 0]


@mp.program
def note_ids(ctx):
    ids[ctx.cpu, ctx.pid, ctx.tid] = mp.u64(ctx.ns_pid << 32 | mp.u32(ctx.ns_tid))
    if ctx.ns_pid == 77:
        calls[ctx.function] += 1


ids = mp.Hash((mp.u32, mp.u32, mp.u32), mp.u64)


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_programs_ask_for_the_ids_of_the_pid_namespace(
    fake: FakeKernel, mechanism: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task outside of the namespace has no id there: never 0, which is the idle task's."""
    for namespace, expected in (
        (NAMESPACE, {5077: (77, 78), 77: (-77, -77), 0: (0, 0)}),
        (None, {5077: (5077, 5077), 77: (77, 77), 0: (0, 0)}),
    ):
        monkeypatch.setattr("multiprobe.kernel.tasks.load_namespace", lambda found=namespace: found)
        with mp.attach(note_ids, NAMES, mechanisms=mechanism) as attachment:
            fake.fire("vfs_read", tgid=5077, namespaces={NAMESPACE: 77 << 32 | 78})
            fake.fire("vfs_read", tgid=77)
            fake.fire("vfs_read", tgid=0)
            assert list(attachment.totals(calls)) == [0, 1, 0]
            found = attachment.map(ids).as_dict()
        assert {pid: task_ids(packed) for (_, pid, _), packed in found.items()} == expected


@mp.program(sleepable=True)
def sleeping(ctx):
    calls[ctx.function] += 1


@pytest.mark.parametrize("mechanism", ["tracing_multi", "trampoline"])
def test_a_sleepable_program_runs_where_the_kernel_lets_it(fake: FakeKernel, mechanism: str) -> None:
    names = ["vfs_read", "__x64_sys_getppid", "tcp_ack"]
    with mp.attach(sleeping, names, mechanisms=mechanism) as attachment:
        assert all(program.is_sleepable for program in {link.program for link in fake.links})
        fake.fire("__x64_sys_getppid")
        fake.fire("vfs_read")
        assert [(function.name, n) for function, n in attachment.top(calls) if n] == [("__x64_sys_getppid", 1)]
        report = attachment.report
    assert (report.attached, {one.function for one in report.failed}) == (1, {"vfs_read", "tcp_ack"})
    assert {one.reason for one in report.failed} == {
        "no sleepable program may run here: only on functions that allow error injection, or on system calls"
    }
    with mp.attach(count, names, mechanisms=mechanism) as attachment:
        assert attachment.report.attached == 3, "nothing is remembered of it"
        assert not any(link.program.is_sleepable for link in fake.links)


def test_kprobes_may_not_sleep(fake: FakeKernel) -> None:
    with pytest.raises(mp.NotSupportedError, match="a sleepable program can't be attached by kprobe_multi") as caught:
        mp.attach(sleeping, ["__x64_sys_getppid"], mechanisms="kprobe_multi")
    assert "tracing_multi or trampoline" in caught.value.hint
    with mp.attach(sleeping, ["__x64_sys_getppid"]) as attachment:
        assert list(attachment.report.mechanisms) == ["tracing_multi"]


@mp.program(when="session")
def choosy(ctx):
    if ctx.is_return:
        calls[ctx.function] += 1
        return False
    return ctx.ns_pid != 7


@pytest.mark.parametrize("mechanism", ["kprobe_multi", "tracing_multi", "trampoline"])
def test_an_entry_skips_its_return(fake: FakeKernel, mechanism: str) -> None:
    with mp.attach(choosy, NAMES, mechanisms=mechanism) as attachment:
        for pid in (7, 8, 7, 9):
            fake.fire("vfs_read", tgid=pid)
        assert list(attachment.totals(calls)) == [0, 2, 0]
        assert not any(attachment.missed().values())


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_cookies_tables_and_events(fake: FakeKernel, mechanism: str) -> None:
    cookies = [1 << 63, 5, 0]
    with mp.attach(tell, NAMES, cookies=cookies, mechanisms=mechanism) as attachment:
        for n, name in enumerate(NAMES, 1):
            for _ in range(n):
                fake.fire(name, cpu=n)
        expected = {1 << 63: 1, 5: 2, 0: 3}
        assert attachment.map(by_cookie).as_dict() == expected
        assert attachment.map(per_cpu).as_dict() == expected
        assert attachment.map(per_cpu).per_cpu()[5] == [0, 0, 2, 0]
        events = attachment.events(hits).read()
        assert sorted(map(tuple, events.tolist())) == sorted(
            (index, cookie) for index, cookie in enumerate(cookies) for _ in range(index + 1)
        )
        assert not any(attachment.missed().values())


@pytest.mark.parametrize("mechanism", ["kprobe_multi", "tracing_multi", "trampoline"])
def test_a_session_carries_a_number_to_the_return(fake: FakeKernel, mechanism: str) -> None:
    with mp.attach(both, NAMES, cookies=[11, 22, 33], mechanisms=mechanism) as attachment:
        for _ in range(3):
            fake.fire("vfs_read", returned=(1 << 64) - 1)
        fake.fire("tcp_ack")
        assert attachment.map(by_cookie).as_dict() == {22: 3, 33: 1}


@pytest.mark.parametrize("mechanism", ["kprobe_multi", "kprobe"])
def test_programs_with_a_gate_count_as_well(fake: FakeKernel, mechanism: str) -> None:
    """A budget builds a gate into programs: hits are counted there, and calls where they always are."""
    with mp.attach(count, NAMES, mechanisms=mechanism, limits=mp.Limits(budget=0.9)) as attachment:
        for _ in range(5):
            fake.fire("vfs_read")
        assert list(attachment.totals(calls)) == [0, 5, 0]
        assert not attachment.report.dropped
