from __future__ import annotations

from typing import Any

from multiprobe.output.report import report_lines


def report(**changes: Any) -> dict[str, Any]:
    plain = {"requested": 3, "attached": 3, "links": 1, "skipped": [], "failed": [], "missed": {}}
    return plain | {"mechanisms": {"kprobe_multi": 3}} | changes


def test_all_well() -> None:
    lines = list(report_lines(report()))
    assert lines == ["attached 3 of 3 functions in 1 link (kprobe_multi)", "missed: nothing known"]


def test_skipped_are_grouped_by_reason_and_the_largest_group_comes_first() -> None:
    skipped = [
        {"function": "a", "code": "unsafe", "reason": "it hangs"},
        *({"function": f"f{i}", "code": "not_traceable", "reason": f"f{i} is notrace"} for i in range(5)),
        {"function": "x", "code": "inside_function", "reason": "4 bytes into y"},
        {"function": "z", "code": "inside_function", "reason": "8 bytes into y"},
    ]
    lines = list(report_lines(report(requested=11, skipped=skipped)))
    assert lines[1:5] == [
        "skipped 8:",
        "  5  notrace: f0, f1, f2, …",
        "  2  inside function: x, z",
        "  1  it hangs: a",
    ]


def test_failures_are_named_with_errno_and_meaning() -> None:
    failed = [{"function": f"f{i}", "errno": "EBUSY", "reason": "taken"} for i in range(22)]
    lines = list(report_lines(report(failed=failed)))
    assert "failed 22:" in lines
    assert "  f0: EBUSY: taken" in lines
    assert "  … and 2 more (--json names all)" in lines


def test_missed_and_several_mechanisms() -> None:
    lines = list(report_lines(report(missed={"link": 1200, "recursion": 0}, mechanisms={"kprobe": 1, "trampoline": 2})))
    assert lines[0].endswith("(1 by kprobe, 2 by trampoline)")
    assert lines[-1] == "missed: 1,200 link"


def test_kernel_memory_has_a_line_from_a_megabyte_on() -> None:
    def lines(**memory: int) -> list[str]:
        return [line for line in report_lines(report(kernel_memory=memory)) if "memory" in line]

    assert lines() == lines(predicted=999_999) == lines(predicted=1000, taken=2000) == []
    assert lines(predicted=37_502_976) == ["kernel memory for links: about 37.5 MB"]
    assert lines(predicted=1_280_000_000, taken=900) == ["kernel memory for links: 0.0 MB (about 1,280 MB predicted)"]


def test_a_plan_says_what_would_be() -> None:
    assert list(report_lines(report(), is_plan=True)) == ["would attach 3 of 3 functions in 1 link (kprobe_multi)"]
