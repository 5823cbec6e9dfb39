"""Which processes a measurement is of: their ids, as the pid namespace of this process numbers them."""

from __future__ import annotations

import os
from dataclasses import dataclass

from multiprobe.errors import UsageError

_INITIAL_NAMESPACE = 0xEFFFFFFC
"""The inode of the first pid namespace (include/linux/proc_ns.h: PROC_PID_INIT_INO)."""


@dataclass(frozen=True, slots=True)
class Tasks:
    """The processes that programs run in.

    pid: the only one, or None; has_own: not without this process and its watchdog
    namespace: device and inode of the pid namespace that numbers them, as bpf_get_ns_current_pid_tgid takes them; None
        where it is the first one, or no id is used
    """

    pid: int | None = None
    has_own: bool = True
    namespace: tuple[int, int] | None = None

    @classmethod
    def of(cls, pid: int | None, *, has_own: bool, is_namespaced: bool = False) -> Tasks:
        """Those tasks, in this process's namespace. Raises UsageError for what is not the id of a process.

        is_namespaced: the program asks for ids in that namespace
        """
        if pid is not None:
            require_process(pid, may_end=True)
        has_ids = pid is not None or not has_own or is_namespaced
        return cls(pid, has_own, load_namespace() if has_ids else None)

    def values(self) -> dict[str, int]:
        """The numbers to link a program with."""
        found = {} if self.pid is None else {"pid": self.pid}
        if self.namespace is not None:
            device, inode = self.namespace
            found |= {"namespace.device": device, "namespace.inode.high": inode >> 16}
            found["namespace.inode.low"] = inode & 0xFFFF
        return found


ALL_TASKS = Tasks()


def load_namespace(path: str = "/proc/self/ns/pid") -> tuple[int, int] | None:
    """The pid namespace of this process, unless it is the first one."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    if found.st_ino == _INITIAL_NAMESPACE:
        return None
    return os.major(found.st_dev) << 20 | os.minor(found.st_dev), found.st_ino


def require_process(pid: int, *, proc: str = "/proc", may_end: bool = False) -> None:
    """Raise UsageError unless `pid` is a process; with `may_end`, one that is not there is no error."""
    if not isinstance(pid, int) or isinstance(pid, bool) or pid <= 0:
        raise UsageError(f"invalid pid={pid!r}: expected the id of a process")
    try:
        with open(f"{proc}/{pid}/status", "rb") as file:
            text = file.read()
    except OSError:
        if may_end:
            return
        raise UsageError(f"no process has the id {pid}") from None
    leader = next((int(line.split()[1]) for line in text.splitlines() if line.startswith(b"Tgid:")), pid)
    if leader != pid:
        raise UsageError(f"{pid} is a thread of process {leader}", hint=f"use {leader}, the id of the process")
