"""Diagnosis and `multiprobe doctor`: from the state of a machine to what a user reads."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from multiprobe.cli import doctor
from multiprobe.kernel.config import KernelConfig
from multiprobe.kernel.diagnosis import MECHANISMS, UPROBES, Finding, diagnose_mechanisms, diagnose_needs
from multiprobe.kernel.examine import ListState, State, examine
from multiprobe.kernel.features import FEATURES, INCONCLUSIVE, Answer, forbidden, no, yes
from multiprobe.kernel.limits import CAPABILITIES, KernelLimits, Lockdown
from multiprobe.syscalls import raw
from multiprobe.vm.requirements import Requirement

ROOT = KernelLimits(
    uid=0,
    capabilities=frozenset(CAPABILITIES.values()),
    is_initial_user_namespace=True,
    lockdown=None,
    has_seccomp_filter=False,
    container="",
    sysctls={"kptr_restrict": 0, "ftrace_enabled": 1},
    kprobes_enabled=True,
)
NOBODY = replace(ROOT, uid=65534, capabilities=frozenset())
GOOD = State(
    release="7.3.4",
    machine="x86_64",
    limits=ROOT,
    answers={feature: yes("it works") for feature in FEATURES},
    traceable=ListState("/sys/kernel/tracing", "", True),
    hides_addresses=False,
    config=None,
)
REFUSED = {name: forbidden("loading: EPERM")._replace(is_built_in=True) for name in FEATURES}


def find(state: State) -> dict[str, Finding]:
    *findings, uprobes = diagnose_mechanisms(state)
    assert [finding.subject for finding in findings] == list(MECHANISMS)
    assert uprobes.subject == UPROBES
    for finding in (*findings, uprobes):
        assert finding.why
        assert bool(finding.advice) == (finding.usable is not True), "advice where, and only where, it is needed"
    return {finding.subject: finding for finding in findings}


def needs(state: State) -> dict[str, Finding]:
    return {finding.subject: finding for finding in diagnose_needs(state)}


def usable(state: State) -> set[str]:
    return {name for name, finding in find(state).items() if finding.usable}


def test_all_is_well() -> None:
    assert usable(GOOD) == set(MECHANISMS)
    assert all(finding.usable for finding in diagnose_needs(GOOD))


def test_a_kernel_that_lacks_one_has_another() -> None:
    config = KernelConfig("/boot/config-6.1", {"CONFIG_BPF_SYSCALL": "y", "CONFIG_BPF_EVENTS": "y"})
    answers = GOOD.answers | {"tracing_multi": no("EINVAL"), "kprobe_multi": no("EOPNOTSUPP")}
    found = find(replace(GOOD, answers=answers, config=config))
    assert found["kprobe_multi"].usable is False
    assert "lacks" in found["kprobe_multi"].why
    assert "CONFIG_FPROBE is not set (/boot/config-6.1)" in found["kprobe_multi"].why
    assert found["kprobe_multi"].advice.startswith("trampoline is used instead")
    assert "--vm=6.12" in found["kprobe_multi"].advice
    assert "--vm=7.3" in found["tracing_multi"].advice
    assert found["trampoline"].usable


def test_without_root() -> None:
    state = replace(GOOD, limits=NOBODY, answers=REFUSED, hides_addresses=True)
    state = replace(state, traceable=ListState("/sys/kernel/tracing", "EACCES", True))
    found = find(state)
    for finding in found.values():
        assert finding.usable is False
        assert "lacks CAP_BPF and CAP_PERFMON as user 65534" in finding.why
        assert "seems to have it" in finding.why
        assert finding.remedy == "run as root, or with CAP_BPF and CAP_PERFMON"
        assert "--vm" in finding.advice
    assert needs(state)["addresses"].advice == "run as root, or with CAP_SYSLOG"
    assert needs(state)["traceable functions"].advice == "run as root, or with CAP_DAC_READ_SEARCH"
    assert needs(state)["events"].usable is False


def test_no_virtual_machine_is_advised_where_this_user_can_not_run_one() -> None:
    answers = REFUSED | {
        "kprobe_multi": no("EINVAL"),
        "ring_buffer": no("EINVAL"),
        "kprobe": Answer(INCONCLUSIVE, "EIO"),
    }
    for state in (
        replace(GOOD, limits=NOBODY, answers=answers, has_vm=False),
        replace(GOOD, answers=answers, has_vm=False),
        replace(GOOD, answers=answers, has_vm=False, has_sysfs=False),
        replace(GOOD, limits=replace(ROOT, sysctls={"ftrace_enabled": 0}), has_vm=False),
    ):
        for finding in [*find(state).values(), *diagnose_needs(state)]:
            assert "--vm" not in finding.advice
            assert bool(finding.advice) == (finding.usable is not True)


def test_without_root_on_a_kernel_that_lacks_it() -> None:
    answers = REFUSED | {"kprobe_multi": forbidden("EPERM")._replace(is_built_in=False)}
    found = find(replace(GOOD, limits=NOBODY, answers=answers))["kprobe_multi"]
    assert "seems to lack it" in found.why
    assert "CONFIG_FPROBE" in found.advice


def test_in_a_container_without_rights() -> None:
    found = find(replace(GOOD, limits=replace(NOBODY, uid=0, container="docker"), answers=REFUSED))["kprobe_multi"]
    assert "in this container (docker)" in found.why
    assert found.remedy == "start the container with --privileged, or with CAP_BPF and CAP_PERFMON"


@pytest.mark.parametrize(
    ("limits", "remedy"),
    [
        (ROOT, "as root: mount -t tracefs tracefs /sys/kernel/tracing"),
        (replace(ROOT, container="docker"), "as root: mount -t tracefs tracefs /sys/kernel/tracing"),
        (replace(ROOT, container="docker", capabilities=frozenset({"CAP_BPF", "CAP_PERFMON"})),
         "start the container with --privileged, or with -v /sys/kernel/tracing:/sys/kernel/tracing"),
        (replace(ROOT, is_initial_user_namespace=False), "run outside of the user namespace, as root"),
    ],
)  # fmt: skip
def test_only_who_may_mount_is_told_to(limits: KernelLimits, remedy: str) -> None:
    found = find(replace(GOOD, limits=limits, traceable=ListState("", "ENOENT", True)))["kprobe_multi"]
    assert found.remedy == remedy


def test_in_a_user_namespace() -> None:
    limits = replace(ROOT, is_initial_user_namespace=False)
    found = find(replace(GOOD, limits=limits, answers=REFUSED))["kprobe_multi"]
    assert "user namespace" in found.why


def test_refused_although_all_rights_are_there() -> None:
    limits = replace(ROOT, lockdown=Lockdown("integrity", "/proc/cmdline"), has_seccomp_filter=True)
    found = find(replace(GOOD, limits=limits, answers=REFUSED))["trampoline"]
    assert found.usable is False
    assert "a seccomp filter or a security module or kernel lockdown (integrity, says /proc/cmdline)" in found.why
    assert found.remedy == "run without a seccomp filter"
    limits = replace(limits, has_seccomp_filter=False)
    found = find(replace(GOOD, limits=limits, answers=REFUSED))["trampoline"]
    assert found.advice.startswith("add --vm=")


def test_without_sysfs_one_command_mounts_all() -> None:
    """Two, of which one is a part of the other, can't be followed one after the other: mount answers EBUSY."""
    unknown = Answer(INCONCLUSIVE, "sysfs isn't mounted")
    state = replace(GOOD, answers=GOOD.answers | {"kprobe": unknown, "trampoline": unknown}, has_sysfs=False)
    found = find(replace(state, traceable=ListState("", "ENOENT", True, has_sysfs=False)))
    both = "as root: mount -t sysfs sysfs /sys && mount -t tracefs tracefs /sys/kernel/tracing"
    assert {finding.remedy for finding in found.values()} == {both}


def test_a_seccomp_filter_of_a_container() -> None:
    limits = replace(ROOT, container="podman", has_seccomp_filter=True)
    found = find(replace(GOOD, limits=limits, answers=REFUSED))["trampoline"]
    assert found.remedy == "start the container with --security-opt seccomp=unconfined"


def test_lockdown_for_confidentiality() -> None:
    limits = replace(ROOT, lockdown=Lockdown("confidentiality", "/sys/kernel/security/lockdown"))
    answers = GOOD.answers | {"kprobe": forbidden("no kprobes"), "read_kernel": no("EINVAL")}
    traceable = ListState("/sys/kernel/tracing", "EPERM", True)
    state = replace(GOOD, limits=limits, answers=answers, traceable=traceable)
    assert usable(state) == set()
    assert "locked down (confidentiality)" in find(state)["kprobe_multi"].why
    assert "by kernel lockdown (confidentiality" in find(state)["kprobe"].why
    assert "without lockdown" in needs(state)["reading kernel memory"].advice


@pytest.mark.parametrize(
    ("traceable", "why", "advice"),
    [
        (ListState("", "ENOENT", True), "not mounted", "mount -t tracefs"),
        (ListState("", "ENOENT", None), "not mounted", "mount -t tracefs"),
        (ListState("", "ENOENT", True, False), "not mounted", "mount -t sysfs sysfs /sys && mount -t tracefs"),
        (ListState("", "ENOENT", False), "no tracefs", "another kernel"),
        (ListState("/t", "ENOENT", True), "CONFIG_DYNAMIC_FTRACE", "another kernel"),
        (ListState("/t", "EACCES", True), "can't be read: EACCES", "run with CAP_DAC_READ_SEARCH"),
        (ListState("/t", "EPERM", True), "locked down", "without lockdown"),
    ],
)
def test_no_list_of_functions(traceable: ListState, why: str, advice: str) -> None:
    state = replace(GOOD, traceable=traceable)
    assert usable(state) == set()
    assert why in find(state)["kprobe_multi"].why
    assert advice in find(state)["kprobe_multi"].advice
    assert "--vm" in find(state)["kprobe_multi"].advice


def test_hidden_addresses() -> None:
    state = replace(GOOD, hides_addresses=True, limits=replace(ROOT, sysctls={"kptr_restrict": 2}))
    assert usable(state) == {"tracing_multi", "trampoline"}, "which need no address"
    assert "kernel.kptr_restrict=1" in find(state)["kprobe_multi"].advice
    assert usable(replace(GOOD, hides_addresses=None)) == set(MECHANISMS)


def test_switches_that_silence_probes() -> None:
    assert usable(replace(GOOD, limits=replace(ROOT, sysctls={"ftrace_enabled": 0}))) == set()
    assert usable(replace(GOOD, limits=replace(ROOT, kprobes_enabled=False))) == set(MECHANISMS) - {"kprobe"}


def test_no_answer_is_unknown() -> None:
    found = find(replace(GOOD, answers=GOOD.answers | {"kprobe_multi": Answer(INCONCLUSIVE, "ENOMEM")}))
    assert found["kprobe_multi"].usable is None


def run(monkeypatch: pytest.MonkeyPatch, state: State, *options: str) -> str:
    monkeypatch.setattr("multiprobe.cli.doctor.examine", lambda: state)
    result = CliRunner().invoke(doctor.command, options, standalone_mode=False)
    assert result.exception is None, result.output
    assert result.return_value == 0
    return result.output


@pytest.fixture(autouse=True)
def has_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which guests run."""
    monkeypatch.setattr(doctor, "find_obstacle", lambda: None)
    monkeypatch.setattr(doctor, "find_missing", list)
    monkeypatch.setattr(doctor, "describe", lambda: ("KVM can be used", ""))


def test_virtual_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    state = replace(GOOD, limits=NOBODY, answers=REFUSED)
    shown = run(monkeypatch, state)
    assert "yes     virtual machines\n        KVM can be used\n" in shown
    assert "Nothing can be attached to the kernel here. `--vm`" in shown
    monkeypatch.setattr(doctor, "find_missing", lambda: [Requirement("virtiofsd", ("virtiofsd",))])
    shown = run(monkeypatch, state)
    assert "no      virtual machines\n        not installed: virtiofsd\n        → " in shown
    assert "apt-get install virtiofsd" in shown
    assert (
        "Nothing can be attached to the kernel here. `--vm`, once what it needs is installed, runs any command" in shown
    )
    monkeypatch.setattr(doctor, "find_obstacle", lambda: ("forbidden", "run as root"))
    shown = run(monkeypatch, replace(state, has_vm=False))
    assert "no      virtual machines\n        forbidden\n        → run as root\n" in shown
    assert "--vm" not in shown


def test_json(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = GOOD.answers | {"tracing_multi": no("EINVAL"), "kprobe": Answer(INCONCLUSIVE, "ENOMEM")}
    lines = [json.loads(line) for line in run(monkeypatch, replace(GOOD, answers=answers), "--json").splitlines()]
    mechanisms: list[dict[str, Any]] = [line for line in lines if line["type"] == "mechanism"]
    assert [line["mechanism"] for line in mechanisms] == [*MECHANISMS, UPROBES]
    assert [line["usable"] for line in mechanisms] == [False, True, True, None, True]
    assert all(set(line) == {"type", "mechanism", "usable", "why", "advice"} for line in mechanisms)
    assert lines[0] == {
        "type": "machine",
        "release": "7.3.4",
        "machine": "x86_64",
        "uid": 0,
        "capabilities": sorted(ROOT.capabilities),
        "lockdown": None,
        "container": None,
        "settings": ROOT.sysctls,
    }
    assert [line["feature"] for line in lines if line["type"] == "feature"] == list(FEATURES)
    assert {line["type"] for line in lines} == {"machine", "mechanism", "need", "feature"}


def test_text(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = run(monkeypatch, GOOD)
    assert "yes     kprobe_multi: many functions by one link" in shown
    assert "Nothing can be attached" not in shown
    limits = replace(NOBODY, lockdown=Lockdown("integrity", "/proc/cmdline"), container="docker")
    shown = run(monkeypatch, replace(GOOD, limits=limits, answers=REFUSED))
    assert "no      kprobe_multi" in shown
    assert "Kernel lockdown: integrity, from /proc/cmdline." in shown
    assert "in a container (docker)" in shown
    assert "Nothing can be attached to the kernel here" in shown
    assert "--vm" in shown


def test_help_shows_examples() -> None:
    shown = CliRunner().invoke(doctor.command, ["--help"]).output
    assert "multiprobe doctor --json | jq" in shown
    assert "Exit status" in shown


def test_examine_on_an_empty_machine(tmp_path: Path) -> None:
    def no_kernel(*_: int) -> int:
        return -38

    with raw.using(no_kernel):
        state = examine(root=str(tmp_path))
    assert state.answers["bpf"].is_no
    assert state.traceable == ListState("", "ENOENT", None, has_sysfs=False)
    assert state.hides_addresses is None
    assert usable(state) == set()


def test_examine_finds_a_closed_list(tmp_path: Path) -> None:
    tracefs = tmp_path / "sys/kernel/tracing"
    tracefs.mkdir(parents=True)
    (tracefs / "README").touch()
    with raw.using(lambda *_: -1):
        assert examine(root=str(tmp_path)).traceable == ListState(str(tracefs), "ENOENT", True)
        (tracefs / "available_filter_functions").write_text("f\n")
        assert examine(root=str(tmp_path)).traceable == ListState(str(tracefs), "", True)
