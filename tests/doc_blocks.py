"""Blocks of README and docs, and whether the outputs that they show are what commands print.

An output is compared by the shapes of its lines: numbers, times, addresses, names of functions and files, bars and
branches are left open; headings, columns, units and sentences are the same, word by word.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from multiprobe.links.report import MEANINGS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

NOT_AN_OUTPUT = {
    "architecture.md": "packages, drawn",
    "concepts.md": "parts of what inspect prints on two kernels, while four commands are attached",
    "inspect.md": "the same with cookies, on 7.3",
    "objects.md": "a program that needs an object file",
    "safety.md": "the watchdog's message",
}
"""Pages whose text blocks aren't what the block before printed."""

PLACEHOLDERS = [
    (r"^[▶ ]*[0-9a-f]{16}  ((?:[0-9a-f]{2} )+) .*", "CODE"),
    (r'"[^"]*"', '""'),
    (r"[▁▂▃▄▅▆▇█]([ ▁▂▃▄▅▆▇█]*[▁▂▃▄▅▆▇█])?", " "),
    (r"[├└│─]", " "),
    (r" \[\w+\]", ""),
    (r"\b(0x[0-9a-f]+|[0-9a-f]{16})\b", "0"),
    (r"\S*/\S+(?=\s|$)(?<!TIME/ms)(?<!RATE/S)", "NAME"),
    (r"\b\w*_\w*(\.\w+)*(\+0x[0-9a-f]+)?", "NAME"),
    (r"\b\d[\d,.]* (ns|µs|ms|s)\b", "0 s"),
    (r"-?\b\d[\d,]*(\.\d+)?", "0"),
    (r"\b(0 [a-z]+?|0 different stack|0 known gap)s\b", r"\1"),
    (r"NAME((, | > )(NAME|…))+", "NAME"),
    (r"\s+", " "),
]


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block; `line` is the line of the page where it begins."""

    page: Path
    line: int
    language: str
    text: str

    @property
    def id(self) -> str:
        """As pytest shows it."""
        return f"{self.page.name}:{self.line}"


def blocks(pages: list[Path] = PAGES) -> Iterator[Block]:
    """All fenced blocks of the pages."""
    for page in pages:
        text = page.read_text()
        for match in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            yield Block(page, text[: match.start()].count("\n") + 1, match[1], match[2])


def command_lines(block: Block) -> list[str]:
    """The arguments of each `multiprobe` in a console block, without those that start a virtual machine."""
    lines = [line.removeprefix("$ ") for line in block.text.splitlines() if line.startswith("$ multiprobe ")]
    words = [shlex.split(line, comments=True)[1:] for line in lines]
    return [shlex.join(one) for one in words if one[0] != "vm" and not any(w.split("=")[0] == "--vm" for w in one)]


def outputs() -> Iterator[tuple[Block, Block]]:
    """(what was run, what it printed) of each text block: the block before it on the page."""
    before = None
    for block in blocks():
        if block.language == "text" and block.page.name not in NOT_AN_OUTPUT and before and before.page == block.page:
            yield before, block
        before = block if block.language in ("console", "python") else None


def shape(line: str) -> str:
    """What is compared of a line."""
    for pattern, placeholder in PLACEHOLDERS:
        line = re.sub(pattern, placeholder, line)
    return line.strip()


def is_by_chance(line: str) -> bool:
    """Whether a line tells of missed events, or that attaching took long or much memory: it may be there or not."""
    return line.startswith(("missed: ", "attached in ", "kernel memory ")) or any(
        line.endswith(f": {meaning}") for meaning in MEANINGS.values()
    )


def differences(shown: str, printed: str) -> list[str]:
    """Lines that a page shows and that are not printed; and if it shows the report, lines of a report that it lacks."""
    shown_lines, printed_lines = _lines(shown), _lines(printed)
    found = [f"not printed: {line}" for line in shown_lines if shape(line) not in set(map(shape, printed_lines))]
    known = {shape(line) for line in shown_lines}
    return found + [
        f"not shown: {line}" for line in _report(printed_lines) if _report(shown_lines) and shape(line) not in known
    ]


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip(" …") and not is_by_chance(line)]


def _report(lines: list[str]) -> list[str]:
    """The lines from the one that says how many functions were attached."""
    starts = [n for n, line in enumerate(lines) if line.startswith("attached ") and " of " in line]
    return lines[starts[0] :] if starts else []
