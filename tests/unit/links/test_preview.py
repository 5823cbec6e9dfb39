"""The preview over a fake of a function set, and a real planner."""

from __future__ import annotations

from typing import ClassVar

import pytest

from multiprobe.errors import NotSupportedError
from multiprobe.functions.sets import Refusal
from multiprobe.functions.table import Origin
from multiprobe.kernel.mechanism import Mechanism
from multiprobe.links.plan import usable
from multiprobe.links.plan.costs import COSTS
from multiprobe.links.plan.mechanisms import Mechanisms
from multiprobe.links.plan.preview import instruction_rate, preview


class FakeTable:
    is_zeroed = False
    module_names = ("",)
    modules = (0, 0, 0, 0)
    evidence: ClassVar[dict[str, str]] = {}

    def __init__(self, offers: int) -> None:
        self.offers = Mechanism(offers)
        self.origin = Origin(root="/nowhere")

    def rows_of_name(self, _name: str) -> list[int]:
        return []


class FakeSet:
    """Four functions: two for any mechanism, one for kprobes only, one for none; and one name unknown."""

    unresolved = (Refusal("nonsense", "unknown_name", "nonsense is no function"),)

    def __init__(self, offers: int = Mechanism.ALL) -> None:
        self.table = FakeTable(offers)
        self.rows = [0, 1, 2, 3]

    def __len__(self) -> int:
        return 4

    def mechanisms(self, *, when: str) -> bytes:
        return bytes([15, 15, Mechanism.KPROBE, 0])

    def refusals(self, mask: int, *, when: str) -> list[Refusal]:
        refused = [n for n, own in enumerate(self.mechanisms(when=when)) if not own & mask]
        return [Refusal(f"f{n}", "unsafe", f"f{n} is unsafe") for n in refused] + list(self.unresolved)


def test_every_request_is_accounted_for() -> None:
    report = preview(FakeSet(), Mechanisms()).report  # type: ignore[arg-type]
    assert (report.requested, report.attached, len(report.skipped)) == (5, 3, 2)
    assert report.mechanisms["kprobe"] == 1
    assert sum(report.mechanisms.values()) == 3
    assert report.links == 2


def test_mechanisms_can_be_forced_and_left_out() -> None:
    forced = preview(FakeSet(), Mechanisms("kprobe")).report  # type: ignore[arg-type]
    assert forced.mechanisms == {"kprobe": 3}
    terms = Mechanisms(without=("kprobe", "tracing_multi"))
    without = preview(FakeSet(), terms).report  # type: ignore[arg-type]
    assert without.mechanisms == {"kprobe_multi": 2}
    assert without.attached + len(without.skipped) == without.requested


def test_a_kernel_that_offers_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usable, "_diagnosed", lambda *_: NotSupportedError("nothing works"))
    with pytest.raises(NotSupportedError):
        preview(FakeSet(offers=0), Mechanisms())  # type: ignore[arg-type]


def test_what_it_would_take() -> None:
    plan = preview(FakeSet(), Mechanisms(without=("tracing_multi",))).to_json(rate=1e9)  # type: ignore[arg-type]
    assert plan["type"] == "plan"
    assert plan["steps"] == [
        {"mechanism": "kprobe_multi", "functions": 2, "links": 1, "system_calls": 2},
        {"mechanism": "kprobe", "functions": 1, "links": 1, "system_calls": 3},
    ]
    assert plan["system_calls"] == 5
    kprobe, batch = COSTS["entry", Mechanism.KPROBE], COSTS["entry", Mechanism.KPROBE_MULTI]
    assert plan["attach_seconds"] == round((kprobe.attach + 2 * batch.attach) / 1e9, 6)
    assert plan["detach_seconds"] == round((kprobe.detach + 2 * batch.detach) / 1e9, 6)


def test_a_machine_does_some_instructions_a_second() -> None:
    assert 1e5 < instruction_rate(turns=1000) < 1e12
