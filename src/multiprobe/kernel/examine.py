"""Collects the state of this machine that matters for probing: limits, features, lists."""

from __future__ import annotations

import os
from dataclasses import dataclass

from multiprobe.errors import errno_name
from multiprobe.kernel.config import KernelConfig, load_config
from multiprobe.kernel.evidence import Evidence
from multiprobe.kernel.features import FEATURES, Answer, Features
from multiprobe.kernel.limits import KernelLimits, load_limits, may_run_guests
from multiprobe.kernel.tracing import AVAILABLE, find_tracefs

VM = "add --vm to run the same command in a virtual machine"


@dataclass(frozen=True, slots=True)
class ListState:
    """Can the list of traceable functions be read? `path` is where tracefs is mounted, or "".

    errno_name: of what opening the list answered, "" when it opened
    is_built_in: does the kernel know tracefs at all? None where /proc/filesystems can't be read
    has_sysfs: is the directory there that tracefs is mounted on?
    """

    path: str
    errno_name: str
    is_built_in: bool | None
    has_sysfs: bool = True


@dataclass(frozen=True, slots=True)
class State:
    """What was found: `answers` by feature; `hides_addresses` None where kallsyms can't be read.

    has_vm: this user may run virtual machines (`--vm`), whether what they need is installed or not
    """

    release: str
    machine: str
    limits: KernelLimits
    answers: dict[str, Answer]
    traceable: ListState
    hides_addresses: bool | None
    config: KernelConfig | None
    has_sysfs: bool = True
    has_vm: bool = True

    @property
    def vm_advice(self) -> str:
        """The advice to use a virtual machine, "" where this user can't run one."""
        return VM if self.has_vm else ""


def examine(*, root: str = "/", features: Features | None = None) -> State:
    """Look at everything once."""
    evidence = features.evidence if features else Evidence(root=root)
    asked = features or Features(root=root, evidence=evidence)
    system = os.uname()
    return State(
        release=system.release,
        machine=system.machine,
        limits=load_limits(root=root),
        answers={feature: asked.probe(feature) for feature in FEATURES},
        traceable=find_list(root=root),
        hides_addresses=evidence.hides_addresses(),
        config=load_config(root=root),
        has_sysfs=_has_sysfs(root),
        has_vm=root != "/" or may_run_guests(),
    )


def find_list(*, root: str = "/") -> ListState:
    """Where the list of traceable functions is, and whether it opens."""
    tracefs = find_tracefs(root=root)
    if tracefs is None:
        return ListState("", "ENOENT", _knows_tracefs(root), _has_sysfs(root))
    try:
        with open(os.path.join(tracefs, AVAILABLE), "rb", buffering=0) as file:
            file.read(1)
    except OSError as error:
        return ListState(tracefs, errno_name(error.errno or 0), True)
    return ListState(tracefs, "", True)


def _has_sysfs(root: str) -> bool:
    return os.path.isdir(os.path.join(root, "sys/kernel"))


def _knows_tracefs(root: str) -> bool | None:
    try:
        with open(os.path.join(root, "proc/filesystems"), "rb") as file:
            return b"\ttracefs\n" in file.read()
    except OSError:
        return None
