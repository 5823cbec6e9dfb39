"""Attaching on fake kernels, where real ones can't be made to answer: refusals, short memory, rights, moved links."""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import multiprobe as mp
from fake_kernel import FUNCTIONS, LIKE_6_1, LIKE_6_12, LIKE_7_3, FakeFunction, FakeKernel, Profile, wait_until
from multiprobe.errors import AttachError, KernelError, NotPermittedError, NotSupportedError, UsageError, VerifierError
from multiprobe.links.attach import ATTEMPTS
from multiprobe.links.attaching import UNCOUNTED
from multiprobe.links.mechanisms.singles import SPARE
from multiprobe.links.plan.planning import plan_attachment
from multiprobe.syscalls import bpf, raw
from multiprobe.uapi.bpf import ProgType

calls = mp.PerFunction(mp.u64)
MECHANISMS = ("kprobe_multi", "tracing_multi", "trampoline", "kprobe")
BATCHES = ("kprobe_multi", "tracing_multi")
TCP = [function.name for function in FUNCTIONS if function.name.startswith("tcp_")]


@mp.program
def count(ctx):
    calls[ctx.function] += 1


Boot = Callable[..., FakeKernel]


@pytest.fixture
def boot(directory: Path) -> Iterator[Boot]:
    """Boots a fake kernel, which must be left as it was: no object, no descriptor, no thread."""
    booted: list[FakeKernel] = []
    n_threads = threading.active_count()

    def boot(profile: Profile = LIKE_7_3, **options: object) -> FakeKernel:
        fake = FakeKernel(directory, profile, **options)  # type: ignore[arg-type]
        for path in (*fake.cache.glob("culprits-*"), *fake.cache.glob("hottest-*")):
            path.unlink()
        booted.append(fake.__enter__())
        return fake

    yield boot
    for fake in booted:
        fake.__exit__()
        assert fake.left() == []
    assert threading.active_count() == n_threads


# Functions that the kernel refuses


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_refused_functions_are_reported_and_the_rest_attached(boot: Boot, mechanism: str) -> None:
    fake = boot()
    fake.refusals = {(mechanism, "tcp_ack"): errno.EINVAL, (mechanism, "tcp_close"): errno.EINVAL}
    with mp.attach(count, "tcp_*", mechanisms=mechanism) as attachment:
        report = attachment.report
        assert (report.requested, report.attached) == (len(TCP), len(TCP) - 2)
        assert report.links == (1 if mechanism in BATCHES else len(TCP) - 2)
        assert {(one.function, one.mechanism, one.errno) for one in report.failed} == {
            ("tcp_ack", mechanism, errno.EINVAL),
            ("tcp_close", mechanism, errno.EINVAL),
        }
        assert fake.attached() == set(TCP) - {"tcp_ack", "tcp_close"}
        assert [function.name for function in attachment.functions] == sorted(TCP, key=TCP.index), "places are kept"


@pytest.mark.parametrize("mechanism", BATCHES)
def test_what_was_refused_once_is_not_asked_for_again(boot: Boot, mechanism: str) -> None:
    fake = boot()
    fake.refusals = {(mechanism, "tcp_ack"): errno.EINVAL}
    mp.attach(count, "tcp_*", mechanisms=mechanism).close()
    n = fake.calls.count("LINK_CREATE")
    assert n > 2, "it had to be found"
    with mp.attach(count, "tcp_*", mechanisms=mechanism, kernel=mp.Kernel()) as attachment:
        assert fake.calls.count("LINK_CREATE") == n + 1
        assert [(one.request, one.code) for one in attachment.report.skipped] == [("tcp_ack", "refused_before")]
        assert "EINVAL" in attachment.report.skipped[0].reason
    with mp.attach(count, "tcp_*") as attachment:
        other = next(iter(set(BATCHES) - {mechanism}))
        assert attachment.report.mechanisms == {other: len(TCP)}, "another mechanism takes all of them"


def test_what_may_pass_is_asked_for_again(boot: Boot) -> None:
    fake = boot()
    fake.refusals = {("trampoline", "tcp_ack"): errno.EBUSY}
    for _ in range(2):
        with mp.attach(count, "tcp_*", mechanisms="trampoline") as attachment:
            assert [one.function for one in attachment.report.failed] == ["tcp_ack"]
            assert "call site" in attachment.report.failed[0].reason
    fake.refusals.clear()
    with mp.attach(count, "tcp_*", mechanisms="trampoline") as attachment:
        assert attachment.report.attached == len(TCP)


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_on_bad_error_detaches_everything_again(boot: Boot, mechanism: str) -> None:
    fake = boot()
    fake.refusals = {(mechanism, "tcp_ack"): errno.EINVAL}
    with pytest.raises(AttachError, match="tcp_ack: EINVAL") as caught:
        mp.attach(count, "tcp_*", mechanisms=mechanism, on_bad="error")
    assert caught.value.report is not None
    assert [one.function for one in caught.value.report.failed] == ["tcp_ack"]
    assert fake.links == []
    assert fake.left() == []


def test_everything_refused_is_an_error_with_its_reasons(boot: Boot) -> None:
    fake = boot()
    fake.refusals = {("kprobe_multi", name): errno.EINVAL for name in ("vfs_read", "vfs_write")}
    with pytest.raises(AttachError, match="nothing could be attached: vfs_read: EINVAL from kprobe_multi") as caught:
        mp.attach(count, ["vfs_read", "vfs_write"], mechanisms="kprobe_multi")
    assert caught.value.report is not None
    assert (caught.value.report.attached, len(caught.value.report.failed)) == (0, 2)
    assert fake.links == []
    assert fake.left() == []


@pytest.mark.parametrize(("profile", "is_counted"), [(LIKE_6_1, False), (LIKE_6_12, True)])
def test_what_the_kernel_can_not_count_is_in_the_report(boot: Boot, profile: Profile, is_counted: bool) -> None:
    boot(profile)
    with mp.attach(count, "tcp_ack", mechanisms="kprobe") as attachment:
        report = attachment.report
    assert (UNCOUNTED not in report.notes) == is_counted
    assert (UNCOUNTED not in report.to_json()["notes"]) == is_counted  # type: ignore[operator]
    with mp.attach(count, "tcp_ack", mechanisms="trampoline") as attachment:
        assert UNCOUNTED not in attachment.report.notes


# What one mechanism is refused goes to the next


@pytest.mark.parametrize("number", [errno.EINVAL, errno.E2BIG, errno.EBUSY])
@pytest.mark.parametrize("mechanism", BATCHES)
def test_a_refused_function_goes_to_another_mechanism(boot: Boot, mechanism: str, number: int) -> None:
    fake = boot()
    fake.refusals = {(mechanism, "tcp_ack"): number}
    other = next(iter(set(BATCHES) - {mechanism}))
    with mp.attach(count, "tcp_*", mechanisms=[mechanism, "kprobe"]) as attachment:
        report = attachment.report
        assert report.mechanisms == {mechanism: len(TCP) - 1, "kprobe": 1}
        assert (report.attached, report.failed) == (len(TCP), ())
        assert any("1 of the functions" in note for note in report.notes)
        assert fake.attached() == set(TCP)
    with mp.attach(count, "tcp_*", mechanisms=other) as attachment:
        assert attachment.report.attached == len(TCP)


@pytest.mark.parametrize(("number", "command"), [(errno.EOPNOTSUPP, "LINK_CREATE"), (errno.EINVAL, "PROG_LOAD")])
def test_a_mechanism_that_the_kernel_lacks_is_left_out_in_the_same_run(boot: Boot, number: int, command: str) -> None:
    fake = boot()
    if command == "LINK_CREATE":  # a stub that refuses everything, as tracing_multi on arm64
        fake.refusals = {("tracing_multi", name): number for name in TCP}
    else:
        fake.fault(number, command=command, times=2)  # the second time for the verifier's log
    with mp.attach(count, "tcp_*", mechanisms=["tracing_multi", "kprobe_multi"]) as attachment:
        assert attachment.report.mechanisms == {"kprobe_multi": len(TCP)}
        assert attachment.report.attached == len(TCP)
        assert attachment.report.failed == ()


def test_one_mechanism_for_a_function_is_tried_once(boot: Boot) -> None:
    fake = boot()
    fake.refusals = {(mechanism, "tcp_ack"): errno.EINVAL for mechanism in MECHANISMS}
    with mp.attach(count, "tcp_*") as attachment:
        assert [one.function for one in attachment.report.failed] == ["tcp_ack"]
        assert attachment.report.attached == len(TCP) - 1


# What is remembered


def test_the_refusal_of_one_program_is_not_held_against_others(boot: Boot) -> None:
    fake = boot()
    fake.fault(errno.EINVAL, command="LINK_CREATE", times=1)  # of this program, not of the function
    with pytest.raises(AttachError):
        mp.attach(count, ["vfs_read"], mechanisms="kprobe_multi")
    with mp.attach(count, ["vfs_read"], mechanisms="kprobe_multi", kernel=mp.Kernel()) as attachment:
        assert attachment.report.attached == 1


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.ENOMEM, errno.EPERM])
def test_what_is_about_the_machine_is_not_remembered(boot: Boot, number: int) -> None:
    fake = boot()
    fake.fault(number, command="LINK_CREATE", times=1000)
    with pytest.raises((AttachError, KernelError, NotPermittedError)):
        mp.attach(count, ["vfs_read", "vfs_write"], mechanisms="trampoline")
    fake.faults.clear()
    with mp.attach(count, ["vfs_read", "vfs_write"], mechanisms="trampoline", kernel=mp.Kernel()) as attachment:
        assert attachment.report.attached == 2


def test_missed_calls_are_in_the_report_while_attached(boot: Boot) -> None:
    fake = boot()
    with mp.attach(count, ["vfs_read"], mechanisms="kprobe_multi") as attachment:
        fake.links[0].missed = 7
        assert attachment.report.missed["link_misses"] == 7
        assert [(gap.cause, gap.n) for gap in attachment.report.gaps] == [("link_misses", 7)]


def test_no_thread_can_be_started(boot: Boot, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = boot()

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with mp.attach(count, "tcp_*", mechanisms="kprobe") as attachment:
        assert attachment.report.attached == len(TCP)
    assert fake.links == []
    assert fake.left() == []


# Errnos that are about the whole request


@pytest.mark.parametrize("mechanism", BATCHES)
def test_a_link_for_which_memory_is_short_is_halved(boot: Boot, mechanism: str) -> None:
    fake = boot(functions=(*FUNCTIONS, *(FakeFunction(f"many_{n}") for n in range(300))))
    fake.max_functions = 100
    fake.refusals = {(mechanism, "many_7"): errno.EINVAL}
    with mp.attach(count, "many_*", mechanisms=mechanism) as attachment:
        assert attachment.report.attached == 299
        assert attachment.report.links == len(fake.links) == 4
        assert [one.function for one in attachment.report.failed] == ["many_7"]
        assert sum(len(link.probes) for link in fake.links) == 299


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOSPC, errno.EACCES])
@pytest.mark.parametrize("mechanism", BATCHES)
def test_what_is_about_the_request_is_raised(boot: Boot, mechanism: str, number: int) -> None:
    fake = boot()
    fake.fault(number, command="LINK_CREATE", times=1000)
    with pytest.raises(KernelError) as caught:
        mp.attach(count, "tcp_*", mechanisms=mechanism)
    assert caught.value.errno == number
    assert fake.calls.count("LINK_CREATE") == 1, "no function is looked for"
    assert fake.left() == []


@pytest.mark.parametrize(
    ("number", "remedy"), [(errno.ENOMEM, "memory.max"), (errno.EMFILE, "`ulimit -n`"), (errno.ENFILE, "fs.file-max")]
)
def test_a_map_for_which_a_resource_is_short(boot: Boot, number: int, remedy: str) -> None:
    fake = boot()
    fake.fault(number, command="MAP_CREATE", times=1000)
    with pytest.raises(KernelError, match="creating a map") as caught:
        mp.attach(count, "tcp_*")
    assert remedy in caught.value.hint
    assert fake.left() == []


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_without_the_right_to(boot: Boot, mechanism: str) -> None:
    fake = boot()
    fake.fault(errno.EPERM, command="PROG_LOAD", times=1000)
    with pytest.raises(NotPermittedError, match="EPERM") as caught:
        mp.attach(count, "tcp_*", mechanisms=mechanism)
    if mechanism != "kprobe":  # whose feature probe loads no program: it can be used, as far as is known
        assert f"{mechanism}: refused although this process has CAP_BPF and CAP_PERFMON" in str(caught.value)
    assert "multiprobe doctor" in caught.value.hint
    assert fake.left() == []


@pytest.mark.parametrize("rights", [frozenset(), frozenset({"CAP_BPF"})])
def test_users_without_capabilities(boot: Boot, rights: frozenset[str]) -> None:
    boot(Profile("7.3.0-fake", rights=rights))
    with pytest.raises(NotPermittedError) as caught:
        mp.attach(count, "tcp_*")
    assert caught.value.hint


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_a_program_that_the_verifier_refuses(boot: Boot, mechanism: str) -> None:
    fake = boot()
    fake.refused_programs["count"] = "0: R1=ctx()\nR0 !read_ok\nprocessed 1 insns"
    with pytest.raises(VerifierError) as caught:
        mp.attach(count, "tcp_*", mechanisms=mechanism)
    assert "R0 !read_ok" in caught.value.log
    assert caught.value.cause
    assert fake.left() == []


@pytest.mark.parametrize("mechanism", ["trampoline", "kprobe"])
def test_descriptors_that_run_out_half_way(boot: Boot, mechanism: str) -> None:
    fake = boot()
    fake.max_descriptors = 20 + SPARE
    with mp.attach(count, "tcp_*", mechanisms=mechanism) as attachment:
        report = attachment.report
        assert report.attached + len(report.failed) == len(TCP)
        assert 0 < report.attached == len(fake.links)
        assert {one.errno for one in report.failed} == {errno.EMFILE}
        assert len(fake.descriptors) <= 20, "files must be read, and programs started, with what is left"
        assert all("ulimit -n" in str(one) for one in report.failed)
        assert any("`ulimit -n" in note for note in report.notes)
    with pytest.raises(AttachError, match="EMFILE") as caught:
        mp.attach(count, "tcp_*", mechanisms=mechanism, on_bad="error")
    assert "raise the limit with `ulimit -n" in caught.value.hint
    assert fake.left() == []


@pytest.mark.parametrize("mechanism", ["kprobe_multi", "trampoline", "kprobe"])
def test_whatever_descriptor_is_the_last(boot: Boot, mechanism: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files, pipes and maps of this process: with one more each time, until it is enough. Nothing is left, and the
    error says that descriptors are short, not that the kernel lacks something."""
    fake = boot()
    kernel = mp.Kernel()
    mp.attach(count, "tcp_*", mechanisms=mechanism, kernel=kernel).close()
    monkeypatch.setattr("multiprobe.links.mechanisms.singles.raise_descriptor_limit", lambda: 0)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    before, said = os.listdir("/proc/self/fd"), []
    lowest = os.dup(0)
    os.close(lowest)
    for n in range(40):
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + n, hard))
        try:
            with mp.attach(count, "tcp_*", mechanisms=mechanism, kernel=kernel) as attachment:
                assert attachment.report.attached
                attachment.totals(calls)
            break
        except (KernelError, AttachError) as error:
            said.append(f"{error} {error.hint}")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert fake.left() == []
        assert os.listdir("/proc/self/fd") == before
    else:
        pytest.fail("not even 40 descriptors are enough")
    assert said
    assert all("EMFILE" in one and "ulimit -n" in one for one in said), said


def test_the_soft_limit_of_descriptors_is_raised(boot: Boot) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    boot()
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard - 1, hard))
    try:
        mp.attach(count, "tcp_*", mechanisms="kprobe").detach()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("log", ["", "processed 12 insns (limit 1000000)\nverification time 17 usec\nstack depth 8\n"])
def test_a_log_without_an_error_is_no_refusal_by_the_verifier(log: str) -> None:
    """Descriptors run out after the program was verified."""

    def refuse(nr: int, *arguments: int) -> int:
        _, address, size = arguments
        attr = bytearray(ctypes.string_at(address, size))
        room, at = int.from_bytes(attr[28:32], "little"), int.from_bytes(attr[32:40], "little")
        if room:
            ctypes.memmove(at, log.encode() + b"\0", len(log) + 1)
        return -errno.EMFILE

    with raw.using(refuse), pytest.raises(KernelError, match="EMFILE") as caught:
        bpf.prog_load(ProgType.KPROBE, bytes(16), name="count")
    assert type(caught.value) is KernelError
    assert "verifier" not in str(caught.value)


# Links that are not where they should be


@pytest.mark.parametrize("mechanism", BATCHES)
def test_a_link_on_another_function_is_found_out(boot: Boot, mechanism: str) -> None:
    fake = boot()
    (moved,) = fake.named("tcp_ack")
    fake.told_addresses = {at: at + 0x10000 for at in (moved.address, moved.call_site)}
    with pytest.raises(AttachError, match=r"tcp_ack .* is not on the link"):
        mp.attach(count, "tcp_*", mechanisms=mechanism)
    assert fake.left() == []


def test_addresses_of_call_sites_are_as_good(boot: Boot) -> None:
    fake = boot()
    fake.told_addresses = {one.address: one.call_site for one in fake.functions}
    with mp.attach(count, "tcp_*", mechanisms="kprobe_multi") as attachment:
        assert attachment.report.attached == len(TCP)


def test_hidden_addresses_are_taken_on_trust(boot: Boot) -> None:
    fake = boot()
    fake.told_addresses = {at: 0 for one in fake.functions for at in (one.address, one.call_site)}
    for mechanism in BATCHES:
        with mp.attach(count, "tcp_*", mechanisms=mechanism) as attachment:
            assert attachment.report.attached == len(TCP)


# Modules


def test_functions_of_a_module(boot: Boot) -> None:
    fake = boot()
    for mechanism in MECHANISMS:
        with mp.attach(count, ["nf_hook_slow", "vfs_read"], mechanisms=mechanism) as attachment:
            assert attachment.report.attached == 2
            assert fake.attached() == {"nf_hook_slow", "vfs_read"}
            assert any("nf_tables" in note for note in attachment.report.notes)


def test_a_module_that_is_gone_is_said_to_be(boot: Boot) -> None:
    fake = boot()
    kernel = mp.Kernel(use_cache=False)
    assert kernel.function("nf_hook_slow").module == "nf_tables"
    fake.unload("nf_tables", is_listed=False)
    with mp.attach(count, ["nf_hook_slow", "vfs_read"], kernel=kernel) as attachment:
        assert attachment.report.attached == 1
        assert [one.code for one in attachment.report.skipped] == ["module_gone"]


@pytest.mark.parametrize("mechanism", ["tracing_multi", "trampoline"])
def test_a_module_that_goes_meanwhile(boot: Boot, mechanism: str) -> None:
    fake = boot()
    kernel = mp.Kernel(use_cache=False)
    kernel.function("nf_hook_slow")
    fake.unload("nf_tables", is_listed=True)
    with mp.attach(count, ["nf_hook_slow", "vfs_read"], mechanisms=mechanism, kernel=kernel) as attachment:
        assert attachment.report.attached == 1
        assert [(one.function, one.errno) for one in attachment.report.failed] == [
            ("nf_hook_slow [nf_tables]", errno.ENODEV)
        ]


class Reloading:
    """Loads the module anew, to another address, as soon as functions are planned; and back before that, if `again`."""

    def __init__(self, fake: FakeKernel, *, again: bool = False) -> None:
        self._fake, self._again = fake, again
        self._before = (fake.root / "proc/modules").read_text()
        self.n = 0

    def plan(self, *arguments: Any, **options: Any) -> Any:
        if self._again:
            self._fake.list_modules(self._before)
        planned = plan_attachment(*arguments, **options)
        self.n += 1
        self.reload()
        return planned

    def reload(self) -> None:
        self._fake.list_modules(self._before.replace("0xffffffff", "0xfffffffe"))


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_a_module_that_is_loaded_anew_while_attaching(
    boot: Boot, mechanism: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others are at the addresses now, and the kernel attached to these: everything is undone, and done anew."""
    fake = boot()
    reloading = Reloading(fake)
    monkeypatch.setattr("multiprobe.links.attach.plan_attachment", reloading.plan)
    with mp.attach(count, ["nf_hook_slow", "vfs_read"], mechanisms=mechanism) as attachment:
        assert fake.attached() == {"vfs_read"}
        assert attachment.report.attached == 1
        assert [(one.request, one.code) for one in attachment.report.skipped] == [
            ("nf_hook_slow [nf_tables]", "module_gone")
        ]
    assert reloading.n == 2


def test_a_module_that_was_attached_at_its_new_address(boot: Boot, monkeypatch: pytest.MonkeyPatch) -> None:
    """tracing.multi finds functions by their types: what is read back is elsewhere, and so is the module."""
    fake = boot()
    (address,) = [one.address for one in fake.functions if one.name == "nf_hook_slow"]
    fake.told_addresses[address] = address + 0x1000
    monkeypatch.setattr("multiprobe.links.attach.plan_attachment", Reloading(fake).plan)
    with mp.attach(count, ["nf_hook_slow", "vfs_read"], mechanisms="tracing_multi") as attachment:
        assert fake.attached() == {"vfs_read"}
        assert [one.code for one in attachment.report.skipped] == ["module_gone"]


def test_modules_that_never_rest(boot: Boot, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = boot()
    reloading = Reloading(fake, again=True)
    monkeypatch.setattr("multiprobe.links.attach.plan_attachment", reloading.plan)
    with pytest.raises(AttachError, match="nothing stays attached: each time, a module"):
        mp.attach(count, ["nf_hook_slow", "vfs_read"])
    assert reloading.n == ATTEMPTS
    assert fake.attached() == set()


def test_a_module_that_is_loaded_anew_before_its_functions_are_added_again(boot: Boot) -> None:
    fake = boot()
    with mp.attach(count, ["nf_hook_slow", "vfs_read"], replaceable=True) as attachment:
        attachment.drop(["nf_hook_slow", "vfs_read"])
        Reloading(fake).reload()
        with pytest.raises(AttachError, match=r"not attached again: nf_hook_slow \[nf_tables\]: ENODEV"):
            attachment.add(["nf_hook_slow", "vfs_read"])
        assert fake.attached() == {"vfs_read"}


# Limits and switches


def test_many_functions_one_by_one_are_asked_back(boot: Boot) -> None:
    boot(LIKE_6_1)
    with pytest.raises(UsageError, match="one by one"):
        mp.attach(count, "tcp_*", mechanisms=mp.Mechanisms(max_singles=5))


def test_a_full_trampoline(boot: Boot) -> None:
    fake = boot()
    attachments = [mp.attach(count, ["vfs_read"], mechanisms="trampoline") for _ in range(38)]
    try:
        assert len(fake.probes("vfs_read")) == 38
        with mp.attach(count, ["vfs_read", "vfs_write"], mechanisms="trampoline") as last:
            assert [(one.function, one.errno) for one in last.report.failed] == [("vfs_read", errno.E2BIG)]
            assert "full" in last.report.failed[0].reason
    finally:
        for attachment in attachments:
            attachment.close()


def test_ftrace_that_is_switched_off(boot: Boot, tmp_path: Path) -> None:
    fake = boot()
    switch = fake.root / "proc/sys/kernel/ftrace_enabled"
    switch.write_text("0\n")
    try:
        with pytest.raises(NotSupportedError, match="ftrace is switched off"):
            mp.attach(count, "tcp_*")
    finally:
        switch.write_text("1\n")


def test_kprobes_that_are_not_built_in(boot: Boot) -> None:
    fake = boot()
    directory = fake.root / "sys/bus/event_source/devices/kprobe"
    directory.rename(directory.with_name("gone"))
    try:
        with pytest.raises(NotSupportedError, match="single kprobes"):
            mp.attach(count, "tcp_*", mechanisms="kprobe")
        assert fake.left() == []
    finally:
        directory.with_name("gone").rename(directory)


# What is missed, and the end


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_missed_calls_are_in_the_report(boot: Boot, mechanism: str) -> None:
    fake = boot()
    with mp.attach(count, ["vfs_read", "vfs_write"], mechanisms=mechanism) as attachment:
        for link in fake.links:
            link.missed = 7
        for program in fake.programs:
            program.recursion_misses = 3
        by_links = {"kprobe_multi": 7, "kprobe": 14}.get(mechanism, 0)
        expected = {"link_misses": by_links, "recursion_misses": 3 * len(fake.programs)}
        assert {cause: n for cause, n in attachment.missed().items() if n} == {c: n for c, n in expected.items() if n}
    assert attachment.report.missed["link_misses"] == by_links


def test_links_are_closed_before_their_programs(boot: Boot) -> None:
    fake = boot()
    with mp.attach(count, ["vfs_read", "vfs_write"], mechanisms="kprobe"):
        fake.calls.clear()
    kinds = [call.split()[1] for call in fake.calls if call.startswith("close")]
    assert kinds[:5] == ["Link", "Event", "Link", "Event", "Program"]


@pytest.mark.parametrize("mechanism", ["kprobe", "trampoline"])
def test_a_signal_while_detaching_leaves_nothing(boot: Boot, mechanism: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in a notebook, whose process goes on."""
    fake = boot()
    close, left = os.close, [0]

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    def close_and_ring(fd: int) -> None:
        close(fd)
        left[0] -= 1
        if left[0] == 0:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR2)

    before = signal.signal(signal.SIGUSR2, interrupt)
    monkeypatch.setattr(os, "close", close_and_ring)
    try:
        for n in range(1, 6):
            attachment = mp.attach(count, ["tcp_ack", "tcp_sendmsg", "tcp_recvmsg"], mechanisms=mechanism)
            left[0] = n
            with pytest.raises(KeyboardInterrupt):
                attachment.close()
            assert attachment.is_closed
            assert fake.left() == []
    finally:
        signal.signal(signal.SIGUSR2, before)


def test_an_attachment_is_closed_once(boot: Boot) -> None:
    fake = boot(LIKE_6_12)
    attachment = mp.attach(count, "tcp_*")
    attachment.close()
    n = len(fake.calls)
    attachment.close()
    assert len(fake.calls) == n
    assert attachment.is_closed
    with pytest.raises(UsageError), attachment:
        pass


# Prices and budgets


@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("when", ["entry", "return"])
def test_what_a_hit_costs_is_measured(boot: Boot, mechanism: str, when: str) -> None:
    fake = boot()
    fake.probe_ns = {"kprobe_multi": 81, "tracing_multi": 42, "trampoline": 43, "kprobe": 204}
    with mp.attach(
        count, ["vfs_read", "vfs_write"], mechanisms=mechanism, when=when, limits=mp.Limits(budget=0.5)
    ) as attachment:
        price = attachment.report.budget["ns_per_hit"][mechanism]  # type: ignore[index]
        assert price["measured"]
        assert price["fixed"] == pytest.approx(fake.probe_ns[mechanism], rel=0.01)


def test_a_budget_drops_the_hottest_and_replaces_its_link(boot: Boot) -> None:
    fake = boot()
    fake.probe_ns["kprobe_multi"] = 1000
    with mp.attach(count, TCP, mechanisms="kprobe_multi", limits=mp.Limits(budget=0.05)) as attachment:
        (first,) = fake.links
        index = next(n for n, function in enumerate(attachment.functions) if function.name == "tcp_ack")
        fake.calls.clear()
        fake.hit("hits", index, 10_000_000)
        assert wait_until(lambda: bool(attachment.report.dropped))
        assert [one.function for one in attachment.report.dropped] == ["tcp_ack"]
        assert wait_until(lambda: first not in fake.links)
        assert fake.attached() == set(TCP) - {"tcp_ack"}
        log = fake.calls
        assert log.index("LINK_CREATE") < log.index(f"close Link {first.number}"), "no call is lost"
        assert wait_until(lambda: attachment.report.budget["relinks"] == 1)


def test_what_was_too_hot_is_attached_last_by_itself(boot: Boot) -> None:
    fake = boot()
    fake.probe_ns["kprobe_multi"] = 1000
    options = {"mechanisms": "kprobe_multi", "limits": mp.Limits(budget=0.05)}
    for sizes in ([len(TCP)], [len(TCP) - 1, 1]):
        with mp.attach(count, TCP, **options) as attachment:
            assert [len(link.functions) for link in attachment.links] == sizes
            assert fake.attached() == set(TCP)
            index = next(n for n, function in enumerate(attachment.functions) if function.name == "tcp_ack")
            fake.hit("hits", index, 10_000_000)
            assert wait_until(lambda: bool(attachment.report.dropped))
            assert wait_until(lambda: fake.attached() == set(TCP) - {"tcp_ack"})
    assert attachment.report.budget["relinks"] == 0, "alone, it needs no new link"
    with mp.attach(count, TCP, mechanisms="kprobe_multi") as attachment:
        assert len(attachment.links) == 1, "without a budget, all are alike"


def test_a_link_that_cannot_be_replaced_goes_as_a_whole(boot: Boot) -> None:
    fake = boot()
    fake.probe_ns["kprobe_multi"] = 1000
    with mp.attach(count, TCP, mechanisms="kprobe_multi", limits=mp.Limits(budget=0.05)) as attachment:
        fake.fault(errno.ENOMEM, command="LINK_CREATE", times=1000)
        fake.hit("hits", 0, 10_000_000)
        assert wait_until(lambda: len(attachment.report.dropped) == len(TCP))
        assert fake.links == []
        assert sum("ENOMEM" in one.reason for one in attachment.report.dropped) == len(TCP) - 1


def test_single_links_are_let_go_one_by_one(boot: Boot) -> None:
    fake = boot()
    fake.probe_ns["kprobe"] = 1000
    with mp.attach(count, TCP[:5], mechanisms="kprobe", limits=mp.Limits(budget=0.05)) as attachment:
        n = fake.calls.count("LINK_CREATE")
        fake.hit("hits", 2, 10_000_000)
        assert wait_until(lambda: bool(attachment.report.dropped))
        assert fake.attached() == set(TCP[:5]) - {attachment.functions[2].name}
        assert fake.calls.count("LINK_CREATE") == n
