"""`-o FILE` of every command, in every form: the file has the results, COMMAND's output stays where it was."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest
from measured import patch_instruments

import multiprobe as mp
from fake_kernel import LIKE_6_12, FakeKernel
from multiprobe.cli import fleet as fleet_command
from multiprobe.cli.group import SECTIONS, commands
from multiprobe.cli.main import run
from multiprobe.hosts.outcome import Fleet, FleetHost
from multiprobe.runs.host import Host

if TYPE_CHECKING:
    from .conftest import FakeWorld

SAYS = ["--", "sh", "-c", "echo said; echo told >&2"]
FORMS = ("--json", "--csv", "--folded")
#: A command line of each command that prints results, without its COMMAND.
LINES = {
    "count": ["count", "vfs_*"],
    "trace": ["trace", "vfs_read"],
    "latency": ["latency", "vfs_*"],
    "errors": ["errors", "vfs_*"],
    "graph": ["graph", "vfs_*"],
    "stacks": ["stacks", "vfs_read"],
    "record": ["record", "vfs_*", "--until", "ret < 0"],
    "coverage": ["coverage", "vfs_*"],
    "merge": ["merge", "before.jsonl", "after.jsonl"],
    "diff": ["diff", "before.jsonl", "after.jsonl"],
    "functions": ["functions", "vfs_*"],
    "inspect": ["inspect"],
    "doctor": ["doctor"],
    "bench": ["bench", "memory", "vfs_*", "--runs", "1"],
    "fleet": ["fleet", "--scheduler", "tcp://head:8786", "count", "vfs_*"],
}
WITHOUT_RESULTS = {"run", "vm", "completion"}
"""What they print is the output of a script, of a command, or a script."""
MEASURING = list(SECTIONS["Measure"])
PATCHED = """
import os, pathlib
from fake_kernel import LIKE_6_12, FakeKernel
from multiprobe.cli.main import run
os.geteuid = lambda: 0
directory = pathlib.Path(sys.argv[1])
directory.mkdir()
with FakeKernel(directory, LIKE_6_12):
    sys.exit(run(sys.argv[2:]))
"""
"""A program that runs a command line on a fake kernel."""
CHANGING = re.compile(r"\d[\d,.]*( ?(ns|µs|ms|s))?")
"""What two runs of the same command line differ in."""


@pytest.fixture(autouse=True, scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with FakeKernel(tmp_path_factory.mktemp("fake"), LIKE_6_12), pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.geteuid", lambda: 0)
        yield


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """A working directory with two saved runs, which are also those of the hosts of a fleet."""
    monkeypatch.chdir(tmp_path)
    hosts = tuple(
        FleetHost(Host(name=name), "tcp://", "measured", path=f"{name}.jsonl") for name in ("before", "after")
    )
    monkeypatch.setattr(fleet_command, "fleet", lambda line, **_: Fleet(tuple(line), hosts))
    for name in ("before.jsonl", "after.jsonl"):
        assert run(["count", "vfs_*", "-d", "0", "--save", name]) == 0
    capfd.readouterr()


@mp.program
def nothing(ctx: mp.Context) -> None:
    pass


@pytest.fixture(autouse=True)
def attached(kernel: None) -> Iterator[None]:
    """Something for `inspect` to show."""
    with mp.attach(nothing, ["vfs_read"]):
        yield


def options_of(name: str) -> set[str]:
    command = commands.get_command(click.Context(commands), name)
    assert command is not None
    return {option for param in command.params for option in param.opts}


CELLS = [(name, form) for name in LINES for form in ("", *FORMS) if not form or form in options_of(name)]
cells = pytest.mark.parametrize(("name", "form"), CELLS)


def line_of(name: str, form: str, *options: str) -> list[str]:
    command, *words = LINES[name]
    return [command, *([form] if form else []), *options, *words]


def says_of(name: str) -> list[str]:
    return SAYS if name in MEASURING else []


def check_json(text: str) -> None:
    assert [json.loads(line) for line in text.splitlines()]


def check_csv(text: str) -> None:
    rows = list(csv.reader(text.splitlines()))
    assert {len(row) for row in rows} <= {len(rows[0])} if rows else True


def check_folded(text: str) -> None:
    assert all(re.fullmatch(r".+ \d+", line) for line in text.splitlines())


def check_text(text: str) -> None:
    assert not text.startswith("{")


CHECKS: dict[str, Callable[[str], None]] = {
    "": check_text,
    "--json": check_json,
    "--csv": check_csv,
    "--folded": check_folded,
}


def test_no_command_is_forgotten() -> None:
    every = {name for section in SECTIONS.values() for name in section}
    assert LINES.keys() | WITHOUT_RESULTS == every
    assert {name for name in every if "--output" in options_of(name)} == LINES.keys()
    assert all({"--json", "--csv"} <= options_of(name) for name in MEASURING)


@cells
def test_standard_output_has_the_results(name: str, form: str, capfd: pytest.CaptureFixture[str]) -> None:
    """And of a machine-readable form nothing else: what COMMAND prints is on standard error then."""
    assert run([*line_of(name, form), *says_of(name)]) == 0
    out, err = capfd.readouterr()
    if name in MEASURING:
        assert ("said" in err.splitlines(), "said" in out.splitlines()) == (bool(form), not form)
    if form:
        CHECKS[form](out)
    else:
        assert out


@cells
def test_a_file_has_what_standard_output_had(
    name: str, form: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run([*line_of(name, form), *says_of(name)]) == 0
    printed = capfd.readouterr().out.replace("said\n", "", 1)
    file = tmp_path / "results"
    file.write_text("what was there before\n" * 1000)
    assert run([*line_of(name, form, "-o", str(file)), *says_of(name)]) == 0
    out, err = capfd.readouterr()
    assert out == ("said\n" if name in MEASURING else "")
    assert ("told" in err.splitlines()) == (name in MEASURING)
    CHECKS[form](file.read_text())
    assert CHANGING.sub("N", file.read_text()) == CHANGING.sub("N", printed)
    assert file.read_text() or form in ("--csv", "--folded")


@pytest.mark.parametrize(("name", "form"), [cell for cell in CELLS if cell[0] in MEASURING])
def test_all_rows_are_in_the_file(
    name: str, form: str, world: FakeWorld, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Names with commas, quotes and control characters among them."""
    patch_instruments(world, monkeypatch)
    words = [name, "*", "-d", "0", *([form] if form else [])]
    assert run(words) == 0
    printed = capfd.readouterr().out
    assert run([*words, "-o", "results"]) == 0
    assert capfd.readouterr().out == ""
    found = Path("results").read_text()
    CHECKS[form](found)
    assert found == printed
    assert len(found.splitlines()) > 3


@cells
def test_a_file_that_becomes_full_is_named(name: str, form: str, capfd: pytest.CaptureFixture[str]) -> None:
    status = run([*line_of(name, form, "-o", "/dev/full"), *says_of(name)])
    err = capfd.readouterr().err
    is_empty = form in ("--csv", "--folded") and status == 0
    assert is_empty or (status, err.splitlines()[-1]) == (1, "multiprobe: /dev/full: No space left on device"), err


@cells
@pytest.mark.parametrize("file", ["nosuch/results", ".", "", "-"])
def test_a_file_that_can_not_be_written_is_found_at_once(
    name: str, form: str, file: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run([*line_of(name, form, "-o", file), *says_of(name)]) == 2
    out, err = capfd.readouterr()
    assert out == "", "COMMAND was not started"
    assert "--output" in err
    assert not (tmp_path / "nosuch").exists()


@pytest.mark.parametrize("form", ["", "--json", "--csv"])
@pytest.mark.parametrize("name", MEASURING)
def test_a_page_does_not_change_the_results(
    name: str, form: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run([*line_of(name, form, "-o", "results", "--html", "page.html"), *says_of(name)]) == 0
    assert capfd.readouterr().out == "said\n"
    CHECKS[form]((tmp_path / "results").read_text())
    page = (tmp_path / "page.html").read_text()
    assert page.startswith("<!DOCTYPE html>")
    assert page.endswith("</html>\n")


def test_two_options_do_not_write_to_the_same_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "link").symlink_to("results")
    for words in (["-o", "results", "--html", "results"], ["--save", "./results", "--flame", "link"]):
        assert run(["stacks", "vfs_read", *words, *SAYS]) == 2
        out, err = capfd.readouterr()
        assert (out, "name the same file" in err) == ("", True), err
    assert not (tmp_path / "results").exists()
    assert run(["stacks", "vfs_read", "-o", "/dev/null", "--html", "/dev/null", "-d", "0"]) == 0


def test_a_file_that_is_standard_output(tmp_path: Path) -> None:
    """COMMAND does not write into the results either."""
    script = f"import sys\nsys.path[:0] = {sys.path!r}\n{PATCHED}"
    words = ["count", "vfs_read", "--json", "-o", "/dev/stdout", *SAYS]
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "fake"), *words], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["type"] for line in done.stdout.splitlines()][-1] == "report"
    assert "said" in done.stderr.splitlines()


def test_a_plan_goes_to_the_file_and_no_other_is_written(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ["stacks", "vfs_read", "--dry-run", "-o", "plan", "--html", "page.html", "--flame", "flame.svg"]
    assert run(words) == 0
    out, err = capfd.readouterr()
    assert (out, err.splitlines()[-1]) == (
        "",
        "note: --dry-run measures nothing, so nothing is done for --html, --flame",
    )
    assert "1 function" in (tmp_path / "plan").read_text()
    assert not (tmp_path / "page.html").exists()
    assert not (tmp_path / "flame.svg").exists()
