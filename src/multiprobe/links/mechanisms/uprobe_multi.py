"""uprobe.multi: one link on many functions of one binary (BPF_TRACE_UPROBE_MULTI, BPF_TRACE_UPROBE_SESSION).

Linux kernel commit 89ae89f53d20 ("bpf: Add multi uprobe link") (in v6.6); sessions: d920179b3d48 (in v6.13).

The kernel looks at an instruction only when a process maps it: a link on one that it can't probe succeeds, and never
fires. So the binary is mapped here, and an empty program is linked in this process alone, before any other process is
touched: the kernel refuses there what it can't probe.
"""

from __future__ import annotations

import errno
import mmap
from array import array
from contextlib import ExitStack, contextmanager
from os import getpid
from typing import TYPE_CHECKING

from multiprobe.binaries.file import BinaryFile
from multiprobe.binaries.mixed import binary_parts
from multiprobe.errors import DataError, KernelError, NoMatchError, NotSupportedError
from multiprobe.kernel.features import Features
from multiprobe.kernel.mechanism import Mechanism
from multiprobe.links.mechanisms.batch import attach_batch
from multiprobe.links.mechanisms.bisect import NoCulpritError, find_culprits
from multiprobe.links.mechanisms.errnos import ENOTSUPP, is_about_the_batch
from multiprobe.links.mechanisms.link import Link
from multiprobe.links.mechanisms.linked import Hook, Linked, filling, load_empty
from multiprobe.links.mechanisms.tried import Tried
from multiprobe.syscalls import bpf
from multiprobe.uapi.bpf import AttachType, ProgType

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from multiprobe.binaries.sets import UserFunctionSet
    from multiprobe.links.mechanisms.linked import LinkRequest
    from multiprobe.syscalls.fd import FileDescriptor

PROG_TYPE = ProgType.KPROBE


def attach_type(when: str) -> int:
    """The expected attach type of a program that runs `when`."""
    return AttachType.TRACE_UPROBE_SESSION if when == "session" else AttachType.TRACE_UPROBE_MULTI


def attach(request: LinkRequest) -> Linked:
    """Attach the functions by one link for each binary."""
    with filling(Mechanism.UPROBE_MULTI) as linked:
        program = request.load(Hook(PROG_TYPE, attach_type(request.when)))
        linked.programs.append(program)
        for first, functions in binary_parts(request.functions):
            _attach_binary(request, functions, first, linked)
    return linked


def _attach_binary(request: LinkRequest, functions: UserFunctionSet, first: int, linked: Linked) -> None:
    """Attach the functions of one binary; the first of them is at position `first` of the request."""
    offsets = functions.file_offsets()
    program, indices = linked.programs[0], request.indices[first : first + len(offsets)]
    cookies = None if request.cookies is None else request.cookies[first : first + len(offsets)]
    everything = range(len(offsets))
    with open_unchanged(functions) as file:

        def open_part(part: Sequence[int]) -> Link:
            if part is everything:
                wanted, given, placed = offsets, cookies, indices
            else:
                wanted = array("Q", map(offsets.__getitem__, part))
                given = None if cookies is None else array("Q", map(cookies.__getitem__, part))
                placed = [indices[place] for place in part]
            fd = open_link(program, file, wanted, given, when=request.when, pid=request.pid or 0)
            return Link(fd, Mechanism.UPROBE_MULTI, placed)

        refused = refused_by_kernel(file, offsets, when=request.when)
        linked.refused |= {indices[place]: number for place, number in refused.items()}
        good = [place for place in everything if place not in refused] if refused else everything
        attach_batch(open_part, good, linked, indices=indices)


@contextmanager
def open_unchanged(functions: UserFunctionSet) -> Iterator[BinaryFile]:
    """The file of the functions, open. Raises DataError if it is not the one that was read."""
    path = functions.table.path
    with BinaryFile(path) as file:
        if file.key != functions.table.key:
            raise DataError(f"{path} was replaced or changed since it was read", hint="make another mp.Binary")
        yield file


def refused_by_kernel(file: BinaryFile, offsets: array[int], *, when: str) -> dict[int, int]:
    """The places in `offsets` of the instructions that the kernel can't probe, each with the errno."""
    tried = Tried.load(file.key)
    if tried.good.issuperset(offsets):
        return {}
    known = tried.good | tried.refused
    new = [place for place, offset in enumerate(offsets) if offset not in known]
    found: dict[int, int] = {}
    if new:
        refused = _try(file, [offsets[place] for place in new], when=when)
        found = {new[place]: number for place, number in refused.items()}
        lasting = {offsets[place] for place, number in found.items() if number == ENOTSUPP}
        tried.add((offsets[place] for place in new if place not in found), lasting)
    return {place: ENOTSUPP for place, offset in enumerate(offsets) if offset in tried.refused} | found


def _try(file: BinaryFile, offsets: Sequence[int], *, when: str) -> dict[int, int]:
    """The places in `offsets` that the kernel refuses in this process, each with the errno."""
    places = range(len(offsets))
    with load_empty(Hook(PROG_TYPE, attach_type(when))) as program, ExitStack() as accepted, mapped(file):

        def open_part(part: Sequence[int]) -> None:
            wanted = array("Q", map(offsets.__getitem__, part))
            accepted.enter_context(open_link(program, file, wanted, None, when=when, pid=getpid()))

        def attempt(part: Sequence[int]) -> int:
            try:
                open_part(part)
            except KernelError as error:
                return error.errno
            return 0

        try:
            open_part(places)
        except KernelError as error:
            if is_about_the_batch(Mechanism.UPROBE_MULTI, error.errno):
                raise
            try:
                return find_culprits(places, attempt, errno=error.errno)
            except NoCulpritError:
                raise error from None
    return {}


@contextmanager
def mapped(file: BinaryFile) -> Iterator[None]:
    """The file, mapped as the code of a program is."""
    try:
        code = mmap.mmap(file.fileno(), 0, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_EXEC)
    except PermissionError as error:
        raise NotSupportedError(
            f"{file.path} is in a file system that is mounted noexec: no process can run it from there"
        ) from error
    except OSError as error:
        raise KernelError("mapping", error.errno or 0, subject=file.path) from error
    with code:
        yield


def open_link(
    prog: FileDescriptor, file: BinaryFile, offsets: array[int], cookies: array[int] | None, *, when: str, pid: int
) -> FileDescriptor:
    """One link on `offsets` of an open file, each with the cookie at its place; in one process, if `pid` is not 0.

    Raises NoMatchError if there is no such process, NotSupportedError if the kernel has no such links.
    """
    try:
        return bpf.link_create_uprobe_multi(
            prog,
            attach_type(when),
            f"/proc/self/fd/{file.fileno()}",
            offsets,
            cookies=cookies,
            is_return=when == "return",
            pid=pid,
        )
    except KernelError as error:
        if error.errno == errno.ESRCH:
            raise NoMatchError(f"there is no process {pid}") from error
        if error.errno in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
            _require_feature("uprobe_session" if when == "session" else "uprobe_multi")
        raise


def _require_feature(name: str) -> None:
    answer = Features().probe(name)
    if answer.is_no:
        sides = " to both sides of" if name == "uprobe_session" else " to"
        raise NotSupportedError(
            f"this kernel can't attach a program{sides} functions of binaries: it has no {name} ({answer.evidence})",
            hint="`multiprobe doctor` shows what this kernel has; Linux 6.6 and later can, with sessions 6.13",
        )


def read_back(link: FileDescriptor, n: int) -> array[int] | None:
    """The offsets in the file that the kernel says the link is on, sorted, or None where it can't tell."""
    answer = bpf.uprobe_multi_functions(link, n)
    if answer is None:
        return None
    return array("Q", sorted(answer[1])) if answer[0] == n else answer[1][:0]
