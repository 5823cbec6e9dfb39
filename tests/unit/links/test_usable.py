"""If nothing can be attached, the error names the obstacle of each mechanism and a remedy."""

from __future__ import annotations

from typing import Any

import pytest

from multiprobe.errors import NotPermittedError, NotSupportedError
from multiprobe.kernel import diagnosis, examine
from multiprobe.kernel.diagnosis import Finding
from multiprobe.kernel.features import Answer, forbidden, no
from multiprobe.kernel.mechanism import MECHANISMS, Mechanism
from multiprobe.links.plan.usable import paired_mechanisms, usable_mechanisms, why_none


class FakeTable:
    def __init__(self, *names: str) -> None:
        self.names = names

    def rows_of_name(self, name: str) -> list[int]:
        return [1] if name in self.names else []


class FakeKernel:
    is_running = True
    release = "6.18"
    offers = Mechanism.TRAMPOLINE
    table = FakeTable()

    def problems(self) -> list[str]:
        return ["tracefs is not mounted"]


class FakeState:
    release = "6.18"

    def __init__(self, answer: Answer) -> None:
        self.answers = dict.fromkeys(MECHANISMS, answer)


@pytest.fixture
def state(monkeypatch: pytest.MonkeyPatch) -> object:
    def install(answer: Answer, *findings: Finding) -> None:
        monkeypatch.setattr(examine, "examine", lambda: FakeState(answer))
        monkeypatch.setattr(diagnosis, "diagnose_mechanisms", lambda _state: list(findings))

    return install


@pytest.mark.parametrize(
    ("answer", "kind"), [(forbidden("EPERM"), NotPermittedError), (no("EINVAL"), NotSupportedError)]
)
def test_each_mechanism_is_named(answer: Answer, kind: type[Exception], state: object) -> None:
    state(answer, Finding("kprobe_multi", False, "CONFIG_FPROBE is not set", "boot another kernel"))  # type: ignore[operator]
    error = why_none(FakeKernel(), when="entry")  # type: ignore[arg-type]
    assert type(error) is kind
    assert "kprobe_multi: CONFIG_FPROBE is not set" in str(error)
    assert "--vm" in error.hint
    assert "doctor" in error.hint


def test_what_the_kernels_lists_lack_is_told_where_features_are_well(state: object) -> None:
    state(no("EINVAL"))  # type: ignore[operator]
    assert "tracefs is not mounted" in str(why_none(FakeKernel(), when="entry"))  # type: ignore[arg-type]


def test_a_mechanism_that_was_forced() -> None:
    error = why_none(FakeKernel(), allowed=Mechanism.KPROBE_MULTI, when="entry")  # type: ignore[arg-type]
    assert isinstance(error, NotSupportedError)
    assert "trampoline" in error.hint


def test_sessions_are_paired_where_the_kernel_has_none() -> None:
    kernel: Any = FakeKernel()
    kernel.offers = Mechanism.ALL
    assert usable_mechanisms(kernel, when="session") == Mechanism.TRAMPOLINE | Mechanism.KPROBE
    assert paired_mechanisms(kernel, when="session") == Mechanism.TRAMPOLINE | Mechanism.KPROBE
    assert paired_mechanisms(kernel, when="return") == 0
    kernel.table = FakeTable("bpf_session_is_return", "bpf_jit_supports_fsession")
    assert usable_mechanisms(kernel, when="session") == Mechanism.ALL
    assert paired_mechanisms(kernel, when="session") == Mechanism.KPROBE
    without = paired_mechanisms(kernel, when="session", has_fsession=False)
    assert without == Mechanism.TRAMPOLINE | Mechanism.KPROBE
