"""Functions by the instruction that they begin with: refused where a probe would change them, and only there.

The programs print what their functions left in the registers, which is compared with what they leave unprobed.
"""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

import multiprobe as mp
from multiprobe.binaries.instructions import Kind, kind_of
from multiprobe.instruments.count import calls, count
from multiprobe.links import attach
from multiprobe.links.mechanisms.trial import try_kinds

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="this is about x86-64")
PREFIXED = {"v_ss_other", "e_cs", "e_lock", "e_notrack"}
"""With LOCK or the prefix of a segment, which no kernel takes."""


@pytest.fixture(params=["vectors", "entries"])
def path(request: pytest.FixtureRequest, compiled: Callable[..., Path], tmp_path: Path) -> Path:
    """A program, at addresses that are always the same: it prints some."""
    return compiled(f"{request.param}.c", tmp_path / request.param, "-no-pie")


def functions(path: Path) -> mp.UserFunctionSet:
    return mp.Binary(path).functions("v_*", "e_*")


def outputs(path: Path) -> dict[str, str]:
    """What each function leaves; "none" where the processor does not have the instruction."""
    lines = subprocess.run([path], capture_output=True, text=True, check=True).stdout.splitlines()
    return dict(line.split(" ", 1) for line in lines)


def output(path: Path, name: str) -> str:
    """What one function leaves; how it ended, if the program was killed."""
    ended = subprocess.run([path, name], capture_output=True, text=True, check=False)
    return ended.stdout.strip().partition(" ")[2] if not ended.returncode else f"ended with {ended.returncode}"


def kinds(path: Path) -> dict[str, Kind | None]:
    data = path.read_bytes()
    return {one.name: kind_of(data[one.file_offset :][:15]) for one in functions(path)}


@pytest.mark.parametrize("when", ["entry", "return"])
def test_what_is_attached_computes_the_same(path: Path, when: str) -> None:
    before = outputs(path)
    planned = mp.plan(functions(path), when=when).report
    with mp.attach(count, functions(path), when=when) as attachment:
        assert outputs(path) == before
        report = attachment.report
        found = dict(zip(map(str, attachment.functions), attachment.totals(calls), strict=True))
    assert planned.skipped == report.skipped
    assert (planned.attached, planned.failed) == (report.attached, report.failed)
    failed = {one.function for one in report.failed}
    assert {name for name, n in found.items() if n != 1} == failed
    assert failed <= PREFIXED
    assert {one.code for one in report.skipped} <= {"vector", "instruction"}


def test_what_is_refused_would_not_be_right(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One trial speaks for all instructions of a kind. Without the refusals, functions are right where it was."""
    outcomes = try_kinds(frozenset(Kind))
    before = outputs(path)
    is_right: dict[str, bool] = {}
    monkeypatch.setattr(attach, "_harmful_probes", no_harm)
    with mp.attach(count, functions(path)) as attachment:
        names = list(map(str, attachment.functions))
        untold = {one.function for one in attachment.report.failed} & PREFIXED
        untold |= {name for name in names if before[name] == "none"}
        for index, name in enumerate(names):
            if name not in untold:
                n_before = attachment.totals(calls)[index]
                after = output(path, name)
                is_right[name] = (after, attachment.totals(calls)[index] - n_before) == (before[name], 1)
    of_kinds = kinds(path)
    assert is_right == {name: (kind := of_kinds[name]) is None or outcomes[kind].is_right for name in is_right}


def no_harm(_functions: object) -> Mapping[int, object]:
    return {}


def test_every_kind_is_tried(path: Path) -> None:
    found = set(kinds(path).values())
    of_entries = {None, Kind.EXCHANGE, Kind.PUSHF, Kind.SYSCALL, Kind.PAUSE, Kind.REPEAT}
    assert found == (of_entries if path.name == "entries" else set(Kind) - of_entries - {Kind.NOP5, Kind.APX})
    assert set(try_kinds(frozenset(Kind))) == set(Kind) - {Kind.APX}
