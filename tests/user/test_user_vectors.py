"""Functions that begin with an instruction of AVX, AVX-512, FMA or BMI: refused where a probe does harm, only there.

The program prints what its functions left in the registers, which is compared with what they leave unprobed.
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


@pytest.fixture
def vectors(compiled: Callable[..., Path], tmp_path: Path) -> Path:
    """The program, at addresses that are always the same: it prints some."""
    return compiled("vectors.c", tmp_path / "vectors", "-no-pie")


def outputs(path: Path) -> dict[str, str]:
    """What each function leaves; "none" where the processor does not have the instruction."""
    lines = subprocess.run([path], capture_output=True, text=True, check=True).stdout.splitlines()
    return dict(line.split(" ", 1) for line in lines)


def output(path: Path, name: str) -> str:
    """What one function leaves; how it ended, if the program was killed."""
    ended = subprocess.run([path, name], capture_output=True, text=True, check=False)
    return ended.stdout.strip().partition(" ")[2] if not ended.returncode else f"ended with {ended.returncode}"


def kinds(binary: mp.Binary) -> dict[str, Kind | None]:
    data = Path(binary.path).read_bytes()
    return {one.name: kind_of(data[one.file_offset :][:15]) for one in binary.functions("v_*")}


def test_what_is_attached_computes_the_same(vectors: Path) -> None:
    binary = mp.Binary(vectors)
    before = outputs(vectors)
    planned = mp.plan(binary.functions("v_*")).report
    with mp.attach(count, binary.functions("v_*")) as attachment:
        assert outputs(vectors) == before
        report = attachment.report
        found = dict(zip(map(str, attachment.functions), attachment.totals(calls), strict=True))
    assert planned.skipped == report.skipped
    assert planned.attached == report.attached + len(report.failed)
    failed = {one.function for one in report.failed}
    assert {name for name, n in found.items() if n != 1} == failed
    assert failed <= {"v_ss_other"}  # with the prefix of a segment, which no kernel takes
    assert {one.code for one in report.skipped} <= {"vector"}


def test_what_is_refused_would_compute_something_else(vectors: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One trial speaks for all instructions of a kind. Without the refusals, functions are right where it was."""
    binary = mp.Binary(vectors)
    outcomes = try_kinds(frozenset(Kind))
    before = outputs(vectors)
    monkeypatch.setattr(attach, "harmful_probes", no_harm)
    with mp.attach(count, binary.functions("v_*")) as attachment:
        after = {name: output(vectors, name) for name in before}
        hits = dict(zip(map(str, attachment.functions), attachment.totals(calls), strict=True))
    for name, kind in kinds(binary).items():
        assert kind is not None
        if before[name] == "none":
            assert after[name] == "none" or not outcomes[kind].is_right
        elif name != "v_ss_other":
            is_right = after[name] == before[name] and hits[name] == 1
            assert (name, is_right) == (name, outcomes[kind].is_right)


def no_harm(_functions: object) -> Mapping[int, object]:
    return {}


def test_the_trial_covers_every_kind(vectors: Path) -> None:
    """Where the processor has the instructions, the program tries all that it can."""
    found = set(kinds(mp.Binary(vectors)).values())
    assert found == set(Kind) - {Kind.NOP5, Kind.APX}
    assert set(try_kinds(frozenset(Kind))) == set(Kind) - {Kind.APX}
