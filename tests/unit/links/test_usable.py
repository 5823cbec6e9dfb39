"""If nothing can be attached, the error names the obstacle of each mechanism and a remedy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from multiprobe.errors import NotPermittedError, NotSupportedError
from multiprobe.kernel import examine
from multiprobe.kernel.examine import ListState, State
from multiprobe.kernel.features import FEATURES, Answer, forbidden, no, yes
from multiprobe.kernel.limits import CAPABILITIES, KernelLimits
from multiprobe.kernel.mechanism import Mechanism, mechanism_names
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


ROOT = KernelLimits(0, frozenset(CAPABILITIES.values()), True, None, False, "", {}, True)
GOOD = ListState("/sys/kernel/tracing", "", True)


@pytest.fixture
def examined(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Has the machine examined with these results."""

    def install(answer: Answer, traceable: ListState = GOOD) -> None:
        state = State("6.18", "x86_64", ROOT, dict.fromkeys(FEATURES, answer), traceable, False, None)
        monkeypatch.setattr(examine, "examine", lambda: state)

    return install


@pytest.mark.parametrize(
    ("answer", "kind", "why"),
    [
        (forbidden("loading it: EPERM"), NotPermittedError, "refused although this process has CAP_BPF"),
        (no("EINVAL"), NotSupportedError, "this kernel lacks it: EINVAL"),
    ],
)
def test_each_mechanism_is_named(
    answer: Answer, kind: type[Exception], why: str, examined: Callable[..., None]
) -> None:
    examined(answer)
    error = why_none(FakeKernel(), when="entry")  # type: ignore[arg-type]
    assert type(error) is kind
    for name in mechanism_names(Mechanism.KERNEL):
        assert f"  {name}: {why}" in str(error)
    assert "--vm" in error.hint
    assert "doctor" in error.hint


def test_only_what_was_asked_for_is_diagnosed(examined: Callable[..., None]) -> None:
    examined(forbidden("EPERM"))
    error = why_none(FakeKernel(), allowed=Mechanism.TRAMPOLINE, when="entry")  # type: ignore[arg-type]
    assert "nothing can be attached by trampoline" in str(error)
    assert "kprobe" not in str(error)


def test_what_the_kernels_lists_lack_is_told_where_features_are_well(examined: Callable[..., None]) -> None:
    examined(yes("it works"))
    assert "tracefs is not mounted" in str(why_none(FakeKernel(), when="entry"))  # type: ignore[arg-type]
    examined(yes("it works"), ListState("", "ENOENT", True))
    error = why_none(FakeKernel(), when="entry")  # type: ignore[arg-type]
    assert "mount -t tracefs" in error.hint


def test_a_mechanism_that_was_forced() -> None:
    error = why_none(FakeKernel(), allowed=Mechanism.KPROBE_MULTI, when="entry")  # type: ignore[arg-type]
    assert isinstance(error, NotSupportedError)
    assert "trampoline" in error.hint


def test_sessions_are_paired_where_the_kernel_has_none() -> None:
    kernel: Any = FakeKernel()
    kernel.offers = Mechanism.KERNEL
    assert usable_mechanisms(kernel, when="session") == Mechanism.TRAMPOLINE | Mechanism.KPROBE
    assert paired_mechanisms(kernel, when="session") == Mechanism.TRAMPOLINE | Mechanism.KPROBE
    assert paired_mechanisms(kernel, when="return") == 0
    kernel.table = FakeTable("bpf_session_is_return", "bpf_jit_supports_fsession")
    assert usable_mechanisms(kernel, when="session") == Mechanism.KERNEL
    assert paired_mechanisms(kernel, when="session") == Mechanism.KPROBE
    without = paired_mechanisms(kernel, when="session", may_fsession=False)
    assert without == Mechanism.TRAMPOLINE | Mechanism.KPROBE
