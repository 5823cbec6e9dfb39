from __future__ import annotations

import csv
import io
import json

import pytest

from multiprobe.table import Table

ROWS = Table(
    [
        {"function": "vfs_read", "calls": 3, "share": 0.75, "buckets": [1, 2]},
        {"function": 'odd "name", with\nline', "calls": 1, "share": 0.25, "address": (1 << 64) - 1, "own": True},
    ]
)


def test_csv_is_read_back() -> None:
    file = io.StringIO()
    ROWS.to_csv(file)
    rows = list(csv.DictReader(io.StringIO(file.getvalue())))
    assert list(rows[0]) == ["function", "calls", "share", "buckets", "address", "own"]
    assert [row["function"] for row in rows] == [row["function"] for row in ROWS]
    assert [int(row["calls"]) for row in rows] == [3, 1]
    assert json.loads(rows[0]["buckets"]) == [1, 2]
    assert (rows[0]["address"], rows[1]["own"]) == ("", "true")


def test_arrow_and_parquet() -> None:
    pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = ROWS.to_arrow()
    assert table.column("address").to_pylist() == [None, (1 << 64) - 1]
    assert table.column("buckets").to_pylist() == [[1, 2], None]
    file = io.BytesIO()
    ROWS.to_parquet(file)
    file.seek(0)
    assert parquet.read_table(file).to_pylist() == table.to_pylist()


def test_pandas() -> None:
    pytest.importorskip("pandas")
    frame = ROWS.to_pandas()
    assert list(frame["function"]) == [row["function"] for row in ROWS]
    assert frame["calls"].sum() == 4


def test_no_rows() -> None:
    file = io.StringIO()
    Table().to_csv(file)
    assert file.getvalue() == "\n"
