"""Flame graphs and heat maps, read by an XML parser."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multiprobe.output.flame import WIDTH, flame_svg
from multiprobe.output.folded import fold, folded_lines
from multiprobe.output.heat import HeatMap, heat_svg, round_step, round_values
from multiprobe.output.histogram import log2_bounds

SVG = "{http://www.w3.org/2000/svg}"
STACKS = {("main", "read"): 600, ("main",): 100, ("main", "write [ext4]"): 300, ("idle",): 1000}
names = st.text(min_size=1, max_size=30)
stacks = st.dictionaries(st.lists(names, min_size=1, max_size=6).map(tuple), st.integers(1, 10**12), max_size=20)


def frames(svg: str) -> dict[str, tuple[float, float, float, str]]:
    """(x, y, width, hover text) of each frame, by name."""
    found = {}
    for group in ET.fromstring(svg).iter(f"{SVG}g"):
        if group.get("class") == "f":
            box, title = group.find(f"{SVG}rect"), group.find(f"{SVG}title")
            assert box is not None
            assert title is not None
            place = tuple(float(box.get(key, "")) for key in ("x", "y", "width"))
            found[group.get("data-n", "")] = (*place, title.text or "")
    return found  # type: ignore[return-value]


def test_frames_are_as_wide_as_their_share_and_hang_below_their_callers() -> None:
    found = frames(flame_svg(STACKS, title="t", unit="calls"))
    full = found["all"][2]
    assert found["main"][2] / full == pytest.approx(0.5, abs=0.001)
    assert found["read"][2] / full == pytest.approx(0.3, abs=0.001)
    assert found["read"][1] > found["main"][1] > found["all"][1]
    assert found["read"][0] == pytest.approx(found["main"][0], abs=0.01)
    assert found["main"][3] == "main: 1,000 calls (50.0%), 100 calls of it itself"
    assert found["read"][3] == "read: 600 calls (30.0%)"


def subtitle(svg: str) -> str:
    return next(text.text or "" for text in ET.fromstring(svg).iter(f"{SVG}text") if text.get("class") == "s")


def test_frames_of_less_than_a_thousandth_are_left_out_and_it_is_said() -> None:
    stacks = {("main", "often"): 9985, ("main", "a thousandth"): 10, ("rare", "deep"): 4, ("rare",): 1}
    svg = flame_svg(stacks, title="t", unit="calls")
    assert set(frames(svg)) == {"all", "main", "often", "a thousandth"}
    assert subtitle(svg) == "10,000 calls, 2 frames of less than 0.1% left out"
    assert subtitle(flame_svg(STACKS, title="t", subtitle="said")) == "said"


def test_frames_without_a_name_are_one_where_they_follow_each_other() -> None:
    stacks = {("?", "?", "read", "?"): 1, ("?", "read", "?", "?", "?"): 2, ("read", "?", "write"): 4}
    svg = flame_svg(stacks, title="t", unit="calls")
    groups = [group for group in ET.fromstring(svg).iter(f"{SVG}g") if group.get("class") == "f"]
    assert [(group.get("data-n"), group.get("data-d")) for group in groups] == [
        ("all", "0"), ("read", "1"), ("?", "2"), ("write", "3"), ("?", "1"), ("read", "2"), ("?", "3"),
    ]  # fmt: skip


def test_times_are_spelled_with_units() -> None:
    found = frames(flame_svg({("f",): 1_500_000}, title="t", unit="ns"))
    assert found["f"][3] == "f: 1.50 ms (100.0%)"


def test_the_same_stacks_give_the_same_file() -> None:
    turned = dict(reversed(STACKS.items()))
    assert flame_svg(STACKS, title="t") == flame_svg(turned, title="t")


def test_names_cannot_break_out() -> None:
    name = "<script>alert('&')</script>]]>\x00\"\ufffe"
    found = frames(flame_svg({(name,): 1}, title=name, subtitle=name))
    assert r"<script>alert('&')</script>]]>\x00" + r'"\ufffe' in found


@given(stacks)
def test_any_stacks_make_xml_with_frames_inside(stacks: dict[tuple[str, ...], int]) -> None:
    for x, _, width, _ in frames(flame_svg(stacks, title="t")).values():
        assert x >= 0
        assert x + width <= WIDTH


def test_nothing_was_seen() -> None:
    assert "nothing was seen" in flame_svg({}, title="t")
    assert "nothing was seen" in heat_svg(HeatMap([[0, 0]], [1.0]), title="t")
    assert "nothing was seen" in heat_svg(HeatMap([], []), title="t")


def test_deep_stacks() -> None:
    deep = tuple(f"f{n}" for n in range(3000))
    assert len(frames(flame_svg({deep: 1}, title="t"))) == 3001


def test_folded() -> None:
    folded = fold([(("a", "b"), 1), (("a",), 2), (("a", "b"), 3), (("x;y\nz",), 1)])
    assert list(folded_lines(folded)) == ["a 2", "a;b 4", "x:y z 1"]


@given(stacks)
def test_folded_lines_can_be_split_again(stacks: dict[tuple[str, ...], int]) -> None:
    for line in folded_lines(stacks):
        assert re.fullmatch(r"[^\n]+ \d+", line)
    assert sum(int(line.rpartition(" ")[2]) for line in folded_lines(stacks)) == sum(stacks.values())


@given(st.floats(0.001, 1e5))
def test_ticks_are_round(least: float) -> None:
    step = round_step(least)
    assert least * (1 - 1e-6) <= step < 2.51 * least
    assert f"{step:.0e}"[0] in "125"


def labels(svg: str, anchor: str) -> dict[str, tuple[float, float]]:
    """Where the labels of an axis are."""
    texts = [text for text in ET.fromstring(svg).iter(f"{SVG}text") if text.get("text-anchor") == anchor]
    return {text.text or "": (float(text.get("x", "")), float(text.get("y", ""))) for text in texts}


def test_a_time_axis_has_round_ticks_up_to_the_end_and_columns_where_they_were() -> None:
    svg = heat_svg(HeatMap([[0, 1], [0, 2]], [1.1523, 3.4564], start=0.2), title="t")
    ticks = {text: x for text, (x, _) in labels(svg, "middle").items()}
    assert list(ticks) == ["0 s", "0.5 s", "1 s", "1.5 s", "2 s", "2.5 s", "3 s", "3.46 s"]
    cells = [cell for cell in ET.fromstring(svg).iter(f"{SVG}rect") if cell.find(f"{SVG}title") is not None]
    second = (ticks["3 s"] - ticks["0 s"]) / 3
    assert float(cells[0].get("x", "")) == pytest.approx(ticks["0 s"] + 0.2 * second, abs=0.1)
    assert float(cells[1].get("x", "")) == pytest.approx(ticks["0 s"] + 1.1523 * second, abs=0.1)
    assert ticks["3.46 s"] == pytest.approx(ticks["0 s"] + 3.4564 * second, abs=0.1)


def test_no_label_of_the_time_axis_is_on_the_last() -> None:
    svg = heat_svg(HeatMap([[0, 1]], [10.0078]), title="t")
    assert list(labels(svg, "middle")) == ["0 s", "2 s", "4 s", "6 s", "8 s", "10.01 s"]


def test_values_at_the_axis_are_round_and_at_their_places() -> None:
    column = [0] * 7 + [1] * 16  # 64 ns … 4.19 ms
    found = {text: y for text, (_, y) in labels(heat_svg(HeatMap([column], [1.0]), title="t"), "end").items()}
    assert list(found) == ["100 ns", "1 µs", "10 µs", "100 µs", "1 ms"]
    decade = found["100 ns"] - found["1 µs"]
    assert found["100 µs"] - found["1 ms"] == pytest.approx(decade, abs=0.02)
    assert decade == pytest.approx(20 * math.log2(10), abs=0.02)


@pytest.mark.parametrize(
    ("low", "high", "values"),
    [
        (0, 1, [0, 1]), (1, 2, [1, 2]), (0, 8, [0, 1, 2, 5]),
        (2048, 4096, [3000, 4000]), (64, 1024, [100, 200, 500, 1000]),
        (1, 1 << 20, [1, 10, 100, 1000, 10_000, 100_000, 1_000_000]),
    ],
)  # fmt: skip
def test_round_values(low: int, high: int, values: list[int]) -> None:
    assert round_values(low, high) == values


@given(st.integers(0, 63), st.integers(0, 63))
def test_there_is_a_round_value_in_any_range_of_buckets(one: int, other: int) -> None:
    low, high = log2_bounds(min(one, other))[0], log2_bounds(max(one, other))[1]
    values = round_values(low, high)
    assert 1 <= len(values) <= 21
    assert values == sorted(set(values))
    assert low <= values[0] <= values[-1] <= high


def test_a_heat_map_has_a_cell_for_each_count() -> None:
    svg = heat_svg(HeatMap([[0, 0, 5], [0, 1, 1000], [0, 0, 0, 7]], [2.0, 4.0, 6.5]), title="t <&>")
    texts = [title.text for title in ET.fromstring(svg).iter(f"{SVG}title")]
    assert texts == [
        "t <&>",
        "5 × 2 ns to 4 ns, 0 to 2 s",
        "1 × 1 ns to 2 ns, 2 to 4 s",
        "1,000 × 2 ns to 4 ns, 2 to 4 s",
        "7 × 4 ns to 8 ns, 4 to 6.5 s",
    ]


def test_style_and_script_are_in_the_file_with_all_that_they_look_for() -> None:
    svg = flame_svg(STACKS, title="t")
    root = ET.fromstring(svg)
    styles, scripts = ([found.text or "" for found in root.iter(f"{SVG}{name}")] for name in ("style", "script"))
    assert ".f:hover rect" in styles[0]
    assert "prefers-color-scheme: dark" in styles[0]
    sizes = next(group for group in root.iter(f"{SVG}g") if group.get("id") == "frames")
    assert set(re.findall(r"sizes\.(\w+)", scripts[0])) == {"side", "letter", "narrowest", "height"}
    assert all(float(sizes.get(f"data-{name}", "")) > 0 for name in ("side", "letter", "narrowest", "height"))
    ids = {element.get("id") for element in root.iter() if element.get("id")}
    assert set(re.findall(r'byId\("(\w+)"\)', scripts[0])) <= ids
    assert "rect:hover" in heat_svg(HeatMap([[1]], [1.0]), title="t")


@pytest.mark.parametrize("svg", [flame_svg(STACKS, title="t"), heat_svg(HeatMap([[1]], [1.0]), title="t")])
def test_a_picture_needs_nothing_else(svg: str) -> None:
    assert not re.search(r"(src|href)=|url\(|@import|\bimport\b|fetch\(", svg)
    assert set(re.findall(r"https?://[^\"'\s]+", svg)) <= {SVG.strip("{}"), "http://www.w3.org/1999/xhtml"}
