"""Attaching by every mechanism: what the report says, what the kernel says, and that nothing is left."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import multiprobe as mp
from fake_kernel import Profile
from multiprobe.errors import AttachError, NoMatchError, NotSupportedError, UsageError
from multiprobe.uapi.bpf import Cmd, LinkType
from scenarios.observed import ids, links, wait_until_gone

MECHANISMS = ("kprobe_multi", "tracing_multi", "trampoline", "kprobe")
KINDS = {
    "kprobe_multi": LinkType.KPROBE_MULTI,
    "tracing_multi": LinkType.TRACING_MULTI,
    "trampoline": LinkType.TRACING,
    "kprobe": LinkType.PERF_EVENT,
}
NAMES = ["vfs_read", "vfs_getattr_nosec", "seq_read_iter", "seq_read"]

calls = mp.PerFunction(mp.u64)
seen_cookies = mp.Hash(mp.u64, mp.u64, max_entries=64)


@mp.program
def count(ctx):
    calls[ctx.function] += 1


@mp.program
def by_cookie(ctx):
    seen_cookies[ctx.cookie] += 1


@pytest.fixture(autouse=True)
def nothing_is_left(profile: Profile) -> Iterator[None]:
    """No link, program or map more than before."""
    commands = (Cmd.LINK_GET_NEXT_ID, Cmd.PROG_GET_NEXT_ID, Cmd.MAP_GET_NEXT_ID)
    before = [ids(command) for command in commands]
    yield
    wait_until_gone(dict(zip(commands, before, strict=True)))


def tells(profile: Profile, mechanism: str) -> bool:
    """Does link info of that mechanism say how many functions there are?"""
    return profile.tells_batches if mechanism == "tracing_multi" else profile.tells_links


def offered(profile: Profile, mechanism: str, when: str) -> bool:
    """Has a kernel of this kind that mechanism on that side?"""
    if mechanism == "kprobe_multi":
        return profile.has_kprobe_session if when == "session" else profile.has_kprobe_multi
    return profile.has_tracing_multi if mechanism == "tracing_multi" else True


@pytest.mark.parametrize("when", ["entry", "return", "session"])
@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_every_mechanism(profile: Profile, kernel: mp.Kernel, mechanism: str, when: str) -> None:
    before = ids(Cmd.LINK_GET_NEXT_ID)
    if not offered(profile, mechanism, when):
        with pytest.raises(NotSupportedError):
            mp.attach(count, NAMES, mechanisms=mechanism, when=when, kernel=kernel)
        return
    is_paired = when == "session" and (
        mechanism == "kprobe" or (mechanism == "trampoline" and not profile.has_fsession)
    )
    n_links = 1 if mechanism.endswith("multi") else len(NAMES) * (2 if is_paired else 1)
    with mp.attach(count, NAMES, mechanisms=mechanism, when=when, kernel=kernel) as attachment:
        report = attachment.report
        assert (report.requested, report.attached, report.links) == (len(NAMES), len(NAMES), n_links)
        assert report.mechanisms == {mechanism: len(NAMES)}
        assert (report.skipped, report.failed) == ((), ())
        assert [function.name for function in attachment.functions] == NAMES
        found = links(before)
        assert [one.kind for one in found] == [KINDS[mechanism]] * n_links
        if tells(profile, mechanism):
            assert sum(one.count for one in found) == len(NAMES) * (2 if is_paired else 1)
        if mechanism == "trampoline" or (mechanism != "kprobe_multi" and tells(profile, mechanism)):
            expected = ["entry", "return"] if is_paired else [when]
            assert sorted({one.when for one in found}) == expected
    assert links(before) == []


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_cookies_go_with_their_functions(profile: Profile, kernel: mp.Kernel, mechanism: str) -> None:
    if not offered(profile, mechanism, "entry"):
        return
    before = ids(Cmd.LINK_GET_NEXT_ID)
    chosen = kernel.by_symbols(NAMES)
    offsets = [0] * len(NAMES) if mechanism == "kprobe_multi" else chosen.call_offsets()
    places = [address + offset for address, offset in zip(chosen.addresses(), offsets, strict=True)]
    given = [(address * 0x9E3779B97F4A7C15) & (1 << 64) - 1 for address in places]
    with mp.attach(by_cookie, NAMES, cookies=given, mechanisms=mechanism, kernel=kernel) as attachment:
        assert attachment.report.attached == len(NAMES)
        if not (profile.tells_cookies and tells(profile, mechanism)):
            return
        found = links(before)
        told = [pair for one in found for pair in zip(one.addresses, one.cookies, strict=False)]
        if mechanism == "trampoline":  # its info has no address
            assert sorted(cookie for one in found for cookie in one.cookies) == sorted(given)
        elif mechanism != "kprobe":
            assert dict(told) == dict(zip(places, given, strict=True))


def test_what_cannot_be_attached_is_reported(profile: Profile, kernel: mp.Kernel) -> None:
    request = ["vfs_read", "no_such_function_anywhere", "vfs_write", "asm_exc_page_fault", "migrate_disable"]
    before = ids(Cmd.LINK_GET_NEXT_ID)
    with mp.attach(count, request, kernel=kernel) as attachment:
        report = attachment.report
        assert (report.requested, report.attached) == (5, 2)
        assert {refusal.request for refusal in report.skipped} == {request[1], request[3], request[4]}
        assert all(len(refusal.reason) > 20 for refusal in report.skipped)
    with pytest.raises(AttachError) as caught:
        mp.attach(count, request, kernel=kernel, on_bad="error")
    assert caught.value.report is not None
    assert caught.value.report.attached == 0
    assert links(before) == []


def test_nothing_to_attach_to(profile: Profile, kernel: mp.Kernel) -> None:
    with pytest.raises(NoMatchError):
        mp.attach(count, ["no_such_function_anywhere"], kernel=kernel)
    with pytest.raises(NoMatchError):
        mp.attach(count, "no_such_function_*", kernel=kernel)
    with pytest.raises(UsageError):
        mp.attach(count, NAMES, cookies=[1, 2], kernel=kernel)


def test_two_attachments_do_not_mind_each_other(profile: Profile, kernel: mp.Kernel) -> None:
    before = ids(Cmd.LINK_GET_NEXT_ID)
    with mp.attach(count, NAMES, kernel=kernel) as one, mp.attach(count, NAMES[:2], kernel=kernel) as other:
        both = one.report.links + other.report.links
        assert len(links(before)) == both
        other.close()
        assert len(links(before)) == one.report.links
        assert one.report.attached == len(NAMES)
