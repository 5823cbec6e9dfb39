"""uprobe.multi: one link on many functions of one binary (BPF_TRACE_UPROBE_MULTI, BPF_TRACE_UPROBE_SESSION).

Linux kernel commit 89ae89f53d20 ("bpf: Add multi uprobe link") (in v6.6); sessions: d920179b3d48 (in v6.13).

The kernel looks at an instruction only when a process maps it: a link on one that it can't probe succeeds, and never
fires. So the code is copied into memory of our own and mapped here, and an empty program is linked to the copy in this
process alone, before any other process is touched: the kernel refuses there what it can't probe.
"""

from __future__ import annotations

import errno
import mmap
import os
from array import array
from collections import Counter
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING

from multiprobe.binaries.mixed import binary_parts
from multiprobe.binaries.usdt import UsdtProbeSet
from multiprobe.errors import DataError, KernelError, NoMatchError, NotSupportedError, errno_name
from multiprobe.kernel.features import Features
from multiprobe.kernel.mechanism import Mechanism
from multiprobe.links.mechanisms.batch import attach_batch
from multiprobe.links.mechanisms.bisect import NoCulpritError, find_culprits
from multiprobe.links.mechanisms.errnos import ENOTSUPP, is_about_the_batch
from multiprobe.links.mechanisms.harm import harmful_sites
from multiprobe.links.mechanisms.link import Link
from multiprobe.links.mechanisms.linked import Hook, Linked, filling, load_empty
from multiprobe.links.mechanisms.uprobe_program import PROG_TYPE, attach_type, open_unchanged
from multiprobe.syscalls import bpf

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from multiprobe.binaries.file import BinaryFile
    from multiprobe.binaries.sets import UserFunctionSet
    from multiprobe.links.mechanisms.linked import LinkRequest
    from multiprobe.syscalls.fd import FileDescriptor

CODE_BYTES = 16
"""The kernel looks at as many of an instruction."""
MAX_PROGRAMS = 512
"""Sites of USDT probes that keep their arguments in so many different places get a program each."""


def attach(request: LinkRequest) -> Linked:
    """Attach the functions by one link for each binary; USDT probes by one for each place of arguments there."""
    with filling(Mechanism.UPROBE_MULTI) as linked:
        programs: dict[str | None, FileDescriptor] = {}
        for first, functions in binary_parts(request.functions):
            with open_unchanged(functions) as file:
                _Sites(request, functions, first, file).attach(linked, programs)
    return linked


class _Sites:
    """The instructions to probe in one binary; its first function is at position `first` of the request.

    refused: by the place of a site, why it can't be attached to: an errno, and a reason if the errno doesn't say it
    """

    def __init__(self, request: LinkRequest, functions: UserFunctionSet, first: int, file: BinaryFile) -> None:
        self.request = request
        self.functions = functions
        self.file = file
        self.sites = functions.sites()
        self.indices = request.indices[first : first + len(functions)]
        self.cookies = None if request.cookies is None else request.cookies[first : first + len(functions)]
        self.refused: dict[int, tuple[int, str]] = {}

    def attach(self, linked: Linked, programs: dict[str | None, FileDescriptor]) -> None:
        """Put the links into `linked`, and the programs that they share into `programs` and there."""
        sites = self.sites
        if isinstance(self.functions, UsdtProbeSet):
            linked.notes += self.functions.notes()
            harmful = harmful_sites(self.functions)
            self.refused = {n: (errno.EPERM, harmful[at].reason) for n, at in enumerate(sites.offsets) if at in harmful}
        numbers = refused_by_kernel(self.file, sites.offsets, sites.counters, when=self.request.when)
        self.refused |= {place: (number, "") for place, number in numbers.items()}
        for arguments, places in self._by_arguments().items():
            try:
                program = self._program(arguments, linked, programs)
            except DataError as error:
                if arguments is None:
                    raise
                self.refused |= dict.fromkeys(places, (errno.EOPNOTSUPP, str(error)))
                continue
            part = Linked(linked.mechanism, linked.links)
            attach_batch(partial(self._open, program), places, part, indices=range(len(sites.offsets)))
            self.refused |= {place: (number, "") for place, number in part.refused.items()}
        self._settle(linked)

    def _by_arguments(self) -> Mapping[str | None, Sequence[int]]:
        """The places of the sites that one program serves, by where these keep their arguments."""
        everything = range(len(self.sites.offsets))
        listed = self.sites.arguments
        if listed is None and not self.refused:
            return {None: everything}
        found: dict[str | None, list[int]] = {}
        for place in everything:
            if place not in self.refused:
                key = listed[place] if listed is not None and self.request.reads_arguments else None
                found.setdefault(key, []).append(place)
        return found

    def _program(
        self, arguments: str | None, linked: Linked, programs: dict[str | None, FileDescriptor]
    ) -> FileDescriptor:
        """The program for sites that keep their arguments there. Raises DataError if they can't be read."""
        if arguments not in programs:
            if len(programs) == MAX_PROGRAMS:
                raise DataError(f"these probes keep arguments in more than {MAX_PROGRAMS} different places")
            hook = Hook(PROG_TYPE, attach_type(self.request.when), arguments=arguments)
            programs[arguments] = self.request.load(hook)
            linked.programs.append(programs[arguments])
        return programs[arguments]

    def _open(self, program: FileDescriptor, places: Sequence[int]) -> Link:
        """One link on the sites at these places."""
        sites, request = self.sites, self.request
        is_everything = places == range(len(self.indices)) and isinstance(sites.positions, range)
        positions = sites.positions if is_everything else [sites.positions[place] for place in places]
        offsets = _picked(sites.offsets, places)
        fd = open_link(
            program,
            self.file.fileno(),
            offsets,
            None if self.cookies is None else _picked(self.cookies, positions),
            counters=None if sites.counters is None else _picked(sites.counters, places),
            when=request.when,
            pid=request.pid or 0,
        )
        indices = self.indices if is_everything else [self.indices[n] for n in dict.fromkeys(positions)]
        return Link(fd, Mechanism.UPROBE_MULTI, indices, offsets=offsets)

    def _settle(self, linked: Linked) -> None:
        """Refuse the functions that have no site left, and note those that lack some."""
        if not self.refused:
            return
        n_sites = Counter(self.sites.positions)
        lost: dict[int, list[tuple[int, str]]] = {}
        for place, reason in sorted(self.refused.items()):
            lost.setdefault(self.sites.positions[place], []).append(reason)
        for position, reasons in lost.items():
            number, why = reasons[0]
            if len(reasons) == n_sites[position]:
                linked.refused[self.indices[position]] = number
                linked.verdicts |= {self.indices[position]: why} if why else {}
            else:
                label, count = self.functions.label(position), f"{len(reasons)} of {n_sites[position]} sites"
                linked.notes.append(f"{count} of {label} are not attached: {why or errno_name(number)}")


def _picked(column: array[int], places: Sequence[int]) -> array[int]:
    """The items of a column at these places; the column itself, if these are all places."""
    return column if places == range(len(column)) else array("Q", map(column.__getitem__, places))


def refused_by_kernel(
    file: BinaryFile, offsets: array[int], counters: array[int] | None = None, *, when: str
) -> dict[int, int]:
    """The places in `offsets` of the instructions that the kernel can't probe, each with the errno."""
    from multiprobe.links.mechanisms.tried import Tried  # it takes NumPy, which functions of the kernel do without

    tried = Tried.load(file.key)
    places, new = tried.look_up(offsets)
    known = dict.fromkeys(places, ENOTSUPP)
    if not new:
        return known
    guarded_by = None if counters is None else _picked(counters, new)
    refused = _try(file, _picked(offsets, new), counters=guarded_by, when=when)
    found = {new[place]: number for place, number in refused.items()}
    lasting = {offsets[place] for place, number in found.items() if number == ENOTSUPP}
    tried.add((offsets[place] for place in new if place not in found), lasting)
    return known | found


def _try(file: BinaryFile, offsets: array[int], *, counters: array[int] | None, when: str) -> dict[int, int]:
    """The places in `offsets` that the kernel refuses in this process, each with the errno."""
    places = range(len(offsets))
    with (
        load_empty(Hook(PROG_TYPE, attach_type(when))) as program,
        ExitStack() as accepted,
        _copied(file, offsets) as copy,
    ):

        def open_part(part: Sequence[int]) -> None:
            guarded_by = None if counters is None else _picked(counters, part)
            link = open_link(
                program, copy, _picked(offsets, part), None, counters=guarded_by, when=when, pid=os.getpid()
            )
            accepted.enter_context(link)

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
def _copied(file: BinaryFile, offsets: array[int]) -> Iterator[int]:
    """A descriptor of a file in memory that has the same instructions at these offsets, mapped as code is.

    Where there is no memory for it, the file itself.
    """
    with mapped(file, file.fileno()), ExitStack() as ending:
        try:
            copy = os.memfd_create("multiprobe", os.MFD_CLOEXEC)
            ending.callback(os.close, copy)
            os.ftruncate(copy, len(file))
            at, end = min(offsets, default=0), min(max(offsets, default=0) + CODE_BYTES, len(file))
            os.lseek(copy, at, os.SEEK_SET)
            while at < end and (n := os.sendfile(copy, file.fileno(), at, end - at)):
                at += n
        except OSError:
            copy = file.fileno()
        with mapped(file, copy):
            yield copy


@contextmanager
def mapped(file: BinaryFile, descriptor: int) -> Iterator[None]:
    """The file, or the copy of it that a descriptor stands for, mapped as the code of a program is."""
    try:
        code = mmap.mmap(descriptor, 0, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_EXEC)
    except PermissionError as error:
        raise NotSupportedError(
            f"{file.path} is in a file system that is mounted noexec: no process can run it from there"
        ) from error
    except OSError as error:
        raise KernelError("mapping", error.errno or 0, subject=file.path) from error
    with code:
        yield


def open_link(
    prog: FileDescriptor,
    descriptor: int,
    offsets: array[int],
    cookies: array[int] | None,
    *,
    counters: array[int] | None = None,
    when: str,
    pid: int,
) -> FileDescriptor:
    """One link on `offsets` of an open file (its descriptor), each with the cookie and counter at its place.

    pid: of the only process, or 0; counters: as in `Sites`

    Raises NoMatchError if there is no such process, NotSupportedError if the kernel has no such links.
    """
    try:
        return bpf.link_create_uprobe_multi(
            prog,
            attach_type(when),
            f"/proc/self/fd/{descriptor}",
            offsets,
            counters=counters,
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
    """The offsets in the file that the kernel says the link is on, or None where it can't tell."""
    answer = bpf.uprobe_multi_functions(link, n)
    if answer is None:
        return None
    return answer[1] if answer[0] == n else answer[1][:0]
