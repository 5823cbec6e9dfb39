"""Writes docs/support.md from the reports of the kernel tests: which kernels, what they can do, what passed.

python tests/run.py --kernels-only --reports DIR SERIES… && python tests/support.py DIR      make vm-all
"""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs/support.md"
MECHANISMS = ("kprobe", "trampoline", "kprobe_multi", "tracing_multi")
HEAD = """# Kernels

Written by `make vm-all`, which runs all kernel tests in guests with Debian's kernels. A test is skipped only where the
kernel lacks the feature, as its own symbols and types say. What a kernel can do is detected, never derived from its
version: `multiprobe doctor` says it for the running one. Tests that failed ran once more in a new guest; those that
passed then are listed.

"""
AGAIN = ".again"
"""Before the suffix of a second report's name: of the tests that failed in the first one, run once more."""


@dataclass(frozen=True)
class Tested:
    """What one report says of one kernel."""

    series: str
    release: str
    features: frozenset[str]
    passed: int
    failed: int
    skipped: Counter[str]
    unsteady: tuple[str, ...] = ()


def parse(series: str, texts: Sequence[str], again: Sequence[str] = ()) -> Tested:
    """The JUnit reports of one kernel; the conftest.py of tests/kernel adds the kernel's release and features.

    `again`: reports of those that failed there, run once more.
    """
    trees = list(map(ElementTree.fromstring, texts))
    properties = {one.get("name", ""): one.get("value", "") for tree in trees for one in tree.iter("property")}
    cases = [case for tree in trees for case in tree.iter("testcase")]
    reasons = Counter(child.get("message", "") for case in cases for child in case if child.tag == "skipped")
    first = set().union(*map(_failed, trees))
    seconds = list(map(ElementTree.fromstring, again))
    passed = {name for tree in seconds for name in _names_in(tree) - _failed(tree)}
    failed = first - passed
    n_passed = len(cases) - len(failed) - reasons.total()
    features = frozenset(properties["features"].split())
    unsteady = tuple(sorted(first - failed))
    return Tested(series, properties["release"], features, n_passed, len(failed), reasons, unsteady)


def _failed(tree: ElementTree.Element) -> set[str]:
    """The names of the tests that failed."""
    cases = (case for case in tree.iter("testcase") if any(child.tag in ("failure", "error") for child in case))
    return set(map(_name, cases))


def _names_in(tree: ElementTree.Element) -> set[str]:
    return set(map(_name, tree.iter("testcase")))


def _name(case: ElementTree.Element) -> str:
    return f"{case.get('classname')}::{case.get('name')}"


def page(tested: list[Tested]) -> str:
    """The page as Markdown."""
    rows = [
        "| series | release | "
        + " | ".join(f"`{name}`" for name in MECHANISMS)
        + " | sessions | passed | failed | skipped |"
    ]
    rows.append("|---" * (len(MECHANISMS) + 6) + "|")
    for one in tested:
        has = ["yes" if name in one.features else "no" for name in MECHANISMS]
        sessions = [name for name in ("kprobe_session", "fsession") if name in one.features]
        counts = (one.passed, one.failed, one.skipped.total())
        how = ", ".join(f"`{name}`" for name in sessions) or "made of two programs"
        rows.append("| " + " | ".join((one.series, one.release, *has, how, *map(str, counts))) + " |")
    reasons = [f"\n## Skipped on {one.series}\n\n{_reasons(one.skipped)}" for one in tested if one.skipped]
    unsteady = [
        f"\n## Passed when run once more on {one.series}\n\n{_names(one.unsteady)}" for one in tested if one.unsteady
    ]
    return HEAD + "\n".join(rows) + "\n" + "\n".join(unsteady + reasons)


def _names(tests: tuple[str, ...]) -> str:
    return "".join(f"- `{name}`\n" for name in tests)


def _reasons(skipped: Counter[str]) -> str:
    return "".join(f"- {n} × {reason}\n" for reason, n in sorted(skipped.items(), key=lambda item: (-item[1], item[0])))


def main(directory: Path) -> None:
    """Write the page."""
    reports: dict[str, list[str]] = {}
    again: dict[str, list[str]] = {}
    for path in sorted(directory.glob("*.xml")):  # SERIES FOLDERS.xml, SERIES FOLDERS.again.xml
        found = again if path.stem.endswith(AGAIN) else reports
        found.setdefault(path.stem.partition(" ")[0], []).append(path.read_text(encoding="utf-8"))
    order = sorted(reports, key=lambda series: [int(n) for n in series.split("-")[0].split(".")])
    PAGE.write_text(page([parse(one, reports[one], again.get(one, ())) for one in order]), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
