"""Which processes a measurement is of: their ids, as the pid namespace of this process numbers them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from multiprobe.errors import RESOURCES, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from multiprobe.syscalls.fd import FileDescriptor

_INITIAL_NAMESPACE = 0xEFFFFFFC
"""The inode of the first pid namespace (include/linux/proc_ns.h: PROC_PID_INIT_INO)."""


class Tasks(NamedTuple):
    """The processes that programs run in.

    pid: the only one, or None; has_own: not without this process and its watchdog
    has_children: `pid` with its children, theirs, and so on; marks: descriptors of the maps in which these are marked
    namespace: device and inode of the pid namespace that numbers them, as bpf_get_ns_current_pid_tgid takes them; None
        where it is the first one, or no id is used
    """

    pid: int | None = None
    has_own: bool = True
    namespace: tuple[int, int] | None = None
    has_children: bool = False
    marks: Mapping[str, int] | None = None

    @classmethod
    def of(cls, pid: int | None, *, has_own: bool, has_children: bool = False, is_namespaced: bool = False) -> Tasks:
        """Those tasks, in this process's namespace. Raises UsageError for what is not the id of a process.

        is_namespaced: the program asks for ids in that namespace
        """
        if pid is not None:
            require_process(pid, may_end=True)
        has_ids = pid is not None or not has_own or is_namespaced
        namespace = load_namespace() if has_ids else None
        return cls(pid, has_own, namespace, has_children and pid is not None)

    def to_mark(self) -> Tasks:
        """The same, as programs are compiled for them: those with children will be marked."""
        return self._replace(marks={}) if self.has_children else self

    def marked(self, maps: Mapping[str, FileDescriptor]) -> Tasks:
        """The processes that are marked in these maps."""
        return self._replace(marks={name: fd.fileno() for name, fd in maps.items()})

    @property
    def only(self) -> int | None:
        """The process, if only one is measured, without its children."""
        return self.pid if self.marks is None else None

    def values(self) -> dict[str, int]:
        """The numbers to link a program with."""
        found = {} if self.pid is None else {"pid": self.pid}
        found |= self.marks or {}
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
    except OSError as error:
        if error.errno in RESOURCES:
            raise
        if may_end:
            return
        raise UsageError(f"no process has the id {pid}") from None
    leader = next((int(line.split()[1]) for line in text.splitlines() if line.startswith(b"Tgid:")), pid)
    if leader != pid:
        raise UsageError(f"{pid} is a thread of process {leader}", hint=f"use {leader}, the id of the process")


class Born(NamedTuple):
    """When a process began, in clock ticks since the boot, and the id of its parent."""

    parent: int
    start: int


def load_processes(*, proc: str = "/proc") -> dict[int, Born]:
    """All processes that this process can see, by id."""
    found = {}
    for name in os.listdir(proc):
        if name.isdigit():
            try:
                with open(f"{proc}/{name}/stat", "rb") as file:
                    found[int(name)] = parse_stat(file.read())
            except OSError as error:
                if error.errno in RESOURCES:
                    raise
                continue  # it has ended
    return found


def parse_stat(text: bytes) -> Born:
    """Parent and start of a process, fields 4 and 22 of its /proc/PID/stat; its name, before, may hold anything."""
    fields = text.rpartition(b")")[2].split()
    return Born(int(fields[1]), int(fields[19]))


def has_children(pid: int, *, proc: str = "/proc") -> bool:
    """Whether a process has children; true also where the kernel has no list of them (CONFIG_PROC_CHILDREN)."""
    try:
        for thread in os.listdir(f"{proc}/{pid}/task"):
            with open(f"{proc}/{pid}/task/{thread}/children", "rb") as file:
                if file.read():
                    return True
    except OSError:
        return True
    return False


def descendants(pid: int, processes: Mapping[int, Born]) -> set[int]:
    """The children of a process, theirs, and so on."""
    found, new = set[int](), {pid}
    while new:
        new = {one for one, born in processes.items() if born.parent in new} - found - {pid}
        found |= new
    return found
