"""What is said of functions that a probe would change: the same by lists, plans and attachments."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from click.testing import CliRunner
from elf_writer import Made, make_elf

import multiprobe as mp
from multiprobe.binaries.instructions import Kind
from multiprobe.cli.functions import command
from multiprobe.errors import KernelError, NotPermittedError
from multiprobe.links.mechanisms import harm
from multiprobe.links.mechanisms.leaf_program import CALLS
from multiprobe.links.mechanisms.trial import Outcome

CODE = {
    "plain": "554889e5",
    "nop": "0f1f440000",
    "vector": "c5f9ebc2",
    "prefixed": "65c5f9eb042500000000",
    "other": "c5f828c1",
    "promoted": "62f47c08ffc0",
}
RIGHT, WRONG = Outcome(1, CALLS), Outcome(1, CALLS, n_wrong=CALLS)


@pytest.fixture
def binary(write: Callable[..., Path]) -> mp.Binary:
    """Its functions begin with the code of their names."""
    path = write(make_elf([Made(name, place) for place, name in enumerate(CODE)]))
    data = bytearray(path.read_bytes())
    for function in mp.Binary(path).functions():
        code = bytes.fromhex(CODE[function.name])
        data[function.file_offset : function.file_offset + len(code)] = code
    path.write_bytes(data)
    return mp.Binary(path)


def kernel(monkeypatch: pytest.MonkeyPatch, outcomes: dict[Kind, Outcome]) -> None:
    """A kernel whose probes do this."""

    def try_kinds(kinds: Iterable[Kind]) -> dict[Kind, Outcome]:
        return {kind: outcomes[kind] for kind in kinds if kind in outcomes}

    monkeypatch.setattr(harm, "try_kinds", try_kinds)


def failing(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def try_kinds(kinds: frozenset[Kind]) -> dict[Kind, Outcome]:
        if kinds:
            raise error
        return {}

    monkeypatch.setattr(harm, "try_kinds", try_kinds)


def listed(binary: mp.Binary) -> tuple[dict[str, tuple[str, str]], str]:
    """The code and reason of each function that `functions` refuses; what it writes on standard error."""
    result = CliRunner().invoke(command, [f"{binary.path}:*", "--json"])
    assert result.exception is None, result.exception
    records = map(json.loads, result.stdout.splitlines())
    return {one["function"]: (one["code"], one["reason"]) for one in records if one["code"]}, result.stderr


def refused(binary: mp.Binary) -> dict[str, str]:
    """What attaching, a plan and a list refuse, if they agree: the reason of each."""
    found = harm.harmful_probes(binary.functions())
    plan = mp.plan(binary.functions()).report
    skipped = {one.request: (one.code, one.reason) for one in plan.skipped}
    assert skipped == listed(binary)[0] == {binary.functions()[place].name: tuple(one) for place, one in found.items()}
    assert (plan.attached, plan.notes) == (len(CODE) - len(found), ())
    return {name: reason for name, (_, reason) in skipped.items()}


def test_a_kernel_that_does_harm(binary: mp.Binary, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel(monkeypatch, {Kind.NOP5: WRONG, Kind.JUMP: WRONG, Kind.OTHER: RIGHT})
    found = refused(binary)
    assert set(found) == {"nop", "vector", "prefixed", "promoted"}
    assert found["nop"].startswith("nop begins with a five-byte nop, and this kernel turns a probe on it into a call")
    assert "for vectors (AVX), and this kernel's probes take it for another instruction: 20 of 20" in found["vector"]
    assert "an instruction of APX, and there is no trial" in found["promoted"]


def test_a_kernel_that_does_none(binary: mp.Binary, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel(monkeypatch, dict.fromkeys(Kind, RIGHT))
    assert refused(binary) == {}


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        (Outcome(1, 1, signal=11), "take it for another instruction: a test function was killed by SIGSEGV"),
        (Outcome(1, 0), "this kernel's probes never run there: a probe on one was hit 0 times in 20 calls"),
        (Outcome(2, CALLS), "a probe on one was hit 10 times in 20 calls"),
        (Outcome(1, 1, signal=4), "this processor does not have those"),
    ],
)
def test_what_else_may_come_of_a_trial(
    binary: mp.Binary, monkeypatch: pytest.MonkeyPatch, outcome: Outcome, reason: str
) -> None:
    kernel(monkeypatch, dict.fromkeys(Kind, RIGHT) | {Kind.JUMP: outcome})
    found = refused(binary)
    assert set(found) == {"vector", "prefixed"}
    assert reason in found["vector"]


def test_a_trial_that_fails(binary: mp.Binary, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, KernelError("linking", 12))
    found = refused(binary)
    assert set(found) == set(CODE) - {"plain"}
    assert "could not be tried: linking: ENOMEM" in found["nop"]


def test_without_the_right_to_attach(binary: mp.Binary, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plans and lists don't fail: they say what can't be known."""
    failing(monkeypatch, NotPermittedError("no right to attach"))
    report = mp.plan(binary.functions()).report
    assert (report.attached, len(report.skipped)) == (len(CODE), 0)
    (note,) = report.notes
    assert "may be refused" in note
    assert note.endswith("could not be tried: no right to attach")
    found, stderr = listed(binary)
    assert found == {}
    assert f"note: {note}" in stderr
    with pytest.raises(NotPermittedError):
        harm.harmful_probes(binary.functions())
    assert mp.plan(binary.functions("plain")).report.notes == ()
