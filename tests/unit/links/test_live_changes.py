"""Functions that come and go while attached, and attachments that outlive their process, on fake kernels."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

import multiprobe as mp
from fake_kernel import FUNCTIONS, LIKE_6_1, LIKE_7_3, FakeKernel, Profile
from multiprobe.errors import AttachError, DataError, UsageError

calls = mp.PerFunction(mp.u64)
table = mp.Hash(mp.u64, mp.u64, max_entries=64)
sizes = mp.Histogram(mp.log2())
TCP = [function.name for function in FUNCTIONS if function.name.startswith("tcp_")]
MECHANISMS = ("kprobe_multi", "tracing_multi", "trampoline", "kprobe")


@mp.program
def count(ctx):
    calls[ctx.function] += 1
    table[ctx.ip] += 1
    sizes.add(ctx.time)


@mp.program
def other(ctx):
    calls[ctx.function] += 1


@pytest.fixture(params=[LIKE_6_1, LIKE_7_3], ids=["6.1", "7.3"])
def fake(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FakeKernel]:
    profile: Profile = request.param
    with FakeKernel(tmp_path, profile) as booted:
        yield booted
    assert booted.left() == []


def able(fake: FakeKernel) -> list[str]:
    has = {"kprobe_multi": fake.profile.has_kprobe_multi, "tracing_multi": fake.profile.has_tracing_multi}
    return [name for name in MECHANISMS if has.get(name, True)]


def test_functions_are_dropped_and_added_again(fake: FakeKernel) -> None:
    for mechanism in able(fake):
        with mp.attach(count, TCP, mechanisms=mechanism, replaceable=True) as attachment:
            attachment.drop("tcp_a*")
            gone = {name for name in TCP if name.startswith("tcp_a")}
            assert gone
            assert fake.attached() == set(TCP) - gone
            assert {(drop.function, drop.code) for drop in attachment.report.dropped} == {(n, "user") for n in gone}
            with pytest.raises(UsageError, match="is not attached"):
                attachment.drop(sorted(gone))
            attachment.add("tcp_a*")
            assert fake.attached() == set(TCP)
            assert attachment.report.dropped == ()
            assert [function.name for function in attachment.functions] == TCP, "indices stay"


def test_what_is_refused_when_it_is_added_again(fake: FakeKernel) -> None:
    with mp.attach(count, TCP, mechanisms="kprobe", replaceable=True) as attachment:
        attachment.drop(["tcp_ack"])
        fake.refusals = {("kprobe", "tcp_ack"): errno.EINVAL}
        with pytest.raises(AttachError, match="tcp_ack: EINVAL"):
            attachment.add(["tcp_ack"])
        assert [drop.function for drop in attachment.report.dropped] == ["tcp_ack"]


def test_changes_must_be_prepared_for(fake: FakeKernel) -> None:
    with mp.attach(count, TCP) as attachment:
        with pytest.raises(UsageError, match="without replaceable=True") as caught:
            attachment.drop(["tcp_ack"])
        assert "replaceable=True" in caught.value.hint
    with mp.attach(count, TCP, replaceable=True) as attachment, pytest.raises(UsageError, match="do not belong"):
        attachment.add(["vfs_read"])


def test_links_are_values_with_ids(fake: FakeKernel) -> None:
    for mechanism in able(fake):
        with mp.attach(count, TCP, mechanisms=mechanism) as attachment:
            links = attachment.links
            assert {link.id for link in links} == {link.number for link in fake.links}
            assert sorted(index for link in links for index in link.functions) == list(range(len(TCP)))
            assert all(link.mechanism.label == mechanism for link in links)
        assert attachment.links == ()
        assert all(link.is_closed for link in links)


def test_a_pinned_attachment_is_opened_again(fake: FakeKernel) -> None:
    for mechanism in able(fake):
        directory = fake.root / "sys/fs/bpf" / mechanism
        first = mp.attach(count, TCP, mechanisms=mechanism)
        first.pin(directory)
        n_links = first.report.links
        first.detach()
        assert fake.attached() == set(TCP), "it stays attached"
        with mp.Attachment.from_pins(directory, count) as again:
            assert [function.name for function in again.functions] == TCP
            assert (again.report.attached, again.report.links) == (len(TCP), n_links)
            assert again.report.mechanisms == {mechanism: len(TCP)}
            fake.links[0].missed = 7
            tells = fake.profile.tells_links and mechanism.startswith("kprobe")
            assert again.missed()["link_misses"] == (7 if tells else 0)
            assert list(again.totals(calls)) == [0] * len(TCP)
            assert again.map(table).as_dict() == {}
            assert sum(again.read(sizes)) == 0
            again.pause()
            again.resume()
        assert fake.attached() == set(TCP)
        again.unpin(directory)
        assert fake.attached() == set()
        assert not directory.exists()


def test_what_cannot_be_pinned_leaves_nothing(fake: FakeKernel) -> None:
    directory = fake.root / "sys/fs/bpf/none"
    with mp.attach(count, TCP) as attachment:
        fake.fault(errno.ENOSPC, command="OBJ_PIN", call=4, times=1)
        with pytest.raises(mp.KernelError):
            attachment.pin(directory)
        assert not directory.exists()
        with pytest.raises(UsageError, match=r"creating the directory .*ENOENT"):
            attachment.pin(directory / "deeper")
    with mp.attach(count, TCP, replaceable=True) as attachment, pytest.raises(UsageError, match="can't be pinned"):
        attachment.pin(directory)


def test_what_holds_no_attachment(fake: FakeKernel) -> None:
    directory = fake.root / "sys/fs/bpf/some"
    with pytest.raises(DataError, match="no pinned attachment"):
        mp.Attachment.from_pins(directory, count)
    with mp.attach(count, TCP) as attachment:
        attachment.pin(directory)
        with pytest.raises(UsageError, match="holds program 'count', not 'other'"):
            mp.Attachment.from_pins(directory, other)
        attachment.unpin(directory)


def test_async_with(fake: FakeKernel) -> None:
    async def use() -> mp.Attachment:
        async with mp.attach(count, TCP) as attachment:
            assert fake.attached() == set(TCP)
        return attachment

    assert asyncio.run(use()).is_closed


def test_a_plan_and_features_without_attaching(fake: FakeKernel) -> None:
    plan = mp.plan("tcp_*", mechanisms="kprobe")
    assert (plan.report.attached, plan.report.mechanisms) == (len(TCP), {"kprobe": len(TCP)})
    assert [step.mechanism for step in plan.steps] == ["kprobe"]
    with pytest.raises(UsageError, match="invalid when='x'"):
        mp.plan("tcp_*", when="x")
    assert fake.links == []
