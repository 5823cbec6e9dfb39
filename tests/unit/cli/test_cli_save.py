"""`--save`: every measuring command saves what `--json` prints, whole or not at all, whatever happens to its output."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import multiprobe as mp
from fake_kernel import PROFILES, FakeKernel
from multiprobe.cli.main import run
from multiprobe.cli.measuring import _watch_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .conftest import FakeWorld


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeKernel]:
    """A kernel in which vfs_read is called, and fails, while something is measured."""
    (tmp_path / "kernel").mkdir()
    with FakeKernel(tmp_path / "kernel", next(iter(PROFILES.values()))) as made:

        def watch(*arguments: object) -> None:
            for _ in range(3):
                made.fire("vfs_read", 1, 2, 3, 4, returned=-5)
            _watch_until(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr("multiprobe.cli.measuring._watch_until", watch)
        yield made


COMMANDS = {
    "count": ["count", "vfs_*", "no_such_function"],
    "count --return": ["count", "vfs_*", "--return"],
    "latency": ["latency", "vfs_read", "vfs_write"],
    "latency --by": ["latency", "vfs_read", "--by", "process", "--self"],
    "errors": ["errors", "vfs_read", "vfs_write"],
    "errors --each": ["errors", "vfs_read", "--each", "--deny", "EAGAIN"],
    "graph": ["graph", "vfs_read", "vfs_write"],
    "stacks": ["stacks", "vfs_read", "--time"],
    "trace": ["trace", "vfs_read"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_saves_what_json_prints(
    name: str, fake: FakeKernel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, line = tmp_path / "run.jsonl.gz", COMMANDS[name]
    assert run([*line, "--json", "--duration", "0.05", "--save", str(path)]) == 0
    *rows, report = map(json.loads, capsys.readouterr().out.splitlines())
    saved = mp.Run.load(path)
    assert saved.rows == rows
    assert rows or line[0] in ("errors", "trace"), "events of the fake kernel aren't read: see the tests of these"
    assert saved.figures == report
    assert saved.command == line[0]
    assert saved.arguments == (*line, "--json", "--duration", "0.05", "--save", str(path))
    assert saved.report is not None
    assert len(saved.attached) == saved.report.attached > 0
    assert saved.settings["when"] in ("entry", "return", "session")


def test_settings_are_what_rows_depend_on(fake: FakeKernel, tmp_path: Path) -> None:
    found = []
    for number, line in enumerate(COMMANDS.values()):
        run([*line, "--duration", "0", "--save", str(tmp_path / f"{number}")])
        found.append((line[0], mp.Run.load(tmp_path / f"{number}").settings))
    assert found[0] == ("count", {"when": "entry", "scope": "system"})
    assert found[1] == ("count", {"when": "return", "scope": "system"})
    assert found[3] == ("latency", {"when": "session", "scope": "system", "by": "process", "self": True})
    assert found[5][1]["deny"] == ["EAGAIN"]
    assert found[7][1]["time"] is True


def test_the_clocks_and_the_command(world: FakeWorld, tmp_path: Path) -> None:
    path = tmp_path / "run"
    assert run(["count", "tcp_*", "--save", str(path), "--command-only", "--", "sleep", "0.1"]) == 0
    saved = mp.Run.load(path)
    assert 0.1 <= saved.seconds < 60
    assert 0.1e9 <= saved.end.monotonic_ns - saved.start.monotonic_ns < 60e9
    assert saved.end.wall_ns - saved.start.wall_ns == saved.end.monotonic_ns - saved.start.monotonic_ns
    assert saved.figures["command"]["arguments"] == ["sleep", "0.1"]  # type: ignore[index]
    assert saved.has_command
    assert saved.arguments[-3:] == ("--", "sleep", "0.1")
    assert saved.settings["scope"] == "process and children"
    assert saved.host.kernel == os.uname().release


def test_top_does_not_shorten_a_saved_run(world: FakeWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["count", "tcp_*", "-d", "0", "--json", "--top", "1", "--save", str(tmp_path / "run")]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    saved = mp.Run.load(tmp_path / "run")
    assert [row["calls"] for row in saved.rows] == [30, 10]
    assert ("tcp_diag", "tcp_diag_dump") in saved.attached, "it was attached, though never called"


def test_a_disk_that_is_full_is_an_error_after_the_results(
    world: FakeWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(_fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    path = tmp_path / "run"
    path.write_text("old")
    assert run(["count", "tcp_*", "-d", "0", "--save", str(path)]) == 1
    out, err = capsys.readouterr()
    assert "40 calls of 2 functions" in out
    assert err == f"multiprobe: {path}: No space left on device\n"
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_ctrl_c_while_saving_leaves_the_old_file(
    world: FakeWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_fd: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    (tmp_path / "run").write_text("old")
    assert run(["count", "tcp_*", "-d", "0", "--save", str(tmp_path / "run")]) == 130
    assert (tmp_path / "run").read_text() == "old"
    assert [one.name for one in tmp_path.iterdir()] == ["run"]


def test_a_run_is_saved_though_nobody_reads_the_output(
    world: FakeWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_lines: object, **_options: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("multiprobe.cli.results.Results.table", broken)
    monkeypatch.setattr("multiprobe.cli.main._drop_output", lambda: 141)
    assert run(["count", "tcp_*", "-d", "0", "--save", str(tmp_path / "run")]) == 141
    assert len(mp.Run.load(tmp_path / "run").rows) == 2


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("/dev/null", "no regular file"),
        ("/no/such/directory/run", "cannot write"),
        ("--json", "expected a file"),
        ("/proc/self/comm", "cannot"),
    ],
)
def test_a_file_that_cannot_be_replaced_is_refused_at_once(
    world: FakeWorld, file: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["count", "tcp_*", "-d", "0", f"--save={file}"]) == 2
    assert says in capsys.readouterr().err
    assert world.attachments == []


def test_zstd_that_is_not_installed_is_said_at_once(
    world: FakeWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("multiprobe.cli.options._has_zstd", lambda: False)
    assert run(["count", "tcp_*", "-d", "0", "--save", str(tmp_path / "a.zst")]) == 5
    assert "pip install 'multiprobe[zstd]'" in capsys.readouterr().err
    assert world.attachments == []


def test_commands_without_save_import_nothing_of_it() -> None:
    code = (
        "import sys\nfrom multiprobe.cli.group import parse\nparse(['count', 'tcp_*'])\n"
        "print(*(name for name in sys.modules if name.startswith('multiprobe.runs')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
