"""Nasty names through the commands that measure nothing: saved runs, merge, diff, binaries, inspect, messages."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import multiprobe as mp
from fake_kernel import LIKE_6_12, FakeKernel
from multiprobe.cli.main import run
from multiprobe.inspect.observed import ObservedLink, ObservedProgram
from multiprobe.inspect.overlap import MixRow, make_mix
from multiprobe.inspect.owners import Owner
from multiprobe.inspect.targets import Target
from multiprobe.names import decode_name
from nasty_names import NASTY, assert_harmless
from unit.binaries.elf_writer import Made, make_elf
from unit.runs.made_runs import called, make_run, timed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NAMES = [decode_name(raw) for raw, _ in NASTY]
SPELLED = [spelled for _, spelled in NASTY]
FORMS = [(), ("--json",), ("--csv",)]


class Said:
    """What a command printed: harmless, and on standard error no internal error."""

    def __init__(self, capfd: pytest.CaptureFixture[str]) -> None:
        self._capfd = capfd

    def __call__(self, *words: str, status: int | None = 0) -> str:
        found = run(words)
        sys.stdout.flush()
        out, err = self._capfd.readouterr()
        assert_harmless(err.encode())
        assert "internal error" not in err
        if status is not None:
            assert found == status, err
        return assert_harmless((out if "--csv" not in words else out.replace("\r\n", "\n")).encode())


@pytest.fixture
def said(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Said:
    monkeypatch.setenv("COLUMNS", "300")
    return Said(capfd)


def stack(name: str, n: int) -> Mapping[str, object]:
    return {"type": "stack", "function": name, "module": name, "frames": [name, name], "calls": n}


def group(name: str, n: int) -> Mapping[str, object]:
    return {
        "type": "group", "count": n, "error": "EIO", "first": name, "path": [name, name], "is_cut": False,
        "outcome": "handled", "end": name, "end_error": None,
    }  # fmt: skip


RUNS = {
    "count": [{**called(name, n, module=name), "name": name} for n, name in enumerate(NAMES, 1)],
    "latency": [timed(name, {9: 20 + n}, total=9000, longest=500, module=name) for n, name in enumerate(NAMES)],
    "stacks": [stack(name, n) for n, name in enumerate(NAMES, 1)],
    "errors": [group(name, n) for n, name in enumerate(NAMES, 1)],
}


@pytest.fixture(params=list(RUNS))
def saved(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """Two files of runs, of hosts with nasty names."""
    rows: Sequence[Mapping[str, object]] = RUNS[request.param]
    paths = []
    for n, host in enumerate(NAMES[2:4]):
        settings = {"by": "process"} if request.param == "count" else {}
        one = make_run(
            rows, name=f"run {n}", command=request.param, host=host, skipped={NAMES[0]: NAMES[1]}, settings=settings
        )
        paths.append(str(tmp_path / f"run{n}.jsonl"))
        one.save(paths[-1])
    return paths


def test_saved_runs(saved: list[str]) -> None:
    for path in saved:
        assert_harmless(Path(path).read_bytes())
    assert len(mp.Run.load(saved[0]).rows) == len(NAMES)


@pytest.mark.parametrize("form", FORMS)
def test_merge(saved: list[str], form: tuple[str, ...], said: Said) -> None:
    out = said("merge", *saved, "--top", "0", *form)
    if form != ("--json",):
        assert all(spelled.replace(r"\n", "\n" if form else r"\n")[:3] in out for spelled in SPELLED)
    else:
        assert len([json.loads(line) for line in out.splitlines()]) > len(NAMES)


@pytest.mark.parametrize("form", FORMS)
def test_diff(saved: list[str], form: tuple[str, ...], said: Said) -> None:
    out = said("diff", *saved, *form, status=None)
    if form == ("--json",):
        assert [json.loads(line)["type"] for line in out.splitlines()][-1] == "diff"


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_functions_of_a_binary(form: tuple[str, ...], tmp_path: Path, said: Said) -> None:
    """Of names, and of a file, that somebody else has chosen."""
    long = [f"f{n:02}".encode() + raw for n, (raw, _) in enumerate(NASTY)]
    placeholders = [f"f{n:02}" + "~" * len(raw) for n, (raw, _) in enumerate(NASTY)]
    data = make_elf([Made(one, n % 16) for n, one in enumerate(placeholders)])
    for one, name in zip(placeholders, long, strict=True):
        data = data.replace(one.encode(), name)
    for n, (raw, _) in enumerate(NASTY):
        folder = os.path.join(os.fsencode(tmp_path), b"%d " % n + raw.replace(b"/", b""))
        os.mkdir(folder)
        path = os.fsdecode(os.path.join(folder, b"x" + raw.replace(b"/", b"").replace(b":", b"")))
        Path(path).write_bytes(data)
        out = said("functions", f"{path}:*", *form)
        found = [json.loads(line)["function"] for line in out.splitlines()] if form else out.splitlines()[1:]
        assert len(found) == len(NASTY)
        said("functions", "--why", f"{path}:f00*", *form, status=2)
        said("functions", "--why", f"{path}:{decode_name(long[n])}", *form, status=None)


@pytest.mark.parametrize(
    "words", [("inspect",), ("inspect", "--json"), ("inspect", "--mix", "x"), ("inspect", "--mix", "x", "--json")]
)
def test_inspect(words: tuple[str, ...], said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs and their owners."""
    links = []
    for n, name in enumerate(NAMES, 1):
        target = Target(name, name, 0xFFFFFFFF81000000 + 16 * n, 0, None, None, 7)
        program = ObservedProgram(n, name, "59f4a931744dcdc6", 0)
        owners = (Owner(7, name, 3),)
        links.append(ObservedLink(n, "kprobe", "entry", program, 1, (target,), 0, owners))
    rows = [MixRow(name, name, 0xFFFFFFFF81000000 + 16 * n) for n, name in enumerate(NAMES, 1)]
    monkeypatch.setattr("multiprobe.inspect.links", lambda **_: tuple(links))
    monkeypatch.setattr("multiprobe.inspect.mix", lambda *_a, **_k: make_mix(rows, links, keep_bare=5))
    out = said(*words)
    if "--json" in words:
        assert [json.loads(line) for line in out.splitlines()]
    else:
        assert all(spelled in out for spelled in SPELLED)


@pytest.mark.parametrize("name", [name for name in NAMES if name.strip()])
def test_messages_about_files_and_names(name: str, tmp_path: Path, said: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    path = os.path.join(tmp_path, "x" + name.replace("/", "_"))
    folder = path + "d"
    os.mkdir(folder)
    Path(path).write_text("no run\n")
    with FakeKernel(tmp_path, LIKE_6_12):
        said("merge", path, status=1)
        said("diff", path, folder, status=2)
        said("merge", folder + "/nothing", status=1)
        said("run", path + "/none", status=None)
        said("functions", f"{path}:x", status=None)
        said("functions", f"x{name}", status=None)
        said("count", f"x{name}", "-d", "0", status=None)
        said("count", "vfs_read", "-d", "0", "-o", folder, status=2)
        said("count", "vfs_read", "-d", "0", "--save", folder, status=2)
        said("count", "vfs_read", "--dry-run", "--kernel-files", folder, status=2)
        said("count", "vfs_read", "--", path, status=2)
        said("trace", "vfs_read", "-d", "0", "--filter", f"comm == {name}", status=None)
        said("trace", "vfs_read", "-d", "0", "--args", f"x{name}", status=None)
        said("latency", "vfs_read", "--by", name, status=2)
        said("inspect", f"x{name}", status=None)
        said(f"x{name}", status=2)
        said("completion", name, status=2)
