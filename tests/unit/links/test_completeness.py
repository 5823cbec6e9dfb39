"""What is told to be missing, and in which words."""

from __future__ import annotations

import pytest

from multiprobe.errors import IncompleteError
from multiprobe.functions.sets import Refusal
from multiprobe.links.report import MEANINGS, Drop, Failure, Report, Verified
from multiprobe.maps.layout import LOSSES
from multiprobe.output.report import report_lines


def full_report() -> Report:
    return Report(
        10,
        skipped=(Refusal("a", "not_traceable", "a is not traceable"),),
        failed=(Failure("b", "kprobe_multi", 22, "its module is going away"),),
        dropped=(
            Drop("c", "budget", "too hot", 5000.0, 0.06, 1.5),
            Drop("d", "budget", "too", 9000.0, 0.1, 1.5),
        ),
        budget={"budget": 0.05, "share": 0.031, "ns_per_hit": {}, "relinks": 1},
        missed={"recursion_misses": 2, "link_misses": 7, "full_maps": 0, "self_times": 1},
        verified=(Verified("e", "kprobe_multi", 100, 98), Verified("f", "kprobe_multi", 100, 100)),
    )


def test_all_causes_in_order_and_no_zeros() -> None:
    found = [(gap.cause, gap.n) for gap in full_report().gaps]
    assert found == [
        ("link_misses", 7),
        ("recursion_misses", 2),
        ("skipped", 1),
        ("failed", 1),
        ("dropped", 2),
        ("unverified", 2),
        ("self_times", 1),
    ]


def test_nothing_missing() -> None:
    report = Report(1, missed={"link_misses": 0}, verified=(Verified("e", "kprobe", 5, 5),))
    assert report.gaps == ()
    report.require_complete()


def test_completeness_demanded() -> None:
    with pytest.raises(IncompleteError, match="7 link misses, 2 recursion misses, 1 skipped") as caught:
        full_report().require_complete()
    assert caught.value.exit_status == 1


def test_every_loss_of_programs_has_a_sentence() -> None:
    assert {*LOSSES, "unknown_function", "link_misses", "recursion_misses"} <= set(MEANINGS)


def test_in_words() -> None:
    lines = list(report_lines(full_report().to_json()))
    text = "\n".join(lines)
    assert "probes used 3.1% of CPU time at the end; the budget is 5.0%" in lines
    assert text.index("  d: after 1.5 s: too") < text.index("  c: after 1.5 s: too hot")
    assert "missed: 2 recursion misses, 7 link misses, 1 self time" in lines
    assert f"  7 link misses: {MEANINGS['link_misses']}" in lines
    assert "verified: of 200 known calls of 2 functions 198 were counted" in lines
    assert "  e by kprobe_multi: 100 calls, 98 found" in lines
