"""Queries BPF objects of any process: the machine code of programs, the probe of a perf event. Read-only.

`bpf` has the single commands; the queries here take several steps.
"""

from __future__ import annotations

import errno
import os
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING

from multiprobe.errors import DataError, KernelError
from multiprobe.names import decode_name
from multiprobe.syscalls import bpf
from multiprobe.syscalls.raw import BPF, address_of, call
from multiprobe.uapi import info
from multiprobe.uapi.bpf import Cmd

if TYPE_CHECKING:
    from multiprobe.syscalls.fd import FileDescriptor

_TRIES = 3
_MAX_NAME = 4096


@dataclass(frozen=True, slots=True)
class Image:
    """The machine code of one function of a program, and where it lies; `code` is empty where the kernel hides it."""

    address: int
    size: int
    code: bytes


def prog_images(prog: FileDescriptor) -> tuple[Image, ...]:
    """A program's machine code, its main function first. Empty when it isn't jited, or hidden (kptr_restrict)."""
    for _ in range(_TRIES):
        sizes = bpf.prog_info(prog)
        count = sizes.n_jited_ksyms
        addresses, lengths = array("Q", bytes(8 * count)), array("I", bytes(4 * count))
        code = bytearray(sizes.jited_len)
        request = info.request_prog_images(
            jited=address_of(code),
            jited_len=len(code),
            addresses=addresses.buffer_info()[0] if count else 0,
            lengths=lengths.buffer_info()[0] if count else 0,
            count=count,
        )
        answer = bpf.prog_info(prog, request)
        if (answer.n_jited_ksyms, answer.jited_len) == (count, len(code)):
            break
    else:
        raise DataError(f"{prog.what} changes while it is read")
    is_whole = sum(lengths) == len(code) and any(code)
    images, at = [], 0
    for address, length in zip(addresses, lengths, strict=True):
        images.append(Image(address, length, bytes(code[at : at + length]) if is_whole else b""))
        at += length
    return tuple(image for image in images if image.address)


@dataclass(frozen=True, slots=True)
class UprobeMulti:
    """What a uprobe.multi link is attached to: columns of the same length. `counters`: of semaphores, 0 for none."""

    path: str
    flags: int
    pid: int
    offsets: array[int]
    cookies: array[int]
    counters: array[int]


def uprobe_multi(link: FileDescriptor) -> UprobeMulti | None:
    """What a uprobe.multi link is attached to; None if the kernel refuses to tell.

    Linux kernel commit e56fdbfb06e2 ("bpf: Add link_info support for uprobe multi link") (in v6.8)
    """
    path = bytearray(_MAX_NAME)
    try:
        n = info.parse_uprobe_multi(bpf.link_info(link).rest).n_functions
        offsets, cookies, counters = (array("Q", bytes(8 * n)) for _ in range(3))
        at = [one.buffer_info()[0] for one in (offsets, cookies, counters)]
        request = info.request_uprobe_multi(at[0], n, at[1], address_of(path), len(path), counters=at[2])
        told = info.parse_uprobe_multi(bpf.link_info(link, request).rest)
    except KernelError:
        return None
    return UprobeMulti(_path(path), told.flags, told.pid, offsets, cookies, counters)


def perf_uprobe(link: FileDescriptor) -> tuple[str, info.PerfUprobeInfo] | None:
    """The path of the file that a link on a perf event probes, and where; None if the kernel refuses to tell."""
    path = bytearray(_MAX_NAME)
    try:
        told = bpf.link_info(link, info.request_perf_uprobe(address_of(path), len(path)))
    except KernelError:
        return None
    return _path(path), info.parse_perf_uprobe(told.rest)


def _path(buffer: bytearray) -> str:
    return os.fsdecode(bytes(buffer).partition(b"\0")[0])


def perf_probe(pid: int, fd: int) -> tuple[info.PerfProbe, str] | None:
    """What the perf event behind descriptor `fd` of process `pid` probes, and the symbol if it was named by one.

    None if it no longer exists, is not a probe, or has no program.
    """
    symbol = bytearray(_MAX_NAME)
    attr = bytearray(info.request_task_fd(pid, fd, address_of(symbol), len(symbol)))
    result = call(BPF, Cmd.TASK_FD_QUERY, address_of(attr), len(attr))
    if result < 0:
        if -result == errno.EPERM:
            raise bpf.error("asking what a perf event probes", errno.EPERM, f"descriptor {fd} of process {pid}")
        return None
    return info.parse_task_fd(bytes(attr)), decode_name(bytes(symbol))
