"""Fakes of the layers under the command line: a kernel with a handful of functions, attachments with given numbers."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, replace
from typing import Any

import pytest

import multiprobe as mp
from multiprobe.links.report import Failure, Report, Verified


@dataclass(frozen=True, slots=True)
class FakeFunction:
    name: str
    module: str
    address: int

    def __str__(self) -> str:
        return self.name if not self.module else f"{self.name} [{self.module}]"


@dataclass(frozen=True, slots=True)
class FakeRefusal:
    request: str
    code: str
    reason: str


class FakeSet(list[FakeFunction]):
    unresolved: tuple[FakeRefusal, ...] = ()

    def btf_ids(self) -> list[int]:
        return [0] * len(self)

    def n_attachable(self, *, when: str) -> int:
        return len(self)


class FakeAttachment:
    """Counts nothing: `totals` gives the numbers it was made with."""

    def __init__(self, functions: FakeSet, calls: list[int], options: dict[str, Any]) -> None:
        self.functions = functions
        self.options = options
        self.events: list[str] = []
        self.program: Any = None
        self._calls = calls
        self._n_missed = 3
        self.report = Report(
            len(functions) + 2,
            attached=len(functions),
            skipped=(FakeRefusal("schedule_idle", "not_traceable", "it is notrace"),),  # type: ignore[arg-type]
            failed=(Failure("tcp_bad", "kprobe_multi", 22, "its module is going away"),),
            links=1,
            mechanisms={"kprobe_multi": len(functions)},
            timings={"attach": 0.84, "detach": 0.35},
        )

    def totals(self, _spec: object) -> array[int]:
        self.events.append("totals")
        return array("Q", self._calls)

    def missed(self) -> dict[str, int]:
        return {"link_misses": self._n_missed, "recursion_misses": 0}

    def make_complete(self) -> None:
        """As if nothing had been refused or missed."""
        self.report = replace(self.report, skipped=(), failed=())
        self._n_missed = 0

    def set_missed(self, causes: dict[str, int]) -> None:
        self.report = replace(self.report, missed=causes)

    def note(self, sentence: str) -> None:
        self.report = replace(self.report, notes=(*self.report.notes, sentence))

    def add_verified(self, verified: list[Verified]) -> None:
        self.report = replace(self.report, verified=(*self.report.verified, *verified))

    def pause(self) -> None:
        self.events.append("pause")

    def close(self) -> None:
        self.events.append("close")


class FakeWorld:
    """What the fakes have been asked, and what they answer."""

    def __init__(self) -> None:
        self.functions = FakeSet(
            [
                FakeFunction("tcp_sendmsg", "", 0xFFFFFFFF81000010),
                FakeFunction("tcp_recvmsg", "", 0xFFFFFFFF81000020),
                FakeFunction("tcp_diag_dump", "tcp_diag", 0xFFFFFFFFC0000010),
            ]
        )
        self.calls = [10, 30, 0]
        self.patterns: tuple[str, ...] = ()
        self.attachments: list[FakeAttachment] = []
        self.error: BaseException | None = None
        self.is_complete = False

    def kernel(self) -> FakeWorld:
        return self

    def choose(self, *patterns: str, unsafe: bool = False) -> FakeSet:
        self.patterns = patterns
        return self.functions

    def attach(self, program: object, functions: FakeSet, *, progress: Any = None, **options: Any) -> FakeAttachment:
        if self.error is not None:
            raise self.error
        self.attachments.append(FakeAttachment(functions, self.calls, options))
        self.attachments[-1].program = program
        if self.is_complete:
            self.attachments[-1].make_complete()
        return self.attachments[-1]


class _FakeKernel:
    table = None

    def __init__(self, world: FakeWorld) -> None:
        self.functions = world.choose


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> FakeWorld:
    made = FakeWorld()
    monkeypatch.setattr(mp, "Kernel", lambda: _FakeKernel(made), raising=False)
    monkeypatch.setattr(mp, "attach", made.attach, raising=False)
    monkeypatch.setattr("multiprobe.cli.measuring.require_rights", lambda: None)
    return made
