"""Reads the limits of this process and machine: capabilities, lockdown, sysctls, containers.

Readers take a `root`, the directory of the system's files. A value that can't be read is None, never a guess.
`diagnosis` interprets the values.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from multiprobe.kernel.config import load_config
from multiprobe.syscalls.namespaces import why_no_mounts

#: Capabilities by bit (include/uapi/linux/capability.h), as far as they matter here.
CAPABILITIES = {12: "CAP_NET_ADMIN", 21: "CAP_SYS_ADMIN", 24: "CAP_SYS_RESOURCE"}
CAPABILITIES |= {34: "CAP_SYSLOG", 38: "CAP_PERFMON", 39: "CAP_BPF"}
SYSCTLS = {
    "kptr_restrict": "kernel/kptr_restrict",
    "unprivileged_bpf_disabled": "kernel/unprivileged_bpf_disabled",
    "perf_event_paranoid": "kernel/perf_event_paranoid",
    "bpf_stats_enabled": "kernel/bpf_stats_enabled",
    "ftrace_enabled": "kernel/ftrace_enabled",
    "bpf_jit_enable": "net/core/bpf_jit_enable",
}
WHOLE_ID_RANGE = "4294967295"
#: Files that container runtimes leave in their containers.
CONTAINER_FILES = {".dockerenv": "docker", "run/.containerenv": "podman"}
#: The inodes of the first namespaces (include/linux/proc_ns.h: PROC_PID_INIT_INO, PROC_UTS_INIT_INO).
INITIAL_NAMESPACES = {"pid": "pid:[4026531836]", "uts": "uts:[4026531838]"}
CONTAINER_CGROUPS = {
    "kubepods": "kubernetes",
    "docker": "docker",
    "libpod": "podman",
    "lxc": "lxc",
    "containerd": "containerd",
}


@dataclass(frozen=True, slots=True)
class Lockdown:
    """How far the kernel is locked down: "none", "integrity", "confidentiality"; and which file says so."""

    level: str
    source: str


@dataclass(frozen=True, slots=True)
class KernelLimits:
    """A snapshot of the rights of this process and of the machine's settings; None is "could not be read".

    uid: effective; capabilities: names of the effective ones, of those that matter here
    is_initial_user_namespace: capabilities of any other one don't reach the kernel's own objects
    lockdown: None where nothing tells
    has_seccomp_filter: system calls may be filtered
    container: the runtime's name, "unknown" for namespaces of its own without traces of one, or ""
    sysctls: the values of `SYSCTLS`
    kprobes_enabled: the switch in debugfs
    """

    uid: int
    capabilities: frozenset[str]
    is_initial_user_namespace: bool | None
    lockdown: Lockdown | None
    has_seccomp_filter: bool | None
    container: str
    sysctls: dict[str, int | None]
    kprobes_enabled: bool | None

    def lacks(self, *names: str) -> list[str]:
        """Those of the capabilities that are missing. CAP_SYS_ADMIN stands for all that were once a part of it."""
        if "CAP_SYS_ADMIN" in self.capabilities:
            return []
        return [name for name in names if name not in self.capabilities]


def load_limits(*, root: str = "/") -> KernelLimits:
    """Read the rights of this process and the machine's settings."""
    status = parse_status(_read(root, "proc/self/status") or "")
    return KernelLimits(
        uid=status.get("uid", os.geteuid()),
        capabilities=capability_names(status.get("capabilities", 0)),
        is_initial_user_namespace=_is_initial_user_namespace(_read(root, "proc/self/uid_map")),
        lockdown=_lockdown(root),
        has_seccomp_filter=status["seccomp"] == 2 if "seccomp" in status else None,
        container=_container(root),
        sysctls={name: _number(_read(root, f"proc/sys/{path}")) for name, path in SYSCTLS.items()},
        kprobes_enabled=_switch(_read(root, "sys/kernel/debug/kprobes/enabled")),
    )


def load_capabilities(*, root: str = "/") -> frozenset[str]:
    """The names of this process's effective capabilities, of those that matter here."""
    return capability_names(parse_status(_read(root, "proc/self/status") or "").get("capabilities", 0))


def may_run_guests() -> bool:
    """Whether this user has the rights that `--vm` takes: root's, or those of a user namespace."""
    return why_no_mounts() is None


def parse_status(text: str) -> dict[str, int]:
    """uid (effective), capabilities (effective, as a mask) and seccomp (mode) of a /proc/PID/status."""
    found = {}
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        try:
            if name == "Uid":
                found["uid"] = int(words[1])
            elif name == "CapEff":
                found["capabilities"] = int(words[0], 16)
            elif name == "Seccomp":
                found["seccomp"] = int(words[0])
        except (IndexError, ValueError):
            continue
    return found


def capability_names(mask: int) -> frozenset[str]:
    """The names of the capabilities in a mask, of those that matter here."""
    return frozenset(name for bit, name in CAPABILITIES.items() if mask >> bit & 1)


def parse_lockdown(text: str) -> str | None:
    """The level in brackets: `none [integrity] confidentiality`."""
    _, _, rest = text.partition("[")
    level, closed, _ = rest.partition("]")
    return level if closed and level else None


def _lockdown(root: str) -> Lockdown | None:
    """From securityfs; where that isn't mounted, from what the kernel was told at boot or built to do."""
    path = "sys/kernel/security/lockdown"
    level = parse_lockdown(_read(root, path) or "")
    if level:
        return Lockdown(level, f"/{path}")
    for word in (_read(root, "proc/cmdline") or "").split():
        if word.startswith("lockdown="):
            return Lockdown(word.partition("=")[2], "/proc/cmdline")
    config = load_config(root=root)
    for forced in ("CONFIDENTIALITY", "INTEGRITY") if config else ():
        option = f"CONFIG_LOCK_DOWN_KERNEL_FORCE_{forced}"
        if config and config.has(option):
            return Lockdown(forced.lower(), config.describe(option))
    return None


def _is_initial_user_namespace(uid_map: str | None) -> bool | None:
    if not uid_map or not uid_map.split():
        return None
    return uid_map.split() == ["0", "0", WHOLE_ID_RANGE]


def _container(root: str) -> str:
    """The container runtime that this process runs under; "" in the first namespaces, whatever files lie around there.

    (A virtual machine may well boot from the image of a container.)
    """
    if not _has_own_namespaces(root):
        return ""
    for path, name in CONTAINER_FILES.items():
        if os.path.exists(os.path.join(root, path)):
            return name
    told = (_read(root, "run/systemd/container") or "").strip()
    if told:
        return told
    for word, name in CONTAINER_CGROUPS.items():
        if word in (_read(root, "proc/self/cgroup") or ""):
            return name
    return "unknown"


def _has_own_namespaces(root: str) -> bool:
    for kind, initial in INITIAL_NAMESPACES.items():
        try:
            if os.readlink(os.path.join(root, "proc/self/ns", kind)) != initial:
                return True
        except OSError:
            continue
    return False


def _number(text: str | None) -> int | None:
    try:
        return int(text) if text else None
    except ValueError:
        return None


def _switch(text: str | None) -> bool | None:
    number = _number(text)
    return None if number is None else bool(number)


def _read(root: str, path: str) -> str | None:
    try:
        with open(os.path.join(root, path), "rb", buffering=0) as file:
            return (file.read() or b"").decode("utf-8", "replace")
    except OSError:
        return None
