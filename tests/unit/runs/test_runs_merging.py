"""`mp.merge` and `multiprobe merge`: sums are exact, hosts are counted, what doesn't belong together is refused."""

from __future__ import annotations

import csv
import io
import json
import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from made_runs import called, make_run, timed

import multiprobe as mp
from multiprobe.cli.main import run as command
from multiprobe.errors import DataError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

FUNCTIONS = [("", "vfs_read"), ("", "vfs_write"), ("nf", "hook"), ("ext4", "hook"), ("", "évil\x1b[31m")]


def by_label(merged: mp.Merged) -> dict[tuple[str, str], dict[str, Any]]:
    return {(row["module"], row["function"]): row for row in merged.rows}


def test_sums_are_those_of_all_rows(tmp_path: Path) -> None:
    """Also of files, of several runs of a host, in any order."""
    chosen = random.Random(1)
    calls: Counter[tuple[str, str]] = Counter()
    hosts: dict[tuple[str, str], set[str]] = {}
    runs: list[mp.Run] = []
    for n in range(40):
        host, rows = f"host{n % 7}", []
        for module, function in chosen.sample(FUNCTIONS, chosen.randrange(len(FUNCTIONS) + 1)):
            rows.append(called(function, chosen.randrange(1, 1 << 40), module))
            calls[module, function] += rows[-1]["calls"]
            hosts.setdefault((module, function), set()).add(host)
        runs.append(make_run(rows, name=f"run{n}", host=host, attached=FUNCTIONS))
        runs[-1].save(tmp_path / f"{n}.gz")
    merged = mp.merge(runs)
    assert {label: row["calls"] for label, row in by_label(merged).items()} == calls
    assert all(row["hosts"] == len(hosts[label]) for label, row in by_label(merged).items())
    assert all(row["attached_hosts"] == 7 for row in merged.rows)
    assert (merged.n_hosts, len(merged.runs), merged.seconds) == (7, 40, 400.0)
    assert [row["calls"] for row in merged.rows] == sorted((row["calls"] for row in merged.rows), reverse=True)
    assert sum(row["share"] for row in merged.rows) == pytest.approx(1, abs=1e-4)
    shuffled = sorted(tmp_path.iterdir(), key=lambda path: hash(path.name))
    assert mp.merge(shuffled).rows == merged.rows


def test_a_function_is_known_by_its_module_and_name_not_by_its_address() -> None:
    one = make_run([{**called("hook", 1, "nf"), "address": "0x1"}, called("hook", 5, "ext4")], name="a")
    two = make_run([{**called("hook", 2, "nf"), "address": "0x2"}], name="b", host="two")
    rows = by_label(mp.merge([one, two]))
    assert {label: row["calls"] for label, row in rows.items()} == {("nf", "hook"): 3, ("ext4", "hook"): 5}


def test_functions_of_one_name_in_one_run_are_added_up_and_count_as_one_run() -> None:
    (row,) = mp.merge([make_run([called("init", 1), called("init", 2)])]).rows
    assert (row["calls"], row["runs"], row["hosts"]) == (3, 1, 1)


def test_how_many_hosts_had_a_function_attached() -> None:
    """Called or not; rates are per second of being attached."""
    one = make_run([called("a", 100)], name="1", host="1", attached=[("", "a"), ("", "b")], seconds=10)
    two = make_run([called("b", 30)], name="2", host="2", attached=[("", "b")], seconds=20)
    rows = by_label(mp.merge([one, two]))
    assert (rows["", "a"]["hosts"], rows["", "a"]["attached_hosts"], rows["", "a"]["rate"]) == (1, 1, 10.0)
    assert (rows["", "b"]["hosts"], rows["", "b"]["attached_hosts"], rows["", "b"]["rate"]) == (1, 2, 1.0)


def test_a_machine_with_two_kernels_is_two_hosts() -> None:
    runs = [make_run([called("a", 1)], name=str(n), kernel=kernel) for n, kernel in enumerate(["6.12", "7.3", "6.12"])]
    assert mp.merge(runs).n_hosts == 2


def test_histograms_are_added_bucket_by_bucket() -> None:
    one = make_run([timed("a", {0: 1, 10: 5}, total=4000, longest=900)], name="1", command="latency")
    two = make_run([timed("a", {10: 3, 12: 2}, total=9000, longest=4000)], name="2", command="latency", host="two")
    (row,) = mp.merge([one, two]).rows
    assert row["histogram"] == [[0, 1, 1], [512, 1024, 8], [2048, 4096, 2]]
    assert (row["calls"], row["total_ns"], row["max_ns"], row["mean_ns"]) == (11, 13000, 4000, 1181.8)
    assert 512 <= row["p50_ns"] < 1024
    assert row["p99_ns"] <= 4000


def test_times_by_process_are_added_by_the_process_name() -> None:
    rows = [[{**timed("a", {3: n}, total=5 * n, longest=7), "pid": n, "name": "cat"}] for n in (1, 2)]
    settings = {"by": "process", "self": False}
    runs = [make_run(one, name=str(n), command="latency", settings=settings) for n, one in enumerate(rows)]
    (row,) = mp.merge(runs).rows
    assert (row["name"], row["calls"]) == ("cat", 3)


def test_errors_and_stacks() -> None:
    group = {
        "type": "group", "error": "ENOSPC", "first": "b [m]", "path": ["a", "b [m]"], "is_cut": False,
        "outcome": "handled", "end": "a", "end_error": None,
    }  # fmt: skip
    runs = [
        make_run([{**group, "count": n}, {"type": "failure"}], name=str(n), command="errors", attached=[("m", "b")])
        for n in (1, 2)
    ]
    (row,) = mp.merge(runs).rows
    assert {**row, "count": 0} == {**group, "count": 0, "runs": 2, "hosts": 1, "attached_hosts": 1}
    assert row["count"] == 3
    stack = {"type": "stack", "function": "b", "module": "m", "frames": ["a", "b"], "ns": 10}
    runs = [make_run([{**stack, "calls": n}], name=str(n), command="stacks", settings={"time": True}) for n in (1, 2)]
    (row,) = mp.merge(runs).rows
    assert (row["calls"], row["ns"], row["frames"]) == (3, 20, ["a", "b"])


def test_each_report_is_kept() -> None:
    runs = [
        make_run([called("a", 1)], name="1", host="one", missed={"link_misses": 2}, skipped={"b": "it is notrace"}),
        make_run([called("a", 1)], name="2", host="two", missed={"link_misses": 3, "full_maps": 1}),
    ]
    merged = mp.merge(runs)
    assert [run.report for run in merged.runs] == [run.report for run in runs]
    assert merged.runs[0].report is not None
    assert merged.runs[0].report.skipped == (mp.Refusal("b", "x", "it is notrace"),)
    assert merged.missed == {"link_misses": 5, "full_maps": 1}
    assert not hasattr(merged.runs[0], "rows")


def test_the_same_run_counts_once_and_that_is_said(tmp_path: Path) -> None:
    run = make_run([called("a", 5)])
    run.save(tmp_path / "copy")
    merged = mp.merge([run, tmp_path / "copy", run])
    assert merged.rows[0]["calls"] == 5
    assert merged.notes[0] == f"{tmp_path / 'copy'} is the same run as a.jsonl: it counts once"
    assert len(merged.runs) == 1


def test_a_run_that_is_cut_off_is_said(tmp_path: Path) -> None:
    path = tmp_path / "a"
    make_run([called("a", 5), called("b", 4)]).save(path)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-2]))
    merged = mp.merge([path])
    assert [row["calls"] for row in merged.rows] == [5]
    assert merged.notes == (f"{path} is cut off after 1 row",)
    assert merged.runs[0].gap == "cut off after 1 row"


def test_what_does_not_belong_together_is_refused() -> None:
    count = make_run([called("a", 1)], name="c")
    with pytest.raises(UsageError, match=r"c.jsonl is a run of count, l.jsonl one of latency"):
        mp.merge([count, make_run([], name="l", command="latency")])
    returns = make_run([called("a", 1)], name="r", settings={"when": "return", "scope": "system"})
    with pytest.raises(UsageError, match="measured different things: when is entry and return"):
        mp.merge([count, returns])
    with pytest.raises(UsageError, match="runs of trace can't be added up or compared"):
        mp.merge([make_run([], command="trace")])
    with pytest.raises(UsageError, match="no run"):
        mp.merge([])


GOOD = timed("a", {10: 5}, total=4000, longest=900)


@pytest.mark.parametrize(
    "changed",
    [
        *({"calls": wrong} for wrong in (-1, "1", 1.5, None, True, 1 << 64)),
        *({"histogram": wrong} for wrong in (None, 5, [5], [[1, 2]], [[0, 2, 1]], [[3, 4, 1]], [[512, 1024, -1]])),
        *({"histogram": [[1 << 70, 1 << 71, 1]]}, {"histogram": [["a", "b", 1]]}, {"histogram": [[-512, 1024, 1]]}),
        *({"function": wrong} for wrong in (5, None, [1], {}, ["a", 5])),
        {"type": "stack"},
    ],
)
def test_invalid_rows_are_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=r"bad.jsonl: an invalid row"):
        mp.merge([make_run([{**GOOD, **changed}], name="bad", command="latency", attached=[])])
    lacking = {name: item for name, item in GOOD.items() if name not in changed}
    with pytest.raises(DataError, match=r"bad.jsonl: an invalid row"):
        mp.merge([make_run([lacking], name="bad", command="latency", attached=[])])


# -- the command -------------------------------------------------------------------------------------------------------


@pytest.fixture
def runs(tmp_path: Path) -> list[str]:
    for n in (1, 2, 3):
        rows = [called("vfs_read", 10 * n), called("hook\x1b[31m", n, "nf")] + (
            [called("new_one", 7)] if n == 3 else []
        )
        run = make_run(rows, name=str(n), host=f"host{n}", missed={"link_misses": n}, seconds=1.0)
        run.save(tmp_path / f"{n}.jsonl.gz")
    return [str(path) for path in sorted(tmp_path.iterdir())]


def test_text(runs: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["merge", *runs, runs[0]]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["CALLS", "RATE/S", "SHARE", "ON", "ATTACHED", "FUNCTION"]
    assert lines[1].split() == ["60", "20.0", "82.2%", "3", "3", "of", "3", "vfs_read"]
    assert lines[2].split() == ["7", "7.0", "9.6%", "1", "1", "of", "3", "new_one"]
    assert lines[3].endswith("hook\\x1b[31m [nf]")
    assert "3 rows of 3 runs on 3 hosts, 3.00 s in all" in lines
    assert "  host3 (6.12.1): 1 run, 3 of 3 functions attached" in lines
    assert "missed: 6 link misses" in lines
    assert lines[-1] == f"note: {runs[0]} is the same run as {runs[0]}: it counts once"


def test_json(runs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a directory."""
    assert command(["merge", str(tmp_path), "--json", "--top", "2"]) == 0
    found = list(map(json.loads, capsys.readouterr().out.splitlines()))
    assert [one["type"] for one in found] == ["function"] * 2 + ["run"] * 3 + ["merge"]
    assert found[0] == {
        "type": "function", "function": "vfs_read", "module": "", "calls": 60, "rate": 20.0, "share": 0.821918,
        "runs": 3, "hosts": 3, "attached_hosts": 3,
    }  # fmt: skip
    assert [one["report"]["missed"]["link_misses"] for one in found[2:5]] == [1, 2, 3]
    assert found[-1]["missed"] == {"link_misses": 6}
    assert (found[-1]["runs"], found[-1]["hosts"], found[-1]["seconds"]) == (3, 3, 3.0)


def test_csv(runs: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["merge", *runs, "--csv"]) == 0
    out, err = capsys.readouterr()
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [(row["function"], row["calls"]) for row in rows][:2] == [("vfs_read", "60"), ("new_one", "7")]
    assert "3 runs on 3 hosts" in err


def test_other_commands_as_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    group = {
        "type": "group", "count": 2, "error": "ENOSPC", "first": "b", "path": ["a", "b"], "is_cut": True,
        "outcome": "returned", "end": "a", "end_error": "EIO",
    }  # fmt: skip
    stack = {"type": "stack", "function": "b", "module": "m", "frames": ["a", "b"], "calls": 4}
    make_run([group], command="errors").save(tmp_path / "errors")
    make_run([stack], command="stacks").save(tmp_path / "stacks")
    make_run([timed("a", {10: 5}, total=4000, longest=900)], command="latency").save(tmp_path / "latency")
    for name, expected in [
        ("errors", ["2", "1", "1", "of", "1", "ENOSPC", "returned", "as", "EIO", "…", ">", "a", ">", "b"]),
        ("stacks", ["4", "100.0%", "1", "1", "of", "1", "a", ">", "b"]),
        ("latency", ["5", "4.00", "µs", "800", "ns", "706", "ns", "862", "ns", "897", "ns", "900", "ns"]),
    ]:
        assert command(["merge", str(tmp_path / name)]) == 0
        assert capsys.readouterr().out.splitlines()[1].split()[: len(expected)] == expected


def test_errors_are_sentences(runs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "wrong").write_text("wrong")
    for words, status, says in [
        ([str(tmp_path / "none")], 1, "none: No such file or directory"),
        ([str(tmp_path / "empty")], 2, "holds no files"),
        (["--", *runs, "--top"], 2, "options stand before the `--`"),
        ([runs[0], str(tmp_path / "wrong")], 1, "is empty, or cut off in its first line"),
        ([], 2, "Missing argument"),
    ]:
        assert command(["merge", *words]) == status
        assert says in capsys.readouterr().err
