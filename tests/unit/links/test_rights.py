"""Rights × lockdown × sysctls × mounts: `doctor` and the error of `attach` agree, and their advice, followed, works."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import pytest

import multiprobe as mp
from fake_kernel import LIKE_6_1, LIKE_6_12, LIKE_7_3, FakeKernel, Profile
from fake_kernel.profiles import ALL_RIGHTS
from multiprobe.errors import MultiprobeError, NotPermittedError, NotSupportedError
from multiprobe.kernel.diagnosis import MECHANISMS, diagnose_mechanism, diagnose_mechanisms
from multiprobe.kernel.examine import examine

calls = mp.PerFunction(mp.u64)


@mp.program
def count(ctx):
    calls[ctx.function] += 1


@dataclass(frozen=True)
class Cell:
    """A machine and a user: how it differs from root on a machine without restrictions.

    affects: the mechanisms that can't be used; says: a part of the error; remedy: of its hint; cured: how the cell
    differs once that was done, None where nothing on this machine helps
    """

    name: str
    differs: dict[str, object]
    affects: tuple[str, ...] = MECHANISMS
    says: str = ""
    remedy: str = ""
    cured: dict[str, object] | None = None
    kind: type[MultiprobeError] = NotPermittedError

    def __str__(self) -> str:
        return self.name


def rights(*names: str) -> dict[str, object]:
    return {"rights": frozenset(names)}


BPF_PERFMON = rights("CAP_BPF", "CAP_PERFMON")
ALL = rights("CAP_BPF", "CAP_PERFMON", "CAP_SYSLOG")
LACKS = "this process lacks"
CELLS = [
    Cell("root", {}, ()),
    Cell("user", {**rights(), "uid": 1000}, says=f"{LACKS} CAP_BPF and CAP_PERFMON as user 1000",
         remedy="run as root", cured={}),
    Cell("user with capabilities", {**ALL, "uid": 1000}, says="can't be read: EACCES", remedy="run as root", cured={}),
    Cell("none", rights(), says=f"{LACKS} CAP_BPF and CAP_PERFMON as user 0",
         remedy="run with CAP_BPF and CAP_PERFMON", cured=ALL),
    Cell("CAP_BPF", rights("CAP_BPF", "CAP_SYSLOG"), says=f"{LACKS} CAP_PERFMON", remedy="run with CAP_PERFMON",
         cured=ALL),
    Cell("CAP_PERFMON", rights("CAP_PERFMON", "CAP_SYSLOG"), ("tracing_multi", "kprobe_multi", "trampoline"),
         says=f"{LACKS} CAP_BPF", remedy="run with CAP_BPF", cured=ALL),
    Cell("all three", ALL, ()),
    Cell("CAP_SYS_ADMIN", rights("CAP_SYS_ADMIN", "CAP_SYSLOG"), ()),
    Cell("no CAP_SYSLOG", BPF_PERFMON, ("kprobe_multi", "kprobe"), says="hides all addresses from this user",
         remedy="run with CAP_SYSLOG", cured=ALL),
    Cell("no CAP_SYSLOG, not paranoid", {**BPF_PERFMON, "perf_event_paranoid": 1}, ()),
    Cell("kptr_restrict 1", {"kptr_restrict": 1}, ()),
    Cell("kptr_restrict 2", {"kptr_restrict": 2}, ("kprobe_multi", "kprobe"), says="kernel.kptr_restrict = 2",
         remedy="sysctl kernel.kptr_restrict=1", cured={"kptr_restrict": 1}),
    Cell("kptr_restrict 2, no CAP_SYSLOG", {**BPF_PERFMON, "kptr_restrict": 2}, ("kprobe_multi", "kprobe"),
         says="kernel.kptr_restrict = 2", remedy="run with CAP_SYSLOG", cured={**ALL, "kptr_restrict": 1}),
    Cell("paranoid 3, root", {"perf_event_paranoid": 3}, ()),
    Cell("paranoid 3", {**ALL, "perf_event_paranoid": 3}, ("kprobe",),
         says="kernel.perf_event_paranoid = 3 keeps perf events to CAP_SYS_ADMIN",
         remedy="sysctl kernel.perf_event_paranoid=2", cured={**ALL, "perf_event_paranoid": 2}),
    Cell("integrity", {"lockdown": "integrity"}, ()),
    Cell("confidentiality at boot", {"lockdown": "confidentiality"}, says="(confidentiality",
         remedy="boot it without lockdown", cured={}),
    Cell("confidentiality later", {"lockdown": "confidentiality", "lockdown_since_boot": False},
         says="(confidentiality", remedy="boot it without lockdown", cured={}),
    Cell("no tracefs", {"has_tracefs": False}, says="is not mounted", remedy="mount -t tracefs", cured={},
         kind=NotSupportedError),
    Cell("no BTF", {"shows_types": False}, ("tracing_multi", "trampoline"),
         says="/sys/kernel/btf/vmlinux doesn't exist", cured={}, kind=NotSupportedError),
    Cell("ftrace off", {"ftrace_enabled": 0}, says="ftrace is switched off",
         remedy="as root: sysctl kernel.ftrace_enabled=1", cured={}, kind=NotSupportedError),
    Cell("kprobes off", {"kprobes_enabled": 0}, ("kprobe",), says="kprobes are switched off",
         remedy="as root: echo 1 > /sys/kernel/debug/kprobes/enabled", cured={}, kind=NotSupportedError),
]  # fmt: skip
KERNELS = {"6.1": LIKE_6_1, "6.12": LIKE_6_12, "7.3": LIKE_7_3}
HAS = {"6.1": ("trampoline", "kprobe"), "6.12": ("kprobe_multi", "trampoline", "kprobe"), "7.3": MECHANISMS}
CASES = [
    pytest.param(kernel, cell, mechanism, id=f"{kernel}-{cell}-{mechanism}")
    for kernel in KERNELS
    for cell in CELLS
    for mechanism in HAS[kernel]
]


@pytest.fixture(autouse=True)
def no_refusals_remembered(directory: Path) -> Iterator[None]:
    yield
    for path in (directory / "cache").glob("culprits-*"):
        path.unlink()


def attach(
    directory: Path, profile: Profile, mechanism: str | None, on_bad: Literal["skip", "error"] = "skip"
) -> MultiprobeError | None:
    """Attach to one function; the error, if it is refused."""
    with FakeKernel(directory, profile) as fake:
        try:
            mp.attach(count, ["vfs_read"], mechanisms=mechanism, on_bad=on_bad, kernel=mp.Kernel()).detach()
        except MultiprobeError as error:
            return error
        finally:
            assert fake.left() == []
    return None


@pytest.mark.parametrize("on_bad", ["skip", "error"])
@pytest.mark.parametrize(("kernel", "cell", "mechanism"), CASES)
def test_doctor_and_the_error_agree(
    directory: Path, kernel: str, cell: Cell, mechanism: str, on_bad: Literal["skip", "error"]
) -> None:
    profile = replace(KERNELS[kernel], **cell.differs)  # type: ignore[arg-type]
    with FakeKernel(directory, profile):
        state = examine()
    finding = diagnose_mechanism(state, mechanism)
    error = attach(directory, profile, mechanism, on_bad)
    if mechanism not in cell.affects and error is None:
        assert finding.usable, finding.why
        return
    assert error is not None
    if cell.name == "CAP_PERFMON" and mechanism == "kprobe":  # its perf event is permitted, its program is not
        assert "CAP_BPF" in error.hint
        return
    assert finding.usable is False
    assert isinstance(error, cell.kind)
    assert f"{mechanism}: {finding.why}" in str(error), "the error says what doctor says"
    assert cell.says in str(error)
    assert finding.remedy in error.hint
    assert cell.remedy in error.hint
    assert f"it has {mechanism}" not in error.hint


@pytest.mark.parametrize(("kernel", "cell", "mechanism"), [case for case in CASES if case.values[1].cured is not None])
def test_the_advice_followed_works(directory: Path, kernel: str, cell: Cell, mechanism: str) -> None:
    profile = replace(KERNELS[kernel], **cell.cured)  # type: ignore[arg-type]
    assert attach(directory, profile, mechanism) is None


@pytest.mark.parametrize("cell", CELLS, ids=str)
@pytest.mark.parametrize("kernel", KERNELS)
def test_without_a_choice_the_usable_mechanisms_do(directory: Path, kernel: str, cell: Cell) -> None:
    profile = replace(KERNELS[kernel], **cell.differs)  # type: ignore[arg-type]
    error = attach(directory, profile, None)
    with FakeKernel(directory, profile):
        usable = [one.subject for one in diagnose_mechanisms(examine()) if one.usable]
    can = [name for name in HAS[kernel] if name not in cell.affects]
    if cell.name == "CAP_PERFMON":
        assert error is not None
    else:
        assert usable == can
        assert (error is None) == bool(can)
        if error:
            assert all(f"{name}: " in str(error) for name in HAS[kernel])


@pytest.mark.parametrize("user", ["user", "confidentiality at boot", "no tracefs"])
def test_functions_say_the_same(directory: Path, user: str) -> None:
    cell = next(cell for cell in CELLS if cell.name == user)
    with FakeKernel(directory, replace(LIKE_6_12, **cell.differs)):  # type: ignore[arg-type]
        problems = mp.Kernel().problems()
    assert any(cell.remedy in problem for problem in problems), problems
    assert "CONFIG_DYNAMIC_FTRACE" not in " ".join(problems)


def test_functions_that_only_a_forbidden_mechanism_carries_fail_alone(directory: Path) -> None:
    """A kprobe inside a function needs a perf event, which is kept to CAP_SYS_ADMIN; the others are attached."""
    profile = replace(LIKE_6_12, rights=ALL_RIGHTS - {"CAP_SYS_ADMIN"}, perf_event_paranoid=3)
    with FakeKernel(directory, profile) as fake:
        with mp.attach(count, ["vfs_read", "vfs_write+0x9"]) as attachment:
            report = attachment.report
            assert fake.attached() == {"vfs_read"}
            assert [failure.errno for failure in report.failed] == [errno.EPERM]
            assert any("kprobe is not permitted" in note for note in report.notes)
        with pytest.raises(NotPermittedError, match="perf_event_paranoid = 3"):
            mp.attach(count, ["vfs_write+0x9"])
        assert fake.left() == []
