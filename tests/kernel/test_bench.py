"""`multiprobe bench` on a few functions: all rows are there. That nothing stays attached is for `conftest` to see."""

from __future__ import annotations

import json
import shutil

import pytest

import forked
import multiprobe as mp
from multiprobe.bench import hitting, memory
from multiprobe.bench.starting import PHASES

PATTERN = "tcp_send*"


def bench(*words: str) -> list[dict[str, object]]:
    """What the command prints, as a user runs it."""
    done = forked.run(["bench", *words, "--runs", "1", "--json"])
    assert done.returncode == 0, done.stderr
    first, *rest = map(json.loads, done.stdout.splitlines())
    assert first["type"] == "machine"
    failed = [line["note"] for line in rest if line["type"] == "note" and "left out" not in line["note"]]
    assert failed == []
    return [line for line in rest if line["type"] == "figure"]


def tools(*more: str) -> set[str]:
    """Ours, and those of `more` that are installed."""
    return {"multiprobe", *(name for name in more if shutil.which(name))}


@pytest.mark.once("7.3")
def test_attach() -> None:
    found = [one for one in bench("attach", PATTERN) if one["step"] != "find"]
    mechanisms = set(mp.Kernel().offers.label.split(", "))
    cases = {(one["way"], one["tool"], one["step"]) for one in found}
    for tool in ("multiprobe", "system calls"):
        assert {(way, tool, step) for way in mechanisms for step in ("attach", "detach")} <= cases
    assert {one["tool"] for one in found} - {"libbpf"} == tools("bpftrace") | {"system calls", "multiprobe count"}
    assert all(one["median"] > 0 for one in found if one["tool"] != "bpftrace")  # type: ignore[operator]


@pytest.mark.once("6.12")
def test_hit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hitting, "CALLS", 200)
    monkeypatch.setattr(hitting, "ROUNDS", 2)
    asked = {name: hitting.SCRIPTS[name] for name in ("count", "trace")}  # each takes bpftrace ten seconds
    monkeypatch.setattr(hitting, "SCRIPTS", asked)
    found = bench("hit")
    questions = {str(one["way"]).partition(", ")[0] for one in found}
    assert questions == hitting.QUESTIONS.keys()
    assert {one["tool"] for one in found} == tools("bpftrace")
    assert {one["way"] for one in found if one["tool"] == "bpftrace"} <= asked.keys()


@pytest.mark.once("6.12")
def test_events() -> None:
    found = bench("events")
    received = {one["way"]: one["median"] for one in found if one["step"] == "received" and one["tool"] == "multiprobe"}
    assert received == {"arrays": 50_000, "objects": 50_000}
    assert {one["tool"] for one in found} == tools("bpftrace")


@pytest.mark.once("7.3")
def test_start() -> None:
    found = bench("start", PATTERN)
    ours = [one["step"] for one in found if one["tool"] == "multiprobe"]
    assert ours == [*PHASES, "attached", "whole"]
    assert {one["tool"] for one in found} == tools("bpftrace", "trace-cmd")


@pytest.mark.once("6.12")
def test_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "QUIET_SECONDS", 0.0)  # what is measured is not looked at
    found = bench("memory", PATTERN)
    for step in ("predicted", "measured"):
        assert {one["way"] for one in found if one["step"] == step} == memory.COMMANDS.keys()
