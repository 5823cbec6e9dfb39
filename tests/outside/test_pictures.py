"""Pictures and pages in a browser: what their scripts make of the URL's fragment. Only where there is a Chromium."""

from __future__ import annotations

import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

import pytest

from multiprobe.output.flame import flame_svg
from multiprobe.output.page import page

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
STACKS = {
    ("main", "vfs_read", "copy_to_user"): 500, ("main", "vfs_write [x;&=#%]"): 300, ("idle", "vfs_read"): 200,
}  # fmt: skip

pytestmark = pytest.mark.skipif(BROWSER is None, reason="there is no Chromium")


@dataclass(frozen=True)
class Shown:
    """The frames in sight, with their widths in parts of the whole; those that are marked; what the search says."""

    widths: dict[str, float]
    marked: set[str]
    found: str


def load(file: Path, text: str, fragment: str) -> str:
    """The document that a browser makes of a file at a permalink."""
    assert BROWSER is not None
    file.write_text(text, encoding="utf-8")
    profile = f"--user-data-dir={file.parent / 'profile'}"
    words = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", profile, "--dump-dom", file.as_uri() + fragment]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def show(folder: Path, fragment: str) -> Shown:
    """The flame graph at a permalink."""
    root = ET.fromstring(load(folder / "flame.svg", flame_svg(STACKS, title="t", unit="calls"), fragment))
    frames = [item for item in root.iter() if "f" in item.get("class", "").split()]
    in_sight = [item for item in frames if "x" not in item.get("class", "").split()]
    boxes = {"/".join([item.get("data-d", ""), item.get("data-n", "")]): item.find("{*}rect") for item in in_sight}
    widths = {name: float(box.get("width", "")) for name, box in boxes.items() if box is not None}
    marked = {item.get("data-n", "") for item in frames if "m" in item.get("class", "").split()}
    found = next("".join(item.itertext()) for item in root.iter() if item.get("id") == "found")
    return Shown({name: round(width / widths["0/all"], 2) for name, width in widths.items()}, marked, found)


def test_without_a_fragment_all_is_shown(tmp_path: Path) -> None:
    shown = show(tmp_path, "")
    assert shown.widths["1/main"] == 0.8
    assert len(shown.widths) == 6
    assert (shown.marked, shown.found) == (set(), "")


def test_a_permalink_zooms_into_one_of_the_frames_of_a_name(tmp_path: Path) -> None:
    assert show(tmp_path, "#zoom=idle;vfs_read").widths == {"0/all": 1, "1/idle": 1, "2/vfs_read": 1}
    assert show(tmp_path, "#zoom=main;vfs_read").widths["3/copy_to_user"] == 1
    assert show(tmp_path, "#zoom=main;vfs_write%20%5Bx%3B%26%3D%23%25%5D").widths["2/vfs_write [x;&=#%]"] == 1


def test_a_permalink_to_what_is_not_there_shows_all(tmp_path: Path) -> None:
    assert len(show(tmp_path, "#zoom=main;%E0%A4%A&search=%E0%A4%A&nonsense&=").widths) == 6


@pytest.mark.parametrize(
    ("fragment", "marked", "found"),
    [
        ("#search=READ", {"vfs_read"}, "70.0% in 2 frames"),
        ("#search=READ&case=1", set(), "0.0% in 0 frames"),
        ("#search=%5Bx", {"vfs_write [x;&=#%]"}, "30.0% in 1 frame"),
        ("#search=%5Evfs_%7Ccopy&regex=1", {"vfs_read", "vfs_write [x;&=#%]", "copy_to_user"}, "100.0% in 4 frames"),
    ],
)
def test_a_permalink_searches(tmp_path: Path, fragment: str, marked: set[str], found: str) -> None:
    shown = show(tmp_path, fragment)
    assert (shown.marked, shown.found) == (marked, found)


def test_an_expression_that_is_none_is_said_to_be_so(tmp_path: Path) -> None:
    shown = show(tmp_path, "#search=(vfs&regex=1")
    assert shown.marked == set()
    assert shown.found.startswith("Invalid regular expression")


def test_a_permalink_sorts_and_searches_the_table_of_a_page(tmp_path: Path) -> None:
    rows = [{"function": name, "calls": n} for name, n in (("vfs_read", 5), ("tcp_ack", 9), ("vfs_open", 7))]
    nothing: dict[str, object] = {key: [] for key in ("skipped", "failed", "dropped", "notes", "verified")}
    report = {"requested": 3, "attached": 3, "links": 1, "mechanisms": {}, "missed": {}} | nothing
    html = load(tmp_path / "page.html", page("count", rows, report), "#sort=-calls&search=vfs")
    shown = re.findall(r"<tr( hidden=\"\")?><td>(\w+)", html)
    assert shown == [(' hidden=""', "tcp_ack"), ("", "vfs_open"), ("", "vfs_read")]
    assert "2 of 3 rows" in html
