"""The scenarios of the fake kernel on this one: what the fake answers is what kernels answer.

What this kernel has is read from its own symbols and types, so that these tests run on a kernel of any series. On the
series that the fake kernel is like, its profile says the same.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from words import words

import multiprobe as mp
from fake_kernel import PROFILES, Profile
from multiprobe.kernel.btf.layout import fields
from multiprobe.kernel.btf.types import Btf, load_btf
from multiprobe.kernel.return_nodes import parse_return_nodes
from scenarios.answers import *  # noqa: F403
from scenarios.attaching import *  # noqa: F403

ADDRESSES = Path("/sys/kernel/tracing/available_filter_functions_addrs")


def has_field(btf: Btf, *path: str) -> bool:
    """Whether struct `path[0]` has a member `path[1]`, which has a member `path[2]`, and so on."""
    ids = set(btf.type_ids(path[0]))
    for name in path[1:]:
        ids = {btf.strip(field.type_id) for one in ids for field in fields(btf, one) if field.name == name}
    return bool(ids)


@pytest.fixture(scope="module")
def profile(kernel: mp.Kernel) -> Profile:
    btf, known = load_btf(), words()
    return Profile(
        os.uname().release,
        has_kprobe_multi={"register_fprobe", "BPF_TRACE_KPROBE_MULTI"} <= known,
        has_kprobe_session={"register_fprobe", "BPF_TRACE_KPROBE_SESSION"} <= known,
        has_tracing_multi="BPF_TRACE_FENTRY_MULTI" in known,
        has_fsession="BPF_TRACE_FSESSION" in known,
        has_return_nodes=parse_return_nodes(kernel.table.evidence["return_nodes"]) is not None,
        lists_addresses=ADDRESSES.exists(),
        tells_links=has_field(btf, "bpf_link_info", "kprobe_multi"),
        tells_cookies=has_field(btf, "bpf_link_info", "tracing", "cookie"),
        tells_batches=has_field(btf, "bpf_link_info", "tracing_multi"),
        refuses_noreturn="noreturn_deny" in known,
    )


@pytest.fixture(scope="module")
def kernel() -> mp.Kernel:
    return mp.Kernel()


def test_the_fake_kernel_has_the_same(profile: Profile) -> None:
    series = ".".join(profile.release.split(".")[:2])
    like = PROFILES.get(series)
    assert like is None or like == replace(profile, release=like.release)
