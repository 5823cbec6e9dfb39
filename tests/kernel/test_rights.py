"""Users and settings that the kernel says no to: `doctor` and the error of attaching agree, and the advice works.

Each cell is a child process that gives up capabilities; settings are put back afterwards. Lockdown can't be undone, so
that its cells are on the fake kernel only.
"""

from __future__ import annotations

import ctypes
import json
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import rights

import multiprobe as mp
from multiprobe.kernel.diagnosis import diagnose_mechanism
from multiprobe.kernel.examine import examine

LIBC = ctypes.CDLL(None, use_errno=True)
BITS = {"CAP_SYSLOG": 34, "CAP_PERFMON": 38, "CAP_BPF": 39}
ALL = ("CAP_BPF", "CAP_PERFMON", "CAP_SYSLOG")
calls = mp.PerFunction(mp.u64)


@mp.program
def count(ctx):
    calls[ctx.function] += 1


def keep_only(*names: str) -> None:
    """Give up all capabilities but these (capset(2), version 3)."""
    mask = sum(1 << BITS[name] for name in names)
    low, high = mask & 0xFFFFFFFF, mask >> 32
    header = struct.pack("<Ii", 0x20080522, 0)
    sets = struct.pack("<6I", low, low, 0, high, high, 0)
    assert LIBC.capset(header, sets) == 0


def in_child(work: Callable[[], dict[str, object]]) -> dict[str, object]:
    """What `work` returns in a forked child."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.write(writing, json.dumps(work()).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        answer = file.read()
    os.waitpid(child, 0)
    found: dict[str, object] = json.loads(answer)
    return found


def tried(mechanism: str, cache: Path, *capabilities: str) -> dict[str, object]:
    """What doctor says and what attaching answers, with these capabilities alone."""

    def work() -> dict[str, object]:
        os.environ["MULTIPROBE_CACHE"] = str(cache)
        keep_only(*capabilities)
        finding = diagnose_mechanism(examine(), mechanism)
        error = hint = kind = ""
        try:
            mp.attach(count, ["vfs_read"], mechanisms=mechanism, kernel=mp.Kernel(use_cache=False)).detach()
        except mp.MultiprobeError as failed:
            error, hint, kind = str(failed), failed.hint, type(failed).__name__
        return {"usable": finding.usable, "why": finding.why, "error": error, "hint": hint, "kind": kind}

    return in_child(work)


@pytest.fixture
def sysctl() -> Iterator[Callable[[str, int], None]]:
    before: dict[Path, str] = {}

    def put(name: str, value: int) -> None:
        path = Path("/proc/sys/kernel") / name
        before.setdefault(path, path.read_text())
        path.write_text(str(value))

    yield put
    for path, text in before.items():
        path.write_text(text)


RELAXED = "sysctl kernel.perf_event_paranoid=2"
CELLS = [
    ("kprobe", (), {"perf_event_paranoid": 3}, "lacks CAP_BPF and CAP_PERFMON",
     f"run with CAP_BPF and CAP_PERFMON; as root: {RELAXED}", ALL, {"perf_event_paranoid": 2}),
    ("kprobe", ALL, {"perf_event_paranoid": 3}, "kernel.perf_event_paranoid = 3",
     RELAXED, ALL, {"perf_event_paranoid": 2}),
    ("kprobe", ALL, {"kptr_restrict": 2, "perf_event_paranoid": 2}, "kernel.kptr_restrict = 2",
     "sysctl kernel.kptr_restrict=1", ALL, {"kptr_restrict": 1}),
    ("trampoline", ("CAP_BPF", "CAP_SYSLOG"), {}, "lacks CAP_PERFMON", "run with CAP_PERFMON", ALL, {}),
]  # fmt: skip


@pytest.mark.parametrize(("mechanism", "has", "settings", "says", "remedy", "better", "cured"), CELLS)
def test_doctor_and_the_error_agree_and_the_advice_works(
    mechanism: str,
    has: tuple[str, ...],
    settings: dict[str, int],
    says: str,
    remedy: str,
    better: tuple[str, ...],
    cured: dict[str, int],
    sysctl: Callable[[str, int], None],
    tmp_path: Path,
) -> None:
    for name, value in settings.items():
        sysctl(name, value)
    found = tried(mechanism, tmp_path, *has)
    assert found["usable"] is False, found
    assert found["kind"] == "NotPermittedError", found
    assert str(found["why"]) in str(found["error"])
    assert says in str(found["error"])
    assert remedy in str(found["hint"])
    for name, value in cured.items():
        sysctl(name, value)
    found = tried(mechanism, tmp_path, *better)
    assert (found["usable"], found["error"]) == (True, "")


# The whole matrix, which `make rights` tries


def test_each_cell_has_a_name_of_its_own() -> None:
    names = [cell.name for cell in rights.cells()]
    assert len(names) == len(set(names)) > 90


@pytest.mark.parametrize(
    ("differs", "wrong"),
    [
        ({}, ""),
        ({"usable": True}, "can be used"),
        ({"says": [["ftrace is off", "turn it on"]]}, "doctor says 'ftrace is off'"),
        ({"hint": "eat more fruit"}, "doctor says"),
        ({"status": 1}, "exit status 1"),
        ({"status": -1}, "not an error of ours"),
        ({"error": ""}, "it is attached"),
        ({"error": "creating a map: ENOMEM", "hint": ""}, "no advice"),
        ({"is_told": False}, "doesn't print"),
    ],
)
def test_a_wrong_cell_is_found(differs: dict[str, object], wrong: str) -> None:
    """The judge can fail."""
    answers = {"usable": False, "status": 4, "error": "kprobe: no right", "hint": "run as root; and so on"}
    found = list(rights.disagreements(answers | {"says": [["no right", "run as root"]], "is_told": True} | differs))
    assert wrong in "".join(found)
    assert bool(found) == bool(wrong)


@pytest.mark.parametrize(
    ("hint", "followed"),
    [
        ("run as root, or with CAP_BPF and CAP_SYSLOG; `multiprobe doctor` shows more",
         [{"uid": 0, "capabilities": None}, {"uid": rights.NOBODY, "capabilities": ("CAP_BPF", "CAP_SYSLOG")}]),
        ("run with CAP_BPF; as root: sysctl kernel.x=1",
         [{"capabilities": ("CAP_BPF",), "commands": ("sysctl kernel.x=1",)}]),
        ("7 had none: raise it with `ulimit -n 70` (as root), or attach fewer", [{"nofile": 70}]),
        ("add --vm=7.3 to run it in a virtual machine", []),
    ],
)  # fmt: skip
def test_each_alternative_of_an_advice_is_followed(hint: str, followed: list[dict[str, object]]) -> None:
    cell = rights.Cell("user", (), rights.NOBODY)
    found = [rights.follow(cell, advice) for advice in rights.alternatives(hint)]
    assert [{name: getattr(one, name) for name in each} for one, each in zip(found, followed, strict=True)] == followed
    assert rights.follow(cell, "eat more fruit") is None
