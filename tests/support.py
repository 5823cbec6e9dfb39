"""Writes docs/support.md from the reports of the kernel tests: which kernels, what they can do, what passed.

python tests/run.py --kernels-only --reports DIR SERIES… && python tests/support.py DIR      make vm-all
"""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs/support.md"
MECHANISMS = ("kprobe", "trampoline", "kprobe_multi", "tracing_multi")
HEAD = """# Kernels

Written by `make vm-all`, which runs all kernel tests in guests with Debian's kernels. A test is skipped only where the
kernel lacks the feature, as its own symbols and types say. What a kernel can do is detected, never derived from its
version: `multiprobe doctor` says it for the running one.

"""


@dataclass(frozen=True)
class Tested:
    """What one report says of one kernel."""

    series: str
    release: str
    features: frozenset[str]
    passed: int
    failed: int
    skipped: Counter[str]


def parse(series: str, text: str) -> Tested:
    """A JUnit report of tests/kernel, whose conftest.py adds the kernel's release and features."""
    tree = ElementTree.fromstring(text)
    properties = {one.get("name", ""): one.get("value", "") for one in tree.iter("property")}
    cases = list(tree.iter("testcase"))
    failed = sum(any(child.tag in ("failure", "error") for child in case) for case in cases)
    reasons = Counter(child.get("message", "") for case in cases for child in case if child.tag == "skipped")
    n_passed = len(cases) - failed - reasons.total()
    features = frozenset(properties["features"].split())
    return Tested(series, properties["release"], features, n_passed, failed, reasons)


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
    return HEAD + "\n".join(rows) + "\n" + "\n".join(reasons)


def _reasons(skipped: Counter[str]) -> str:
    return "".join(f"- {n} × {reason}\n" for reason, n in sorted(skipped.items(), key=lambda item: (-item[1], item[0])))


def main(directory: Path) -> None:
    """Write the page."""
    reports = sorted(directory.glob("*.xml"), key=lambda path: [int(n) for n in path.stem.split("-")[0].split(".")])
    PAGE.write_text(page([parse(path.stem, path.read_text(encoding="utf-8")) for path in reports]), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
