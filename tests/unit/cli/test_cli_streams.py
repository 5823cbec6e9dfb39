"""Results and COMMAND's own output have streams of their own; standard streams may be closed or missing."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

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


def test_a_file_that_is_full_is_an_error(world: FakeWorld, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["count", "tcp_*", "-d", "0", "--output", "/dev/full"]) == 1
    assert "No space left on device" in capfd.readouterr().err


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
