"""Flame graphs: stacks with numbers as one SVG file, which needs nothing else.

A frame is as wide as its part of the sum and is drawn below its caller, from the root on top; neighbours are in
alphabetical order, so that the same stacks always give the same file. Its script (flame.js) fits it to the window and
adds zoom, search, keys and permalinks. Without scripts, picture and hover texts remain.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from multiprobe.names import printable
from multiprobe.output.svg import heading, load, opening, xml_text
from multiprobe.output.units import percent_text, time_text
from multiprobe.plurals import plural_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

WIDTH = 1200
ROW = 18
_HEAD = 100
_TOOLS = 48
_FOOT = 12
_SIDE = 10
_NARROWEST = 320
_TITLE = 90  # letters
_LETTER = 6.7  # the advance of 11 px DejaVu Sans Mono and its like, on the safe side
_PIXELS = WIDTH - 2 * _SIDE
_LEAST = 0.001  # of the sum: what is narrower is left out, and so is all below it
_UNKNOWN = "?"
_HINT = "click or Enter: zoom in · Esc: zoom out · arrow keys: walk · / or Ctrl-F: search"


class _Frame:
    """A node of the tree: `value` is all of it, `own` what ended here, `before` the part of `value` that is earlier."""

    __slots__ = ("before", "children", "own", "value")

    def __init__(self) -> None:
        self.value: float = 0
        self.own: float = 0
        self.before: float = 0
        self.children: dict[str, _Frame] = {}


@dataclass(frozen=True, slots=True)
class _Box:
    name: str
    path: tuple[str, ...]
    depth: int
    start: float
    value: float
    own: float
    before: float | None


def flame_svg(
    stacks: Mapping[tuple[str, ...], float],
    *,
    title: str,
    unit: str = "count",
    subtitle: str = "",
    before: Mapping[tuple[str, ...], float] | None = None,
) -> str:
    """A flame graph of these stacks (outermost frame first).

    unit: "ns" for times, or what is counted ("calls", "samples")
    before: other stacks to compare with: a frame is as wide as its values on both sides together, red where `stacks`
        has more, blue where `before` has more
    """
    boxes = list(_boxes(_tree(stacks, before or {}), is_difference=before is not None))
    total = boxes[0].value
    shown = [box for box in boxes if total and box.value >= _LEAST * total]
    height = _HEAD + ROW * (max((box.depth for box in shown), default=0) + 1) + _FOOT
    amount = ", ".join([subtitle or _hover_amount(boxes[0], unit), *_left_out(len(boxes) - len(shown) if total else 0)])
    lines = [opening(title, width=WIDTH, height=height, style=load("flame.css"))]
    lines.append(_frames_group(height))
    lines += [_rectangle(box, total, unit) for box in shown]
    if not shown:
        lines.append(
            f'<text class="empty" x="{WIDTH // 2}" y="{_HEAD + 12}" text-anchor="middle">nothing was seen</text>'
        )
    lines += ["</g>", _head(title, amount), f"<script><![CDATA[\n{load('flame.js')}]]></script>", "</svg>", ""]
    return "\n".join(lines)


def _left_out(n: int) -> list[str]:
    return [f"{plural_text(n, 'frame')} of less than {percent_text(_LEAST)} left out"] if n else []


def _tree(stacks: Mapping[tuple[str, ...], float], before: Mapping[tuple[str, ...], float]) -> _Frame:
    root = _Frame()
    for frames, n in stacks.items():
        if n > 0:
            _add(root, frames, n)
    for frames, n in before.items():
        if n > 0:
            _add(root, frames, n, before=n)
    return root


def _add(root: _Frame, frames: Iterable[str], n: float, *, before: float = 0) -> None:
    node = root
    node.value += n
    node.before += before
    for name in _without_runs(frames):
        node = node.children.setdefault(name, _Frame())
        node.value += n
        node.before += before
    node.own += n


def _without_runs(frames: Iterable[str]) -> Iterator[str]:
    """Frames without a name say nothing more when there are several in a row."""
    before = ""
    for name in frames:
        if name != _UNKNOWN or before != _UNKNOWN:
            yield name
        before = name


def _boxes(root: _Frame, *, is_difference: bool) -> Iterator[_Box]:
    """Every frame and its position, parents first. A loop: kernel stacks may be deeper than Python's."""
    pending: list[tuple[str, tuple[str, ...], int, float, _Frame]] = [("all", (), 0, 0, root)]
    while pending:
        name, path, depth, start, node = pending.pop()
        yield _Box(name, path, depth, start, node.value, node.own, node.before if is_difference else None)
        at = start
        for child in sorted(node.children):
            inner = node.children[child]
            pending.append((child, (*path, child), depth + 1, at, inner))
            at += inner.value


def _amount(n: float, unit: str) -> str:
    return time_text(n) if unit == "ns" else f"{_number(n)} {unit}"


def _number(n: float) -> str:
    return f"{n:,}" if isinstance(n, int) else f"{n:,.0f}" if n >= 100 else f"{n:.3g}"


def _hover_amount(box: _Box, unit: str) -> str:
    """The value of a frame, or its values on both sides and their ratio."""
    if box.before is None:
        return _amount(box.value, unit)
    now = box.value - box.before
    change = f" ({now / box.before:,.2f} times)" if box.before and now else ""
    before = time_text(box.before) if unit == "ns" else _number(box.before)
    return f"{before} before, {_amount(now, unit)} after{change}"


def _rectangle(box: _Box, total: float, unit: str) -> str:
    x = _SIDE + box.start / total * _PIXELS
    width = box.value / total * _PIXELS
    y = _HEAD + ROW * box.depth
    own = f", {_amount(box.own, unit)} of it itself" if box.own and box.own != box.value else ""
    part = f" ({percent_text(box.value / total)}){own}" if box.before is None else ""
    hover = f"{box.name}: {_hover_amount(box, unit)}{part}"
    label = _fit(printable(box.name), width)
    return (
        f'<g class="f" data-d="{box.depth}" data-s="{box.start / total:.9g}" data-w="{box.value / total:.9g}"'
        f' data-n="{xml_text(box.name)}"><title>{xml_text(hover)}</title>'
        f'<rect x="{x:.2f}" y="{y}" width="{width - _gap(width):.2f}" height="{ROW - 1}" rx="1.5"'
        f' fill="{_colour(box)}"/>'
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


def _colour(box: _Box) -> str:
    """Of a difference: red for more, blue for less, the stronger the larger it is. Else by name."""
    if box.before is not None:
        change = 1 - 2 * box.before / box.value if box.value else 0.0
        return f"hsl({4 if change > 0 else 215},85%,{92 - 32 * abs(change):.0f}%)"
    return "#d8d4cf" if box.depth == 0 else _colour_of(box.name)


def _colour_of(name: str) -> str:
    """Warm for the kernel, blue for `name [module]`, green for `name (file)` of user space; the tone by the name."""
    spread = 0
    for letter in name.encode("utf-8", "replace"):
        spread = (spread * 31 + letter) & 0xFFFF
    tone, light = spread % 23, spread // 23 % 9
    if name.endswith("]") and " [" in name:
        return f"hsl({200 + tone},55%,{70 + light}%)"
    if name.endswith(")") and " (" in name:
        return f"hsl({105 + tone},38%,{70 + light}%)"
    return f"hsl({18 + tone},78%,{66 + light}%)"


def _frames_group(height: int) -> str:
    """The beginning of the group of frames, with the sizes that the script needs."""
    return (
        f'<g id="frames" data-side="{_SIDE}" data-letter="{_LETTER}" data-narrowest="{_NARROWEST}"'
        f' data-height="{height}">'
    )


def _head(title: str, subtitle: str) -> str:
    """Title, what the script needs to search, and the line of details; the last of the file, since it covers frames."""
    return f"""\
<g id="head"><rect class="bg" data-whole="" width="{WIDTH}" height="{_HEAD - 4}" fill="#fff"/>
{heading(title, subtitle, left=_SIDE, most=_TITLE)}
<foreignObject id="tools" class="x" data-whole="" x="0" y="{_TOOLS}" width="{WIDTH}" height="28">
<div xmlns="http://www.w3.org/1999/xhtml" style="padding: 0 {_SIDE}px"><input id="search" type="text" \
placeholder="search" aria-label="search"/>\
<label title="tell capital letters from small ones"><input id="case" type="checkbox"/>Aa</label>\
<label title="regular expression"><input id="regex" type="checkbox"/>.*</label>\
<button id="reset" type="button" hidden="">reset zoom</button><span id="found" role="status"></span></div>
</foreignObject>
<text class="s" id="details" x="{_SIDE}" y="{_HEAD - 10}">{xml_text(_HINT)}</text></g>"""
