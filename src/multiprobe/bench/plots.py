"""Draws the figures as SVG, by matplotlib: attaching over the number of functions, the cost of a hit by question, the
phases of a start, memory over the number of CPUs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from multiprobe.bench.starting import PHASES
from multiprobe.errors import NotSupportedError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from multiprobe.bench.figures import Figure

STYLES = {"multiprobe": "-", "system": ":", "libbpf": "--", "bpftrace": "-."}
"""How the line of each tool is drawn, by the first word of its name; mechanisms have colours."""


def require() -> None:
    """Raise NotSupportedError if matplotlib isn't there."""
    if find_spec("matplotlib") is None:
        raise NotSupportedError("--plot needs matplotlib", hint="pip install 'multiprobe[pictures]'")


def draw(found: Iterable[Figure], directory: str | Path) -> Iterator[str]:
    """Draw what there are figures of; gives the path of each file that was written."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "multiprobe"  # the same picture from the same figures
    from matplotlib import pyplot as plt

    Path(directory).mkdir(parents=True, exist_ok=True)
    every = list(found)
    for name, draw_one in _DRAWERS.items():
        mine = [one for one in every if one.bench == name]
        if not mine:
            continue
        figure, axes = plt.subplots(figsize=_SIZES.get(name, (8, 4.5)))
        draw_one(axes, mine)
        figure.tight_layout()
        target = Path(directory, f"bench-{name}.svg")
        figure.savefig(target, metadata={"Date": None})
        plt.close(figure)
        yield str(target)


def _attach(axes: Axes, found: list[Figure]) -> None:
    """Lines of seconds over functions: to attach, and, pale, to detach."""
    lines: dict[tuple[str, str, str], list[tuple[int, float]]] = {}
    for one in found:
        if one.step in _PALE:
            lines.setdefault((one.way, one.tool, one.step), []).append((one.functions or 0, one.median))
    colours = {way: f"C{number}" for number, way in enumerate(dict.fromkeys(way for way, _, _ in lines))}
    for (way, tool, step), points in lines.items():
        axes.plot(
            [n for n, _ in points], [seconds for _, seconds in points], STYLES[tool.partition(" ")[0]],
            color=colours[way], alpha=_PALE[step], marker="o", markersize=4,
            label=f"{way}, {tool}" if step == "attach" else None,
        )  # fmt: skip
    axes.set(xscale="log", yscale="log", xlabel="functions", ylabel="seconds to attach (pale: to detach)")
    axes.grid(visible=True, alpha=0.3)
    axes.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _hit(axes: Axes, found: list[Figure]) -> None:
    """Groups of bars, a question each."""
    questions = list(dict.fromkeys(one.way.partition(", ")[0] for one in found))
    tools: dict[str, dict[str, float]] = {}
    for one in found:
        question, _, mechanism = one.way.partition(", ")
        tools.setdefault(f"{one.tool}, {mechanism}" if mechanism else one.tool, {})[question] = one.median
    width = 0.8 / len(tools)
    for number, (tool, costs) in enumerate(tools.items()):
        places = [questions.index(question) + (number - (len(tools) - 1) / 2) * width for question in costs]
        bars = axes.bar(places, list(costs.values()), width, label=tool)
        axes.bar_label(bars, fmt="{:,.0f}", fontsize="x-small", rotation=90, padding=2)
    axes.set_xticks(range(len(questions)), questions, rotation=15)
    axes.set(ylabel=f"{found[0].unit} a call, above the same call without probes")
    axes.margins(y=0.1)  # the numbers above the bars
    axes.legend(fontsize="small")


def _start(axes: Axes, found: list[Figure]) -> None:
    """A bar for each tool, with its phases one after another."""
    tools = list(dict.fromkeys(one.tool for one in found))[::-1]
    begun = dict.fromkeys(tools, 0.0)
    for phase in PHASES:
        mine = {one.tool: one.median for one in found if one.step == phase}
        if mine:
            lefts = [begun[tool] for tool in mine]
            axes.barh([tools.index(tool) for tool in mine], list(mine.values()), 0.6, lefts, label=phase)
            begun |= {tool: begun[tool] + seconds for tool, seconds in mine.items()}
    rest = {one.tool: one.median for one in found if one.step == "attached" and not begun[one.tool]}
    if rest:
        axes.barh([tools.index(tool) for tool in rest], list(rest.values()), 0.6, color="0.7", label="until attached")
    axes.set_yticks(range(len(tools)), tools)
    axes.set(xlabel="seconds from the command line to everything attached")
    axes.legend(fontsize="small")


def _memory(axes: Axes, found: list[Figure]) -> None:
    """Lines of predicted megabytes over CPUs, and points of what was measured."""
    commands = list(dict.fromkeys(one.way for one in found))
    for number, name in enumerate(commands):
        mine = [one for one in found if one.way == name]
        lines = [(one.cpus, one.median / 1e6) for one in mine if one.step == "predicted"]
        points = [(one.cpus, one.median / 1e6) for one in mine if one.step == "measured"]
        axes.plot(*zip(*lines, strict=True), color=f"C{number}", label=name)
        axes.plot(*zip(*points, strict=True), "o", color=f"C{number}")
    axes.set(xscale="log", yscale="log", xlabel="possible CPUs", ylabel="MB of kernel memory (points: measured)")
    axes.grid(visible=True, alpha=0.3)
    axes.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1.0, 1.0))


_PALE = {"attach": 1.0, "detach": 0.3}
_SIZES = {"attach": (10.0, 4.5), "hit": (14.0, 5.0)}
_DRAWERS = {"attach": _attach, "hit": _hit, "start": _start, "memory": _memory}
