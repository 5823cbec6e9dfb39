"""Plans of attachments, on fake kernels: what would be attached, by which mechanism, and at what cost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import multiprobe as mp
from fake_kernel import LIKE_6_1, LIKE_7_3, FakeKernel
from multiprobe.errors import NotSupportedError
from multiprobe.links.plan.costs import COSTS
from multiprobe.links.plan.preview import instruction_rate

#: Two functions for any mechanism, one that takes kprobes only, an unsafe one, and an unknown name.
NAMES = ["vfs_read", "vfs_write", "seq_read+0x10", "migrate_disable", "nonsense"]


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeKernel]:
    with FakeKernel(tmp_path, LIKE_7_3) as booted:
        yield booted
        assert booted.attached() == set()
        assert not any(call.startswith("close Link") for call in booted.calls), "nothing was attached meanwhile"


def test_every_request_is_accounted_for(fake: FakeKernel) -> None:
    report = mp.plan(NAMES).report
    assert (report.requested, report.attached, report.links) == (5, 3, 2)
    assert [refusal.request for refusal in report.skipped] == ["migrate_disable", "nonsense"]
    assert report.mechanisms == {"tracing_multi": 2, "kprobe": 1}


def test_mechanisms_can_be_forced_and_left_out(fake: FakeKernel) -> None:
    assert mp.plan(NAMES, mechanisms="kprobe").report.mechanisms == {"kprobe": 3}
    without = mp.plan(NAMES, mechanisms=mp.Mechanisms(without=("kprobe", "tracing_multi"))).report
    assert without.mechanisms == {"kprobe_multi": 2}
    assert without.attached + len(without.skipped) == without.requested


def test_a_kernel_that_offers_nothing(tmp_path: Path) -> None:
    with FakeKernel(tmp_path, LIKE_6_1), pytest.raises(NotSupportedError, match="has no tracing_multi"):
        mp.plan(NAMES, mechanisms="tracing_multi")
    symbols = tmp_path / "kallsyms"
    symbols.write_text("ffffffff81000000 T vfs_read\n")
    with pytest.raises(NotSupportedError, match=r"its symbols show none of the mechanisms|is not known"):
        mp.plan(NAMES, kernel=mp.Kernel.from_files(kallsyms=str(symbols)))


def test_what_it_would_take(fake: FakeKernel) -> None:
    plan = mp.plan(NAMES).to_json(rate=1e9)
    assert plan["type"] == "plan"
    assert plan["steps"] == [
        {"mechanism": "tracing_multi", "functions": 2, "links": 1, "system_calls": 2},
        {"mechanism": "kprobe", "functions": 1, "links": 1, "system_calls": 3},
    ]
    assert plan["system_calls"] == 5
    single, batch = COSTS["entry", mp.Mechanism.KPROBE], COSTS["entry", mp.Mechanism.TRACING_MULTI]
    assert plan["attach_seconds"] == round((single.attach + 2 * batch.attach) / 1e9, 6)
    assert plan["detach_seconds"] == round((single.detach + 2 * batch.detach) / 1e9, 6)


def test_a_machine_does_some_instructions_a_second() -> None:
    assert 1e5 < instruction_rate(turns=1000) < 1e12
