"""Mixing, proven: any attachments on the same functions at once, and each program runs exactly as often as it must.

Random scenarios: two to four attachments, each by a random mechanism, on a random side, on a random set of functions,
with random cookies, attached and detached in a random order. After each step the kernel calls the functions a known
number of times. Hypothesis shrinks a failing scenario to a small one. `make soak` runs many more of them.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import partial

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import multiprobe as mp
from mixed import Live, cookies, play, runs
from multiprobe.errors import AttachError
from multiprobe.syscalls import bpf
from multiprobe.syscalls.fd import FileDescriptor
from multiprobe.uapi.bpf import AttachType, ProgType

N_SCENARIOS = int(os.environ.get("MULTIPROBE_SCENARIOS", "12"))
AT_MOST = 5  # functions of an attachment one by one: each of them takes long to leave
RETURN_0 = bytes([0xB7, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0])

addresses = mp.PerFunction(mp.u64)


@mp.program
def observe(ctx):
    runs[ctx.function] += 1
    cookies[ctx.function] = ctx.cookie
    addresses[ctx.function] = ctx.ip


kept = mp.PerFunction(mp.u64)


@mp.program
def observe_session(ctx):
    """The same at both sides; and what the entry leaves, the return must find."""
    runs[ctx.function] += 1
    cookies[ctx.function] = ctx.cookie
    addresses[ctx.function] = ctx.ip
    if ctx.is_return:
        kept[ctx.function] += ctx.session == ctx.cookie ^ ctx.ip
    elif not ctx.session:
        ctx.session = ctx.cookie ^ ctx.ip


class Driver:
    """Has the kernel call each of its `bpf_fentry_test…` functions once a run, by BPF_PROG_TEST_RUN."""

    def __init__(self, kernel: mp.Kernel) -> None:
        target = kernel.functions("bpf_fentry_test1")
        self.prog: FileDescriptor = bpf.prog_load(
            ProgType.TRACING,
            RETURN_0,
            name="driver",
            expected_attach_type=AttachType.TRACE_FENTRY,
            attach_btf_id=target.btf_ids()[0],
        )

    def run(self, n: int) -> None:
        for _ in range(n):
            bpf.prog_test_run(self.prog)


@pytest.fixture(scope="module")
def kernel() -> mp.Kernel:
    return mp.Kernel()


@pytest.fixture(scope="module")
def driver(kernel: mp.Kernel):
    made = Driver(kernel)
    yield made
    made.prog.close()


@pytest.fixture(scope="module")
def targets(kernel: mp.Kernel, driver: Driver) -> list[str]:
    """The functions that one run calls exactly once, as one count of all candidates shows."""
    candidates = [f.name for f in kernel.functions("bpf_fentry_test*") if re.fullmatch(r"bpf_fentry_test\d+", f.name)]
    with mp.attach(observe, candidates, kernel=kernel) as attachment:
        driver.run(3)
        counts = attachment.totals(runs)
    found = [f.name for f, n in zip(attachment.functions, counts, strict=True) if n == 3]
    assert len(found) >= 6, counts
    return found


def mechanisms_of(kernel: mp.Kernel) -> dict[str, list[str]]:
    """Mechanism names by side, as far as this kernel has them."""
    from multiprobe.kernel.mechanism import mechanism_names
    from multiprobe.links.plan.usable import usable_mechanisms

    return {when: mechanism_names(usable_mechanisms(kernel, when=when)) for when in ("entry", "return", "session")}


@dataclass
class Wish:
    """One attachment of a scenario."""

    mechanism: str
    when: str
    functions: list[int]
    cookies: list[int]
    without: tuple[str, ...] = ()


@dataclass
class LiveInKernel(Live):
    """It checks addresses, too, and what the entries of sessions leave for their returns."""

    def check(self) -> None:
        super().check()
        if not self.calls:
            return
        if self.when == "session":
            assert list(self.attachment.totals(kept)) == [self.calls] * len(self.cookies), self.where
        places = self.attachment.read(addresses, per_cpu=True)
        for index, function in enumerate(self.attachment.functions):
            assert set(places[:, index].tolist()) - {0} == {function.address}, self.where


def wishes(n_targets: int, mechanisms: dict[str, list[str]]) -> st.SearchStrategy[Wish]:
    sides = [(when, mechanism) for when, names in mechanisms.items() for mechanism in names]
    indices = st.lists(st.integers(0, n_targets - 1), min_size=1, max_size=n_targets, unique=True)
    cookie = st.integers(0, (1 << 64) - 1)

    without = st.sampled_from([(), ("fsession",)])  # sessions of the kernel's and of our own making

    def make(side: tuple[str, str], functions: list[int], given: list[int], without: tuple[str, ...]) -> Wish:
        chosen = functions[:AT_MOST] if side[1] in ("trampoline", "kprobe") else functions
        return Wish(side[1], side[0], chosen, given[: len(chosen)], without)

    given = st.lists(cookie, min_size=n_targets, max_size=n_targets)
    return st.builds(make, st.sampled_from(sides), indices, given, without)


@settings(max_examples=N_SCENARIOS, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_mixing(kernel: mp.Kernel, driver: Driver, targets: list[str], data: st.DataObject) -> None:
    wanted = data.draw(st.lists(wishes(len(targets), mechanisms_of(kernel)), min_size=2, max_size=4), label="wishes")
    play(data, [partial(attach, kernel, targets, wish) for wish in wanted], driver.run)


def attach(kernel: mp.Kernel, targets: list[str], wish: Wish) -> LiveInKernel:
    made = mp.attach(
        observe_session if wish.when == "session" else observe,
        [targets[n] for n in wish.functions],
        cookies=wish.cookies,
        mechanisms=mp.Mechanisms(wish.mechanism, wish.without),
        when=wish.when,
        kernel=kernel,
    )
    return LiveInKernel(made, wish.when, wish.cookies, str(wish))


def test_detached_programs_stay_silent(kernel: mp.Kernel, driver: Driver, targets: list[str]) -> None:
    with mp.attach(observe, targets, kernel=kernel) as stays:
        leaves = mp.attach(observe, targets, kernel=kernel)
        driver.run(2)
        leaves.pause()
        driver.run(1)
        assert list(leaves.totals(runs)) == [2] * len(targets)
        leaves.close()
        driver.run(1)
        assert list(stays.totals(runs)) == [4] * len(targets)


def test_one_program_too_many(kernel: mp.Kernel, driver: Driver, targets: list[str]) -> None:
    """A trampoline holds 36 programs on x86-64 (38 up to 6.1): the next one is refused in words, and the rest stays."""
    mechanism = "tracing_multi" if kernel.has("tracing_multi") else "trampoline"
    attachments: list[mp.Attachment] = []
    report: mp.Report | None = None
    try:
        for _ in range(40):
            try:
                attachments.append(mp.attach(observe, targets[:2], mechanisms=mechanism, kernel=kernel))
            except AttachError as error:
                report = error.report
                break
        assert report is not None
        assert report.attached == 0
        assert [failure.errno for failure in report.failed] == [7, 7]  # E2BIG
        assert "36" in report.failed[0].reason
        assert 30 <= len(attachments) <= 38
        driver.run(1)
        assert all(list(one.totals(runs)) == [1, 1] for one in attachments)
    finally:
        for one in attachments:
            one.close()
