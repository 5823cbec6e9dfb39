"""Values by task (thread), which the kernel keeps with the task and frees with it: the spec and the map."""

from __future__ import annotations

import errno
import os
from struct import Struct
from typing import TYPE_CHECKING

from multiprobe.errors import KernelError, NotSupportedError
from multiprobe.maps.layout import Layout
from multiprobe.maps.maps import OwnMap, Tabular, as_integers
from multiprobe.maps.specs import MapSpec
from multiprobe.syscalls import bpf
from multiprobe.syscalls.fd import FileDescriptor
from multiprobe.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterator

VALUE_SIZE = 8
"""Bytes of every value, whatever its type."""
_PIDFD_THREAD = os.O_EXCL  # include/uapi/linux/pidfd.h
_DESCRIPTOR = Struct("=i")


class PerTask(MapSpec):
    """One value for each task (a thread, or a process of one thread) that a program ran in; 0 at first.

    >>> depth = PerTask(u32)

    In a program its only key is the current task: `m[ctx.task] += 1`, `ctx.task in m`, `del m[ctx.task]`. The value is
    freed with the task. Each CPU's idle task has a value of its own. Raises UsageError for another type.
    """

    __slots__ = ()
    kind = "per_task"

    if TYPE_CHECKING:  # in programs

        def __getitem__(self, task: object) -> int: ...
        def __setitem__(self, task: object, value: int) -> None: ...
        def __delitem__(self, task: object) -> None: ...
        def __contains__(self, task: object) -> bool: ...

    def layout(self, n_functions: int, n_cpus: int) -> Layout:
        return Layout(_DESCRIPTOR.size, VALUE_SIZE, 0, False)

    def __repr__(self) -> str:
        return f"PerTask({self.value!r})"


class PerTaskMap(OwnMap, Tabular):
    """The open map of a PerTask (BPF_MAP_TYPE_TASK_STORAGE). The kernel finds values by pidfd: one lookup for a task.

    unreadable: threads that the last `as_dict` left out, because the kernel opens no pidfd for them (before Linux 6.9,
        it does for the first thread of each process only)

    Idle tasks have no id, and tasks outside of this process's pid namespace none here: their values can't be read.
    """

    def __init__(self, spec: PerTask, made: Layout, *, name: str) -> None:
        """Create the map. Raises NotSupportedError on a kernel without task storage."""
        self.spec: PerTask = spec
        self.layout = made
        self.unreadable = 0
        try:
            self.fd = bpf.task_storage_create(made.value_size, name=name)
        except KernelError as error:
            if error.errno_name != "EINVAL":
                raise
            hint = "it came in Linux 5.13; use a Hash by ctx.tid"
            raise NotSupportedError("the kernel has no task storage, for mp.PerTask", hint=hint) from error

    def get(self, tid: int) -> int | None:
        """The value of the task with this id; None if it has none or has ended.

        Raises NotSupportedError for a thread that the kernel opens no pidfd for, KernelError otherwise.
        """
        try:
            pidfd = _open(tid)
        except _UnreadableError:
            hint = "Linux 6.9 does; before, only the first thread of a process can be read"
            raise NotSupportedError(f"the kernel opens no pidfd for thread {tid}", hint=hint) from None
        if pidfd is None:
            return None
        with pidfd:
            found = bpf.map_lookup(self.fd, _DESCRIPTOR.pack(pidfd.fileno()), VALUE_SIZE)
        return None if found is None else as_integers(found[: self.spec.value.size], self.spec.value)[0]

    def as_dict(self) -> dict[int, int]:
        """The values of all running tasks that have one, by thread id; those in `unreadable` are left out."""
        found, self.unreadable = {}, 0
        for tid in _thread_ids():
            try:
                value = self.get(tid)
            except NotSupportedError:
                self.unreadable += 1
                continue
            if value is not None:
                found[tid] = value
        return found

    def records(self) -> Table:
        """A record for each task in `as_dict`: "tid" and "value"."""
        return Table({"tid": tid, "value": value} for tid, value in self.as_dict().items())


class _UnreadableError(Exception):
    """The kernel has no pidfd for a thread."""


def _open(tid: int) -> FileDescriptor | None:
    """A pidfd of a thread; None if it has ended."""
    for flags in (0, _PIDFD_THREAD):  # 0 is for the first thread of a process
        try:
            return FileDescriptor(os.pidfd_open(tid, flags), f"thread {tid}")
        except OSError as error:
            if error.errno == errno.ESRCH:
                return None
            if error.errno not in (errno.EINVAL, errno.ENOENT):
                raise KernelError("opening a pidfd", error.errno or 0, subject=f"thread {tid}") from error
    raise _UnreadableError


def _thread_ids() -> Iterator[int]:
    """The ids of all threads that this process sees."""
    for process in filter(str.isdecimal, os.listdir("/proc")):
        try:
            yield from map(int, os.listdir(f"/proc/{process}/task"))
        except (FileNotFoundError, ProcessLookupError):
            continue
