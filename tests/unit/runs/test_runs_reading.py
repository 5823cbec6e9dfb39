"""`mp.Run`: what was saved is read back; what was cut off, changed, damaged or made to do harm ends in a sentence."""

from __future__ import annotations

import dataclasses
import gzip
import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from made_runs import called, make_run

import multiprobe as mp
from multiprobe.errors import DataError, NotSupportedError, UsageError, errno_name, errno_number
from multiprobe.runs import compression, reading
from multiprobe.runs.host import Host, hash_machine_id, this_host

needs_zstd = pytest.mark.skipif(not compression.HAS_ZSTD, reason="zstd is not installed")
SUFFIXES = ["jsonl", "jsonl.gz", pytest.param("jsonl.zst", marks=needs_zstd)]
ROWS = [called("vfs_read", 7), called("nf_hook", 5, "nf"), called("évil\n\ud800", 1)]


@pytest.fixture(params=["json", "orjson"], autouse=True)
def decoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both decoders of rows, each in every test: they refuse the same lines."""
    if request.param == "orjson":
        pytest.importorskip("orjson")
    else:
        monkeypatch.setattr(reading, "find_spec", lambda _: None)
    monkeypatch.setattr(reading, "_decode_many", reading._many_decoder())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.jsonl"


def saved(path: Path, rows: list[dict[str, object]] | None = None) -> list[bytes]:
    """A run is saved there. Returns its lines."""
    make_run(ROWS if rows is None else rows, skipped={"schedule": "it is notrace"}).save(path)
    return path.read_bytes().splitlines(keepends=True)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_saved_is_read_back(tmp_path: Path, suffix: str) -> None:
    run = make_run(ROWS[:2], skipped={"schedule": "it is notrace"}, missed={"link_misses": 3})
    path = tmp_path / f"a.{suffix}"
    run.save(path)
    again = mp.Run.load(path)
    assert again.rows == run.rows
    assert set(again.attached) == set(run.attached)
    assert again.report == run.report
    assert again.figures == run.figures
    known = {field.name: getattr(run, field.name) for field in dataclasses.fields(run)}
    known |= {"path": str(path), "_report": again._report, "attached": again.attached}
    assert again == mp.Run(**known)


def test_compressed_files_are_compressed(tmp_path: Path) -> None:
    make_run([called(f"f{n}", n) for n in range(1000)]).save(tmp_path / "a.gz")
    text = gzip.decompress((tmp_path / "a.gz").read_bytes())
    assert len(text) > 5 * (tmp_path / "a.gz").stat().st_size
    assert json.loads(text.splitlines()[0])["type"] == "run"


def test_the_report_is_the_same_object(path: Path) -> None:
    report = mp.Report(
        4,
        attached=2,
        skipped=(mp.Refusal("schedule", "not_traceable", "it is notrace"),),
        failed=(mp.Failure("tcp_bad", "kprobe_multi", 22, "why"), mp.Failure("x", "kprobe", 524, "why")),
        dropped=(mp.Drop("hot", "budget", "too hot", 1e6, 0.25, 1.5),),
        links=1,
        mechanisms={"kprobe_multi": 2},
        missed={"link_misses": 3},
        verified=(mp.Verified("a", "kprobe", 5, 5),),
        notes=("a note",),
        timings={"attach": 0.5},
        processes=3,
    )
    run = make_run(ROWS[:1])
    run = dataclasses.replace(run, _report=reading.zlib.compress(json.dumps(report.to_json()).encode()))
    run.save(path)
    assert mp.Run.load(path).report == report


def test_a_run_is_a_frozen_value() -> None:
    run = make_run(ROWS)
    with pytest.raises(dataclasses.FrozenInstanceError):
        run.command = "latency"  # type: ignore[misc]


def test_rows_convert_as_those_of_every_table(path: Path) -> None:
    pytest.importorskip("pyarrow")
    saved(path, ROWS[:2])
    assert mp.Run.load(path).rows.to_arrow().column("calls").to_pylist() == [7, 5]


# -- cut off -----------------------------------------------------------------------------------------------------------


def test_a_run_cut_off_anywhere_is_read_as_far_as_it_goes(path: Path) -> None:
    lines = saved(path)
    whole = b"".join(lines)
    first_row = len(b"".join(lines[:4]))
    for end in range(len(lines[0]), len(whole)):
        path.write_bytes(whole[:end])
        run = mp.Run.load(path)
        n_rows = max(0, whole[:end].count(b"\n") - 4) if end >= first_row else 0
        assert len(run.rows) == n_rows
        assert run.gap == f"cut off after {n_rows} row{'' if n_rows == 1 else 's'}"
        assert (run.report is None) == (end < len(b"".join(lines[:2])))
    for end in (0, 1, len(lines[0]) - 1):
        path.write_bytes(whole[:end])
        with pytest.raises(DataError, match="cut off in its first line"):
            mp.Run.load(path)


@pytest.mark.parametrize("suffix", SUFFIXES[1:])
def test_a_compressed_run_that_is_cut_off_is_read_as_far_as_it_goes(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    make_run([called(f"function_{n * 7919 % 10007}", n) for n in range(20_000)]).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    run = mp.Run.load(path)
    assert 1_000 < len(run.rows) < 19_000
    assert run.rows[0]["function"] == "function_0"
    assert run.gap == f"cut off after {len(run.rows):,} rows"


def test_a_whole_run_has_no_gap(path: Path) -> None:
    saved(path)
    assert mp.Run.load(path).gap == ""


def test_many_rows_are_all_read(path: Path) -> None:
    saved(path, [called(f"f{n}", n) for n in range(30_000)])
    run = mp.Run.load(path)
    assert [row["calls"] for row in run.rows] == list(range(30_000))
    assert len(run.attached) == 30_000


def test_an_old_run_lacks_fields(path: Path) -> None:
    path.write_text(
        '{"type":"run","schema":1,"id":"x","command":"count","later":[1]}\n{"type":"end","rows":0,"crc32":0}\n'
    )
    with pytest.raises(DataError, match="was changed"):
        mp.Run.load(path)
    path.write_text('{"type":"run","schema":0,"id":"x","command":"count","later":[1]}\n')
    run = mp.Run.load(path)
    assert (run.host, run.seconds, run.arguments, run.report, run.schema) == (Host(), 0.0, (), None, 0)


# -- changed, damaged, newer, hostile ----------------------------------------------------------------------------------


def test_an_edited_run_is_refused_and_says_what_helps(path: Path) -> None:
    lines = saved(path)
    path.write_bytes(b"".join(lines).replace(b'"calls":7', b'"calls":8'))
    with pytest.raises(
        DataError, match="was changed after it was written: its last line does not fit its lines"
    ) as found:
        mp.Run.load(path)
    assert "remove its last line" in found.value.hint
    path.write_bytes(b"".join([*lines[:-2], lines[-1]]))
    with pytest.raises(DataError, match="does not fit its rows"):
        mp.Run.load(path)
    path.write_bytes(b"".join(lines[:-2]))
    assert mp.Run.load(path).gap == "cut off after 2 rows"


def test_a_newer_schema_is_refused(path: Path) -> None:
    lines = saved(path)
    path.write_bytes(lines[0].replace(b'"schema":1', b'"schema":2').replace(b"0.1.0.dev0", b"9.9"))
    with pytest.raises(DataError, match=r"newer multiprobe \(9.9\): its schema is 2"):
        mp.Run.load(path)


@pytest.mark.parametrize(
    "text",
    [
        *(b"x\n", b"[]\n", b"{}\n", b"\0\0\n", b"\xff\xfe\n", b"null\n", b'{"type":"function"}\n', b"{" * 5000 + b"\n"),
        b"[" * 100_000 + b"\n",
        b'{"type":"run","schema":"1"}\n',
        b'{"type":"run","schema":-1}\n',
        b'{"type":"run","schema":1}\n',
        b'{"type":"run","schema":1,"id":"x"}\n',
        b'{"type":"run","schema":1,"id":"x","command":"count","host":7}\n',
        b'{"type":"run","schema":1,"id":"x","command":"count","host":{"cpus":-1}}\n',
        b'{"type":"run","schema":1,"id":"x","command":"count","seconds":1e999}\n',
        b'{"type":"run","schema":1,"id":"x","command":"count","seconds":NaN}\n',
        b'{"type":"run","schema":1,"id":"x","command":"nonsense"}\n',
    ],
)
def test_what_is_no_run_is_refused(path: Path, text: bytes) -> None:
    path.write_bytes(text)
    with pytest.raises(DataError, match=str(path)):
        mp.Run.load(path)


@pytest.mark.parametrize("line", [b"nonsense", b"[1]", b"", b'{"type":"function"', b'{"a":1},{"b":2}', b"[" * 10**5])
def test_a_bad_line_is_named(path: Path, line: bytes) -> None:
    lines = saved(path)
    path.write_bytes(b"".join([*lines[:5], line + b"\n", *lines[5:]]))
    with pytest.raises(DataError, match=r"line 6 is no JSON object"):
        mp.Run.load(path)


def test_rows_of_another_command_are_refused(path: Path) -> None:
    lines = saved(path)
    path.write_bytes(b"".join([*lines[:3], b'{"type":"stack"}\n', *lines[3:]]))
    with pytest.raises(DataError, match="rows that are none of count"):
        mp.Run.load(path)


def test_a_damaged_compressed_run_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    make_run([called(f"f{n * 7919 % 10007}", n) for n in range(1000)]).save(path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x55
    path.write_bytes(data)
    with pytest.raises(DataError):
        mp.Run.load(path)
    path.write_bytes(b"plain text")
    with pytest.raises(DataError, match="not compressed by gzip"):
        mp.Run.load(path)


@needs_zstd
def test_a_damaged_zstd_run_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zst"
    path.write_bytes(b"plain text")
    with pytest.raises(DataError, match="not compressed by zstd"):
        mp.Run.load(path)


def test_zstd_that_is_not_installed_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression, "HAS_ZSTD", False)
    for act in (lambda: make_run(ROWS).save(tmp_path / "a.zst"), lambda: mp.Run.load(tmp_path / "b.zst")):
        (tmp_path / "b.zst").write_bytes(b"x")
        with pytest.raises(NotSupportedError, match=r"zstd needs Python 3.14, or the package zstandard"):
            act()
    assert not (tmp_path / "a.zst").exists()


BOMB = """
import resource, sys, multiprobe as mp
resource.setrlimit(resource.RLIMIT_AS, (400 << 20, 400 << 20))
try:
    mp.Run.load(sys.argv[1])
except mp.DataError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b" " * (1 << 20), "a line is longer than 16 MiB"),
        (b'{"type":"function","function":"' + b"x" * (1 << 20) + b'"}\n', "holds more than 67,108,864 bytes"),
        (b'{"type":"attached","module":"","functions":["' + b"x" * (1 << 20) + b'"]}\n', "bytes of attached functions"),
    ],
)
def test_a_bomb_is_refused_in_bounded_memory(path: Path, content: bytes, says: str) -> None:
    """Half a GiB from half a MiB."""
    header = saved(path)[0]
    with open(path.with_suffix(".gz"), "wb") as file:
        file.write(gzip.compress(header))
        file.write(512 * gzip.compress(content))  # which is one file of many members
    assert path.with_suffix(".gz").stat().st_size < 2 << 20
    done = subprocess.run(
        [sys.executable, "-c", BOMB, path.with_suffix(".gz")], capture_output=True, text=True, check=False
    )
    assert says in done.stdout, done.stderr


def test_larger_runs_are_read_if_asked_to(path: Path) -> None:
    saved(path)
    with pytest.raises(DataError, match="more than 100 bytes"):
        mp.Run.load(path, max_bytes=100)
    assert len(mp.Run.load(path, max_bytes=100_000).rows) == 3
    for wrong in (0, -1, "x", None):
        with pytest.raises(UsageError, match="max_bytes"):
            mp.Run.load(path, max_bytes=wrong)  # type: ignore[arg-type]


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        mp.Run.load(tmp_path / "none")


# -- saving ------------------------------------------------------------------------------------------------------------


def test_a_failure_leaves_the_old_file_and_nothing_else(path: Path) -> None:
    saved(path)
    before = path.read_bytes()
    bad = dataclasses.replace(make_run(ROWS), rows=mp.Table([{"type": "function", "calls": object()}]))
    with pytest.raises(TypeError):
        bad.save(path)
    assert path.read_bytes() == before
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_a_full_disk_names_the_file(path: Path) -> None:
    """A limit on the size of files stands for it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError, match=str(path)) as found:
            make_run([called(f"f{n}", n) for n in range(1000)]).save(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert found.value.filename == str(path)
    assert list(path.parent.iterdir()) == []


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    target, link = tmp_path / "real" / "a.jsonl", tmp_path / "link.jsonl"
    target.write_text("old")
    link.symlink_to(target)
    saved(link)
    assert link.is_symlink()
    assert mp.Run.load(target).command == "count"


# -- hosts -------------------------------------------------------------------------------------------------------------


def test_the_machine_id_is_hashed() -> None:
    known = "0123456789abcdef0123456789abcdef"
    assert hash_machine_id(known) == hash_machine_id(known) != hash_machine_id(known[::-1])
    assert known not in hash_machine_id(known)
    assert len(hash_machine_id(known)) == 32
    assert hash_machine_id("") == ""


def test_this_host_says_what_it_is() -> None:
    host = this_host()
    assert host.kernel == Path("/proc/sys/kernel/osrelease").read_text().strip()
    assert host.boot_id == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert host.cpus >= 1


def test_errnos_are_read_back_by_name() -> None:
    for number in (*range(1, 134), *range(512, 532), 4000):
        assert errno_number(errno_name(number)) == number
    for name in ("", "errorcode", "__name__", "errno x", "ENONSENSE"):
        assert errno_number(name) == 0
