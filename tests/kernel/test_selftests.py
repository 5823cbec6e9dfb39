"""What the kernel's own selftests of this field show, shown through multiprobe (docs/selftests.md says which is where).

Here are those that no other test restates: cookies in shuffled order, rollback where a trampoline is full, missed
calls, and a function that sleeps while its return probe goes.
"""

from __future__ import annotations

import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from errno import E2BIG
from pathlib import Path

import pytest

import leftovers
import multiprobe as mp
from multiprobe.errors import AttachError
from multiprobe.kernel.mechanism import parse_mechanism
from multiprobe.links.attaching import UNCOUNTED
from multiprobe.links.guard.kernel_tests import KernelTests
from multiprobe.links.plan.usable import usable_mechanisms

#: Links for returns come and go here during a call that sleeps in the function.
KNOWN_COMPLAINT = leftovers.FPROBE_RETURN
TEN = [f"bpf_fentry_test{n}" for n in range(1, 11)]
COOKIES = [8, 9, 7, 5, 4, 2, 3, 1, 10, 6]
MECHANISMS = ["tracing_multi", "kprobe_multi", "trampoline", "kprobe"]
FULL = 40
"""More programs than a trampoline holds (BPF_MAX_TRAMP_LINKS, 38 at most)."""
N_CALLS, N_SLEEPERS = 20, 8
SLEEPER = """
import os, sys
for n in (1, 2):
    os.write(1, b"%d" % n)
    os.read(0, 1)
os.read(0, 1)
sys.exit(7)
"""
"""Sleeps in vfs_read three times, and says when it is about to."""

runs = mp.PerFunction(mp.u64)
cookies = mp.PerFunction(mp.u64)


@mp.program
def observe(ctx):
    runs[ctx.function] += 1
    cookies[ctx.function] = ctx.cookie


@mp.program(when="session")
def observe_session(ctx):
    runs[ctx.function] += 1
    cookies[ctx.function] = ctx.cookie


@mp.program
def ask_the_time(ctx):
    runs[ctx.function] += ctx.time > 0


@pytest.fixture(scope="module")
def kernel() -> mp.Kernel:
    return mp.Kernel()


@pytest.fixture(scope="module")
def calling(kernel: mp.Kernel) -> Iterator[KernelTests]:
    with KernelTests(kernel.table) as tests:
        yield tests


def release() -> tuple[int, ...]:
    return tuple(map(int, platform.release().split("-")[0].split("+")[0].split(".")[:2]))


def names(kernel: mp.Kernel) -> list[str]:
    """Those of the ten that this kernel has (bpf_fentry_test9 and 10 came with 6.8)."""
    return [function.name for function in kernel.functions(*TEN)]


def require(kernel: mp.Kernel, mechanism: str, when: str = "entry") -> None:
    if not usable_mechanisms(kernel, when=when) & parse_mechanism(mechanism):
        pytest.skip(f"this kernel has no {'kprobe_session' if kernel.has(mechanism) else mechanism}")


@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("when", ["entry", "return", "session"])
def test_cookies_in_shuffled_order(kernel: mp.Kernel, calling: KernelTests, mechanism: str, when: str) -> None:
    """Each function sees its own, also where the functions are given in another order than that of their addresses."""
    require(kernel, mechanism, when)
    order = sorted(names(kernel), key=lambda name: COOKIES[TEN.index(name)])
    given = [COOKIES[TEN.index(name)] for name in order]
    program = observe_session if when == "session" else observe
    with mp.attach(
        program, kernel.by_symbols(order), cookies=given, mechanisms=mechanism, when=when, kernel=kernel
    ) as attachment:
        calling.run()
        seen = attachment.read(cookies, per_cpu=True).max(axis=0).tolist()
        totals = list(attachment.totals(runs))
    assert given == sorted(given)
    assert len(given) >= 8
    assert seen == given
    assert totals == [2 if when == "session" else 1] * len(given)


def fill(stack: ExitStack, kernel: mp.Kernel, name: str) -> list[mp.Attachment]:
    """As many attachments of one function by trampoline as the kernel takes."""
    fillers: list[mp.Attachment] = []
    for _ in range(FULL):
        try:
            made = mp.attach(observe, [name], mechanisms="trampoline", kernel=kernel)
        except AttachError as error:
            if [failure.errno for failure in error.report.failed] == [E2BIG]:
                return fillers
            raise
        fillers.append(stack.enter_context(made))
    raise AssertionError(f"{name} took {FULL} programs")


@pytest.mark.parametrize("mechanism", ["tracing_multi", "trampoline"])
def test_rollback_where_the_last_trampoline_is_full(kernel: mp.Kernel, calling: KernelTests, mechanism: str) -> None:
    """All or nothing leaves nothing behind; skipping leaves out the full one alone; what was there before runs on."""
    require(kernel, mechanism)
    chosen = names(kernel)
    last = chosen[-1]
    with ExitStack() as stack:
        fillers = fill(stack, kernel, last)
        with pytest.raises(AttachError, match=last):
            mp.attach(observe, chosen, mechanisms=mechanism, on_bad="error", kernel=kernel)
        calling.run()
        assert [list(filler.totals(runs)) for filler in fillers] == [[1]] * len(fillers)
        with mp.attach(observe, chosen, mechanisms=mechanism, kernel=kernel) as attachment:
            failed = attachment.report.failed
            calling.run()
            counted = {str(function) for function, n in attachment.top(runs, len(chosen)) if n == 1}
        assert [(str(failure.function), failure.errno) for failure in failed] == [(last, E2BIG)]
        assert counted == set(chosen) - {last}
    with mp.attach(observe, chosen, mechanisms=mechanism, kernel=kernel) as attachment:
        calling.run()
        assert list(attachment.totals(runs)) == [1] * len(chosen), "once the others are gone there is room again"


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_calls_by_the_program_itself_are_missed_and_counted(
    kernel: mp.Kernel, calling: KernelTests, mechanism: str
) -> None:
    """The program calls bpf_ktime_get_ns, which carries it too: the kernel lets it run once at a time, and says so."""
    require(kernel, mechanism)
    with mp.attach(
        ask_the_time, ["bpf_fentry_test1", "bpf_ktime_get_ns"], mechanisms=mechanism, kernel=kernel
    ) as attachment:
        for _ in range(N_CALLS):
            calling.run()
        attachment.pause()
        outer = attachment.totals(runs)[0]
        missed = attachment.missed()
        notes = attachment.report.notes
    assert outer == N_CALLS
    assert (UNCOUNTED in notes) == (mechanism in ("kprobe", "kprobe_multi") and release() < (6, 7))
    if UNCOUNTED not in notes:
        assert sum(missed.values()) >= N_CALLS, missed


@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("when", ["return", "session"])
def test_detached_while_the_function_sleeps(kernel: mp.Kernel, mechanism: str, when: str) -> None:
    """Calls that began under one attachment return under none, or under the next one, and nobody is the worse."""
    require(kernel, mechanism, when)
    program = observe_session if when == "session" else observe
    sleepers = [
        subprocess.Popen([sys.executable, "-c", SLEEPER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        for _ in range(N_SLEEPERS)
    ]
    with ExitStack() as stack:
        for sleeper in sleepers:
            stack.enter_context(sleeper)
            assert sleeper.stdout is not None
            assert sleeper.stdout.read(1) == b"1"
        with mp.attach(program, ["vfs_read"], mechanisms=mechanism, when=when, kernel=kernel):
            wake(sleepers, b"a")
            for sleeper in sleepers:
                assert sleeper.stdout is not None
                assert sleeper.stdout.read(1) == b"2"
                wait_until_asleep(sleeper.pid)
        with mp.attach(program, ["vfs_read"], mechanisms=mechanism, when=when, kernel=kernel) as second:
            wake(sleepers, b"bc")
            assert [sleeper.wait() for sleeper in sleepers] == [7] * N_SLEEPERS
            n = second.totals(runs)[0] + sum(second.missed().values())  # a program that is preempted keeps others out
            assert n >= N_SLEEPERS, "the last read of each, at least"


def wake(sleepers: list[subprocess.Popen[bytes]], data: bytes) -> None:
    for sleeper in sleepers:
        assert sleeper.stdin is not None
        sleeper.stdin.write(data)


def wait_until_asleep(pid: int) -> None:
    while Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "S":
        time.sleep(0.01)
