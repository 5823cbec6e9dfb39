"""Results and COMMAND's own output have streams of their own; standard streams may be closed or missing."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from fake_kernel import LIKE_6_12, FakeKernel
from multiprobe.cli.main import run

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import FakeWorld

SAYS = ["--", "sh", "-c", "echo said; echo told >&2"]
FORMS = [[], ["--json"], ["--csv"]]


def test_json_is_apart_from_what_the_command_prints(world: FakeWorld, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["count", "tcp_*", "--json", *SAYS]) == 0
    out, err = capfd.readouterr()
    assert [json.loads(line)["type"] for line in out.splitlines()] == ["function", "function", "report"]
    assert sorted(line for line in err.splitlines() if line in ("said", "told")) == ["said", "told"]


def test_csv_is_apart_from_what_the_command_prints(world: FakeWorld, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["count", "tcp_*", "--csv", *SAYS]) == 0
    out, err = capfd.readouterr()
    assert [row["function"] for row in csv.DictReader(out.splitlines())] == ["tcp_recvmsg", "tcp_sendmsg"]
    assert "said" in err.splitlines()


def test_text_leaves_the_commands_streams_alone(world: FakeWorld, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["count", "tcp_*", *SAYS]) == 0
    out, err = capfd.readouterr()
    assert "said" in out.splitlines()
    assert "said" not in err


@pytest.mark.parametrize("form", FORMS)
def test_a_file_has_the_results_and_nothing_else(
    form: list[str], world: FakeWorld, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "results"
    file.write_text("what was there before\n" * 100)
    assert run(["count", "tcp_*", *form, "-o", str(file), *SAYS]) == 0
    out, err = capfd.readouterr()
    assert (out, "told" in err) == ("said\n", True)
    text = file.read_text()
    assert "tcp_recvmsg" in text
    assert "said" not in text.splitlines()
    assert "before" not in text
    if form == ["--json"]:
        assert json.loads(text.splitlines()[-1])["command"]["status"] == 0


@pytest.mark.parametrize("form", FORMS)
def test_a_file_that_is_full_is_an_error(form: list[str], world: FakeWorld, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["count", "tcp_*", *form, "-d", "0", "--output", "/dev/full"]) == 1
    assert capfd.readouterr().err.endswith("multiprobe: /dev/full: No space left on device\n")


@pytest.mark.parametrize(
    "words",
    [
        ["count", "vfs_read", "--html", "/dev/full"],
        ["latency", "vfs_read", "--heatmap", "/dev/full"],
        ["graph", "vfs_read", "--perfetto", "/dev/full"],
        ["graph", "vfs_read", "--flame", "/dev/full"],
        ["stacks", "vfs_read", "--flame", "/dev/full"],
        ["trace", "vfs_read", "-o", "/dev/full"],
        ["inspect", "vfs_read", "-o", "/dev/full"],
        ["functions", "vfs_read", "-o", "/dev/full"],
        ["doctor", "-o", "/dev/full"],
    ],
)
def test_what_can_not_be_written_is_named(words: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    more = ["-d", "0"] if words[0] not in ("inspect", "functions", "doctor") else []
    with FakeKernel(tmp_path, LIKE_6_12), pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.geteuid", lambda: 0)
        assert run([*words, *more]) == 1
    assert "multiprobe: /dev/full: No space left on device\n" in capfd.readouterr().err


def test_a_run_is_not_saved_over_what_is_printed(world: FakeWorld, tmp_path: Path) -> None:
    """A file is replaced as a whole: what standard output wrote to it would be lost."""
    for target in ("/dev/stdout", str(tmp_path / "results")):
        with open(tmp_path / "results", "w") as out:
            words = [sys.executable, "-m", "multiprobe", "count", "x", "-d", "0", "--save", target]
            done = subprocess.run(words, stdout=out, stderr=subprocess.PIPE, text=True)
        assert (done.returncode, "is a standard stream" in done.stderr) == (2, True), done.stderr
    piped = subprocess.run([*words[:-1], "/dev/stdout"], capture_output=True, text=True)
    assert (piped.returncode, "is no regular file" in piped.stderr) == (2, True), piped.stderr


CLOSED = """
import multiprobe as mp, os, sys
os.geteuid = lambda: 0  # the kernel is a fake, and takes no rights
sys.path[:0] = {path!r}
from cli.conftest import FakeWorld, _FakeKernel
from multiprobe.cli.main import run
world = FakeWorld()
mp.Kernel, mp.attach = (lambda: _FakeKernel(world)), world.attach
sys.exit(run({words!r}))
"""


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (1, 2), (0, 1, 2)])
def test_closed_streams(closed: tuple[int, ...], form: list[str], tmp_path: Path) -> None:
    """Nothing of ours gets their numbers, and the command has streams that it can write to."""
    unit = os.path.dirname(os.path.dirname(__file__))
    seen = tmp_path / "seen"
    script = f'echo said; echo told >&2; seen=$(readlink /proc/$$/fd/[012]); echo "$seen" >{seen}'
    words = ["count", "tcp_*", *form, "--", "sh", "-c", script]
    close = " ".join(f"{fd}>&-" for fd in closed)
    done = subprocess.run(
        ["sh", "-c", f'"$@" {close}', "sh", sys.executable, "-c", CLOSED.format(path=[unit], words=words)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "internal error" not in done.stderr
    if 1 not in closed:
        assert "tcp_recvmsg" in done.stdout
    links = seen.read_text().splitlines()
    assert len(links) == 3
    for fd in closed:
        assert links[fd] == "/dev/null" or (fd == 1 and form and 2 not in closed), (fd, links)


def test_streams_that_are_missing(world: FakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """As under pythonw, or a service that has set them to None."""
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    assert run(["count", "tcp_*", "-d", "0"]) == 0
    assert run(["count", "tcp_*", "-d", "never"]) == 2
