"""Follows the children of a measured process: a mark for each process id, which forks pass on.

A program on the kernel's tracepoint of forks gives every new process the mark of its parent, before it runs: also none,
where an earlier process with the same id had one. So nothing has to be done when a process ends, and no table is full.
"""

from __future__ import annotations

import errno
from contextlib import ExitStack
from typing import TYPE_CHECKING

from multiprobe.compiler.compiling import compile_program
from multiprobe.compiler.kernel_types import Struct
from multiprobe.compiler.program import program
from multiprobe.compiler.shape import Shape
from multiprobe.errors import KernelError, NotSupportedError, VerifierError
from multiprobe.kernel.tasks import descendants, has_children, load_processes
from multiprobe.maps.layout import MAX_PIDS
from multiprobe.maps.maps import ArrayMap
from multiprobe.maps.set_spec import MapSetSpec
from multiprobe.maps.specs import Array
from multiprobe.maps.store import MapSet
from multiprobe.maps.types import u8, u64
from multiprobe.syscalls import bpf
from multiprobe.syscalls.fd import Closing
from multiprobe.uapi.bpf import ProgType

if TYPE_CHECKING:
    from collections.abc import Iterable, Set

    from multiprobe.compiler.context import Context
    from multiprobe.functions.kernel import Kernel
    from multiprobe.kernel.tasks import Tasks
    from multiprobe.links.ledger import Ledger
    from multiprobe.maps.specs import MapSpec
    from multiprobe.syscalls.fd import FileDescriptor

TRACEPOINT = "sched_process_fork"
_UNABLE = (errno.ENOENT, errno.EINVAL, errno.EOPNOTSUPP)
"""The kernel has no such tracepoint, or can't run programs there."""

task = Struct("task_struct")
marks = Array(u8, MAX_PIDS)
named = Array(u8, MAX_PIDS)
born = Array(u64, 1)


@program
def follow(ctx: Context) -> None:
    """Pass the mark of the current process, the parent, on to its child (the tracepoint's second argument)."""
    child = task(ctx.arg(1)).tgid
    if child != ctx.pid:  # no thread
        mark = marks[ctx.pid]
        marks[child] = mark
        born[0] += mark


@program
def follow_in_namespace(ctx: Context) -> None:
    """The same where processes can also be marked by their id in a pid namespace."""
    child = task(ctx.arg(1)).tgid
    if child != ctx.pid:
        mark = marks[ctx.pid]
        if not mark and ctx.ns_pid > 0:
            mark = named[ctx.ns_pid]
        marks[child] = mark
        born[0] += mark


def follower_maps(*, is_namespaced: bool) -> MapSetSpec:
    """The maps of a follower; `is_namespaced`: processes are marked by their ids in a pid namespace."""
    return MapSetSpec((marks, born, *([named] if is_namespaced else [])), n_functions=1, n_cpus=1)


class Follower(Closing):
    """Marks of processes in kernel memory, and the program that passes them on; owns both. Must be closed.

    Raises NotSupportedError and KernelError for kernels without the tracepoint or without BTF.
    """

    def __init__(self, tasks: Tasks, kernel: Kernel) -> None:
        self._n_marked = 0
        is_namespaced = tasks.namespace is not None
        chosen = follow_in_namespace if is_namespaced else follow
        shape = Shape(is_in_namespace=is_namespaced)
        code = compile_program(chosen, context="raw_tracepoint", when="entry", shape=shape, kernel=kernel)
        with ExitStack() as undo:
            self._store = MapSet(follower_maps(is_namespaced=is_namespaced))
            undo.callback(self._store.close)
            values = self._store.values([chosen.maps[name] for name in code.maps]) | tasks.values()
            self._program = bpf.prog_load(ProgType.RAW_TRACEPOINT, code.link(values), name="follow")
            undo.callback(self._program.close)
            self.link = bpf.attach_raw_tracepoint(self._program, TRACEPOINT)
            undo.pop_all()
        self._by_id = self._array(named if is_namespaced else marks)
        self._store.activate()

    def _array(self, spec: MapSpec) -> ArrayMap:
        found = self._store.map(spec)
        assert isinstance(found, ArrayMap)
        return found

    @property
    def maps(self) -> dict[str, FileDescriptor]:
        """The maps of marks, by what programs call them."""
        found = {"marks": self._array(marks)}
        return {name: one.fd for name, one in (found | {"named": self._by_id}).items()}

    def mark(self, pid: int, *, left_out: Set[int]) -> None:
        """Mark a process and the children that it has by now, again until there are no new ones.

        left_out: these are never marked, nor what they started
        """
        known: dict[int, int] = {}  # children and when they began
        self._set({pid} - left_out, 1)
        while has_children(pid):
            processes = {one: it for one, it in load_processes().items() if one not in left_out}
            tree = {one: processes[one].start for one in descendants(pid, processes)}
            gone = {one for one in known.keys() & processes.keys() - tree if known[one] != processes[one].start}
            self._set(gone, 0)  # ids that other processes have by now
            new = dict(tree.items() - known.items())
            if not new:
                break
            self._set(new, 1)
            known |= new
        self._n_marked += 1 + len(known)

    def _set(self, processes: Iterable[int], mark: int) -> None:
        for one in processes:
            if one < MAX_PIDS:
                self._by_id.memory[one] = mark

    @property
    def n_processes(self) -> int:
        """How many processes were measured."""
        return self._n_marked + self._array(born).totals()[0]

    def missed(self) -> int:
        """Forks of which the child was not followed: the program did not run, or could not read the child's id."""
        losses = self._store.losses()
        return bpf.prog_info(self._program).recursion_misses + losses["failed_reads"] + losses["out_of_range"]

    def close(self) -> None:
        """Detach, and give the marks back."""
        self.link.close()
        self._program.close()
        self._store.close()


def follow_children(tasks: Tasks, kernel: Kernel, ledger: Ledger) -> Follower | None:
    """A follower, or None, with a note in the report, where the kernel has no means."""
    try:
        return Follower(tasks, kernel)
    except VerifierError:
        raise
    except (KernelError, NotSupportedError) as error:
        if isinstance(error, KernelError) and error.errno not in _UNABLE:
            raise
        ledger.note(f"only process {tasks.pid} was measured, none of its children: they can't be followed ({error})")
        return None
