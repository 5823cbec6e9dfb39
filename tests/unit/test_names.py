"""Nasty names through every form of output: valid UTF-8, no control characters, and the name still to be recognized."""

from __future__ import annotations

import csv
import io
import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

import multiprobe as mp
from multiprobe.cells import cell_width
from multiprobe.instruments import task_names
from multiprobe.maps.records import make_record
from multiprobe.markup import table as html_table
from multiprobe.names import decode_name, printable
from multiprobe.output.flame import flame_svg
from multiprobe.output.folded import folded_lines
from multiprobe.output.frame import line as frame_line
from multiprobe.output.json_lines import write_json_lines
from multiprobe.output.perfetto import write_perfetto
from multiprobe.output.slices import Slice, TraceThread, Track
from multiprobe.output.table import Column, TextTable, write_table
from nasty_names import NASTY, assert_harmless

NAMES = [decode_name(raw) for raw, _ in NASTY]
SPELLED = [spelled for _, spelled in NASTY]


@pytest.mark.parametrize(("raw", "spelled"), NASTY)
def test_the_spelling_of_a_name(raw: bytes, spelled: str) -> None:
    assert printable(decode_name(raw)) == spelled


def test_strings_of_events_are_decoded_without_loss() -> None:
    decode = make_record({"comm": mp.string(16)}).decoder(lambda fields: next(iter(fields)))
    found = list(decode([(raw.ljust(16, b"\0"),) for raw, _ in NASTY]))
    assert [name.encode(errors="surrogateescape") for name in found] == [raw for raw, _ in NASTY]


def test_json_is_utf8_and_keeps_all_that_unicode_has() -> None:
    file = io.StringIO()
    write_json_lines(({"name": name, name: [name]} for name in NAMES), file)
    lines = assert_harmless(file.getvalue().encode()).splitlines()
    assert len(lines) == len(NAMES)
    for line, (raw, spelled) in zip(lines, NASTY, strict=True):
        found = json.loads(line)["name"]
        assert found == (spelled if "\\x" in spelled and not raw.isascii() else raw.decode())
        assert json.loads(line)[found] == [found]


def test_csv_rows_are_whole() -> None:
    file = io.StringIO()
    mp.Table({"name": name, "list": [name]} for name in NAMES).to_csv(file)
    text = assert_harmless(file.getvalue().encode())
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [row["name"] for row in rows] == [spelled.replace(r"\n", "\n") for spelled in SPELLED]
    assert {len(row) for row in rows} == {2}


def test_parquet_and_pandas_hold_every_name(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    pytest.importorskip("pandas")
    from pyarrow import parquet

    table = mp.Table({"name": name, "members": {"inner": [name]}} for name in NAMES)
    table.to_parquet(str(tmp_path / "names.parquet"))
    read = parquet.read_table(tmp_path / "names.parquet").to_pylist()
    expected = [s if "\\x" in s and not raw.isascii() else raw.decode() for raw, s in NASTY]
    assert [row["name"] for row in read] == expected
    assert [row["members"]["inner"] for row in read] == [[name] for name in expected]
    assert list(table.to_pandas()["name"]) == expected


def test_tables_of_text_are_aligned() -> None:
    file = io.StringIO()
    columns = (Column("CALLS", True), Column("NAME"), Column("END"))
    write_table(TextTable(columns, [("1", name, "end") for name in NAMES]), file)
    lines = assert_harmless(file.getvalue().encode()).splitlines()
    assert len(lines) == 1 + len(NAMES)
    assert {cell_width(line[: line.index("end")]) for line in lines[1:]} == {lines[0].index("END")}


def test_the_live_view_shows_the_same_spelling() -> None:
    for name, spelled in zip(NAMES, SPELLED, strict=True):
        assert_harmless(frame_line([name], [Column("NAME")], [(0, 40)]).encode())
        assert frame_line([name], [Column("NAME")], [(0, 40)]).startswith(spelled)


def test_folded_stacks_have_a_line_for_each_name() -> None:
    lines = list(folded_lines({("thread", name): 7 for name in NAMES}))
    assert len(lines) == len(NAMES)
    for line in lines:
        assert_harmless(line.encode())
        assert (line.count(";"), line.endswith(" 7")) == (1, True)
    assert "thread;" + SPELLED[0] + " 7" in lines


def test_pictures_are_well_formed() -> None:
    text = assert_harmless(flame_svg({(name, "f"): 1 for name in NAMES}, title=NAMES[0], unit="calls").encode())
    titles = {element.get("data-n") for element in ElementTree.fromstring(text).iter()}
    assert set(SPELLED) <= {title for title in titles if title}


def test_traces_hold_strings_that_are_utf8() -> None:
    file = io.BytesIO()
    tracks = [
        Track(TraceThread(9, n, name, name), [Slice(name, 1, 2, 0, {name: name})]) for n, name in enumerate(NAMES, 10)
    ]
    write_perfetto(tracks, file)
    for spelled in SPELLED:
        assert spelled.encode() in file.getvalue()
    for raw, spelled in NASTY:
        assert raw in file.getvalue() or raw.decode(errors="ignore") != spelled


def test_html_has_no_control_characters() -> None:
    assert_harmless(html_table(["NAME"], [[name] for name in NAMES], caption=NAMES[0]).encode())


def test_names_of_tasks_are_read_as_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, (raw, _) in enumerate(NASTY):
        (tmp_path / "comm").write_bytes(raw + b"\n")
        monkeypatch.setattr(task_names, "open", lambda *_a, **_k: (tmp_path / "comm").open("rb"), raising=False)
        assert printable(task_names.load_name(number)) == SPELLED[number]
