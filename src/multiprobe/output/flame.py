"""Flame graphs: stacks with numbers as one SVG file, which needs nothing else.

A frame is as wide as its part of the sum and is drawn on top of its caller; neighbours are in alphabetical order, so
that the same stacks always give the same file. Hovering shows a frame's numbers, a click zooms into it, Escape or the
button zooms out, and a search marks frames by a regular expression and shows their part of the sum. Without scripts,
picture and hover texts remain.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from multiprobe.names import printable
from multiprobe.output.svg import load, opening, xml_text
from multiprobe.output.units import percent_text, time_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

WIDTH = 1200
ROW = 18
_HEAD = 56
_FOOT = 12
_SIDE = 10
_TITLE = 90  # letters
_LETTER = 6.7  # the advance of 11 px DejaVu Sans Mono and its like, on the safe side
_PIXELS = WIDTH - 2 * _SIDE
_LEAST = 0.1  # pixels: what is narrower is left out, and so is all upon it


class _Frame:
    """A node of the tree: `value` is all of it, `own` what ended here."""

    __slots__ = ("children", "own", "value")

    def __init__(self) -> None:
        self.value = 0
        self.own = 0
        self.children: dict[str, _Frame] = {}


@dataclass(frozen=True, slots=True)
class _Box:
    name: str
    path: tuple[str, ...]
    depth: int
    start: int
    value: int
    own: int


def flame_svg(stacks: Mapping[tuple[str, ...], int], *, title: str, unit: str = "count", subtitle: str = "") -> str:
    """A flame graph of these stacks (outermost frame first).

    unit: "ns" for times, or what is counted ("calls", "samples")
    """
    boxes = list(_boxes(_tree(stacks)))
    total = boxes[0].value
    shown = [box for box in boxes if total and box.value / total * _PIXELS >= _LEAST]
    height = _HEAD + ROW * (max((box.depth for box in shown), default=0) + 1) + _FOOT
    lines = [_open(title, subtitle or _amount(total, unit), height)]
    lines += [_rectangle(box, total, unit, height) for box in shown]
    if not shown:
        lines.append(f'<text x="{WIDTH // 2}" y="{_HEAD + 12}" text-anchor="middle">nothing was seen</text>')
    lines += ["</g>", f"<script><![CDATA[\n{load('flame.js')}]]></script>", "</svg>", ""]
    return "\n".join(lines)


def _tree(stacks: Mapping[tuple[str, ...], int]) -> _Frame:
    root = _Frame()
    for frames, n in stacks.items():
        if n <= 0:
            continue
        node = root
        node.value += n
        for name in frames:
            node = node.children.setdefault(name, _Frame())
            node.value += n
        node.own += n
    return root


def _boxes(root: _Frame) -> Iterator[_Box]:
    """Every frame and its position, parents first. A loop: kernel stacks may be deeper than Python's."""
    pending: list[tuple[str, tuple[str, ...], int, int, _Frame]] = [("all", (), 0, 0, root)]
    while pending:
        name, path, depth, start, node = pending.pop()
        yield _Box(name, path, depth, start, node.value, node.own)
        at = start
        for child in sorted(node.children):
            inner = node.children[child]
            pending.append((child, (*path, child), depth + 1, at, inner))
            at += inner.value


def _amount(n: int, unit: str) -> str:
    return time_text(n) if unit == "ns" else f"{n:,} {unit}"


def _rectangle(box: _Box, total: int, unit: str, height: int) -> str:
    x = _SIDE + box.start / total * _PIXELS
    width = box.value / total * _PIXELS
    y = height - _FOOT - ROW * (box.depth + 1)
    own = f", {_amount(box.own, unit)} of it itself" if box.own and box.own != box.value else ""
    hover = f"{box.name}: {_amount(box.value, unit)} ({percent_text(box.value / total)}){own}"
    label = _fit(printable(box.name), width)
    return (
        f'<g class="f" data-d="{box.depth}" data-s="{box.start / total:.9g}" data-w="{box.value / total:.9g}"'
        f' data-n="{xml_text(box.name)}"><title>{xml_text(hover)}</title>'
        f'<rect x="{x:.2f}" y="{y}" width="{width - _gap(width):.2f}" height="{ROW - 1}" rx="1.5"'
        f' fill="{_colour(box.name, box.depth)}"/>'
        f'<text x="{x + 3:.2f}" y="{y + 12.5}">{xml_text(label)}</text></g>'
    )


def _gap(width: float) -> float:
    """Between two frames: none where they are so narrow that it would take their colour away."""
    return 0.5 if width > 2 else 0.0


def _fit(name: str, width: float) -> str:
    """As much of the name as fits, or nothing when that is less than three letters."""
    n = int((width - 6) / _LETTER)
    if len(name) <= n:
        return name
    return name[: n - 1] + "…" if n >= 4 else ""


def _cut(title: str) -> str:
    """As much of a title as fits beside the buttons; the picture's `title` has all of it."""
    return title if len(title) <= _TITLE else title[: _TITLE - 1] + "…"


def _colour(name: str, depth: int) -> str:
    """Warm for the kernel, blue for `name [module]`, green for `name (file)` of user space; the tone by the name."""
    if depth == 0:
        return "#d8d4cf"
    spread = 0
    for letter in name.encode("utf-8", "replace"):
        spread = (spread * 31 + letter) & 0xFFFF
    tone, light = spread % 23, spread // 23 % 9
    if name.endswith("]") and " [" in name:
        return f"hsl({200 + tone},55%,{70 + light}%)"
    if name.endswith(")") and " (" in name:
        return f"hsl({105 + tone},38%,{70 + light}%)"
    return f"hsl({18 + tone},78%,{66 + light}%)"


def _open(title: str, subtitle: str, height: int) -> str:
    return f"""\
{opening(title, _cut(title), subtitle, width=WIDTH, height=height, left=_SIDE, style=load("flame.css"))}
<text class="b x" id="reset" x="{WIDTH - 150}" y="22" text-anchor="end">reset zoom</text>
<text class="b" id="search" x="{WIDTH - _SIDE}" y="22" text-anchor="end">search (Ctrl-F)</text>
<text class="s" id="found" x="{WIDTH - _SIDE}" y="42" text-anchor="end"></text>
<g id="frames" data-side="{_SIDE}" data-pixels="{_PIXELS}" data-letter="{_LETTER}">"""
