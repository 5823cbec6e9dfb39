"""docs/support.md is made of the reports of the kernel tests."""

from __future__ import annotations

from support import page, parse

REPORT = """<testsuites><testsuite name="pytest">
<properties><property name="release" value="6.1.0-56"/>
<property name="features" value="kprobe trampoline"/></properties>
<testcase classname="a" name="one"/>
<testcase classname="a" name="two"><skipped message="this kernel has no kprobe_multi"/></testcase>
<testcase classname="a" name="three"><failure message="no">E  no</failure></testcase>
<testcase classname="a" name="four"/>
</testsuite></testsuites>"""


def test_a_report_becomes_a_row() -> None:
    one = parse("6.1", [REPORT])
    assert (one.release, one.passed, one.failed, one.skipped.total()) == ("6.1.0-56", 2, 1, 1)
    text = page([one])
    assert "| 6.1 | 6.1.0-56 | yes | yes | no | no | made of two programs | 2 | 1 | 1 |" in text
    assert "- 1 × this kernel has no kprobe_multi\n" in text


def test_what_passed_when_run_once_more_is_listed() -> None:
    again = """<testsuite name="pytest"><testcase classname="a" name="three"/></testsuite>"""
    one = parse("6.1", [REPORT], [again])
    assert (one.passed, one.failed, one.unsteady) == (3, 0, ("a::three",))
    assert "## Passed when run once more on 6.1\n\n- `a::three`\n" in page([one])
    assert parse("6.1", [REPORT], [REPORT]).failed == 1


def test_the_reports_of_one_kernel_are_added_up() -> None:
    more = """<testsuite name="pytest"><testcase classname="b" name="one"/></testsuite>"""
    one = parse("6.1", [REPORT, more])
    assert (one.release, one.passed, one.failed) == ("6.1.0-56", 3, 1)
