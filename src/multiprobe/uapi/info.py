"""Decodes the results of OBJ_GET_INFO_BY_FD: struct bpf_link_info, bpf_prog_info, bpf_map_info, bpf_btf_info.

Pure. Layouts from include/uapi/linux/bpf.h; fields missing from a shorter result (of an older kernel) are 0.
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from multiprobe.names import decode_name

LINK_SIZE = 128
PROG_SIZE = 256
MAP_SIZE = 128
BTF_SIZE = 64

_LINK_HEAD = Struct("=III4x")
_KPROBE_MULTI = Struct("=QIIQQ")
_TRACING_MULTI = Struct("=IIIIQQQ")
_UPROBE_MULTI = Struct("=QQQQIIII")
_TRACING = Struct("=IIIIQ")
_PERF_KPROBE = Struct("=I4xQIIQQQ")
_PERF_UPROBE = Struct("=I4xQIIQQ")
_TOLD_SINCE_6_7 = 40
"""The size of the union in struct bpf_link_info since a kprobe's `missed` is in it."""
_PROG = Struct("=II8sIIQQQIIQ16sIIQQIIQQIIQIIQQIIIIQQQQIII")
_MAP = Struct("=IIIIII16s")
_BTF = Struct("=QIIQII")


class LinkInfo(NamedTuple):
    """The head of struct bpf_link_info; `rest` is the part that depends on `kind` (a LinkType)."""

    kind: int
    link_id: int
    prog_id: int
    rest: bytes

    @property
    def counts_missed(self) -> bool:
        """Whether this kernel counts the calls that kprobes miss, of links and of programs alike.

        Linux kernel commits 3acf8ace6823 ("bpf: Add missed value to kprobe perf link info") and its series (in v6.7).
        """
        return len(self.rest) >= _TOLD_SINCE_6_7


class KprobeMultiInfo(NamedTuple):
    """bpf_link_info.kprobe_multi: how many functions, the flags, and calls missed since attached."""

    n_functions: int
    flags: int
    missed: int


class UprobeMultiInfo(NamedTuple):
    """bpf_link_info.uprobe_multi: how many functions, the flags, the only process (0: all), bytes of the path."""

    n_functions: int
    flags: int
    pid: int
    path_size: int


class TracingMultiInfo(NamedTuple):
    """bpf_link_info.tracing_multi."""

    attach_type: int
    n_functions: int
    btf_obj_id: int


class TracingInfo(NamedTuple):
    """bpf_link_info.tracing: one trampoline; `cookie` is 0 on kernels that don't tell it."""

    attach_type: int
    target_obj_id: int
    target_btf_id: int
    cookie: int


class PerfKprobeInfo(NamedTuple):
    """bpf_link_info.perf_event for a kprobe: `kind` is a PerfEventLinkType."""

    kind: int
    offset: int
    address: int
    missed: int
    cookie: int


class PerfUprobeInfo(NamedTuple):
    """bpf_link_info.perf_event for a uprobe: where it is in the file."""

    offset: int
    cookie: int
    counter: int


class ProgInfo(NamedTuple):
    """The fields of struct bpf_prog_info that this project uses."""

    kind: int
    prog_id: int
    tag: str
    jited_len: int
    xlated_len: int
    n_maps: int
    name: str
    n_jited_ksyms: int
    btf_id: int
    run_time_ns: int
    run_count: int
    recursion_misses: int
    n_verified_insns: int
    attach_btf_obj_id: int
    attach_btf_id: int


class MapInfo(NamedTuple):
    """The head of struct bpf_map_info."""

    kind: int
    map_id: int
    key_size: int
    value_size: int
    max_entries: int
    flags: int
    name: str


class BtfInfo(NamedTuple):
    """struct bpf_btf_info: `size` of the raw BTF, its object id, and whether the kernel (or a module) owns it."""

    size: int
    btf_id: int
    is_kernel: bool


def _unpack(layout: Struct, data: bytes) -> tuple[int, ...]:
    return layout.unpack(data[: layout.size].ljust(layout.size, b"\0"))


def _text(raw: object) -> str:
    assert isinstance(raw, bytes)
    return decode_name(raw)


def parse_link(data: bytes) -> LinkInfo:
    """Decode struct bpf_link_info up to its union."""
    kind, link_id, prog_id = _unpack(_LINK_HEAD, data)
    return LinkInfo(kind, link_id, prog_id, data[_LINK_HEAD.size :])


def parse_kprobe_multi(rest: bytes) -> KprobeMultiInfo:
    """Decode the kprobe_multi part of a link info (its address arrays are filled separately)."""
    _, count, flags, missed, _ = _unpack(_KPROBE_MULTI, rest)
    return KprobeMultiInfo(count, flags, missed)


def request_kprobe_multi(addresses: int, count: int, cookies: int) -> bytes:
    """A link info that asks the kernel to fill arrays at `addresses` and `cookies` (0: don't), `count` long."""
    return bytes(_LINK_HEAD.size) + _KPROBE_MULTI.pack(addresses, count, 0, 0, cookies)


def parse_tracing_multi(rest: bytes) -> TracingMultiInfo:
    """Decode the tracing_multi part of a link info."""
    attach_type, count, btf_obj_id, *_ = _unpack(_TRACING_MULTI, rest)
    return TracingMultiInfo(attach_type, count, btf_obj_id)


def request_tracing_multi(ids: int, count: int, addresses: int, cookies: int) -> bytes:
    """A link info that asks for ids (u32), addresses and cookies (u64), `count` of each."""
    return bytes(_LINK_HEAD.size) + _TRACING_MULTI.pack(0, count, 0, 0, ids, addresses, cookies)


def parse_uprobe_multi(rest: bytes) -> UprobeMultiInfo:
    """Decode the uprobe_multi part of a link info (its path and arrays are filled separately)."""
    *_, path_size, count, flags, pid = _unpack(_UPROBE_MULTI, rest)
    return UprobeMultiInfo(count, flags, pid, path_size)


def request_uprobe_multi(
    offsets: int, count: int, cookies: int, path: int, path_size: int, *, counters: int = 0
) -> bytes:
    """A link info that asks for offsets, cookies and reference counters (u64), `count` of each, and the file's path."""
    return bytes(_LINK_HEAD.size) + _UPROBE_MULTI.pack(path, offsets, counters, cookies, path_size, count, 0, 0)


def parse_tracing(rest: bytes) -> TracingInfo:
    """Decode the tracing part of a link info."""
    attach_type, target_obj_id, target_btf_id, _, cookie = _unpack(_TRACING, rest)
    return TracingInfo(attach_type, target_obj_id, target_btf_id, cookie)


def parse_perf_kprobe(rest: bytes) -> PerfKprobeInfo:
    """Decode the perf_event part of a link info, for kprobes and kretprobes."""
    kind, _, _, offset, address, missed, cookie = _unpack(_PERF_KPROBE, rest)
    return PerfKprobeInfo(kind, offset, address, missed, cookie)


def request_perf_uprobe(name: int, size: int) -> bytes:
    """A link info that asks for the path of the file that is probed, into `size` bytes at address `name`."""
    return bytes(_LINK_HEAD.size) + _PERF_UPROBE.pack(0, name, size, 0, 0, 0)


def parse_perf_uprobe(rest: bytes) -> PerfUprobeInfo:
    """Decode the perf_event part of a link info, for uprobes and uretprobes."""
    _, _, _, offset, cookie, counter = _unpack(_PERF_UPROBE, rest)
    return PerfUprobeInfo(offset, cookie, counter)


def parse_prog(data: bytes) -> ProgInfo:
    """Decode struct bpf_prog_info."""
    f = _unpack(_PROG, data)
    tag: object = f[2]
    assert isinstance(tag, bytes)
    return ProgInfo(
        kind=f[0], prog_id=f[1], tag=tag.hex(), jited_len=f[3], xlated_len=f[4], n_maps=f[9], name=_text(f[11]),
        n_jited_ksyms=f[16], btf_id=f[20], run_time_ns=f[32], run_count=f[33], recursion_misses=f[34],
        n_verified_insns=f[35], attach_btf_obj_id=f[36], attach_btf_id=f[37],
    )  # fmt: skip


def parse_map(data: bytes) -> MapInfo:
    """Decode the head of struct bpf_map_info."""
    kind, map_id, key_size, value_size, max_entries, flags, name = _unpack(_MAP, data)
    return MapInfo(kind, map_id, key_size, value_size, max_entries, flags, _text(name))


def parse_btf(data: bytes) -> BtfInfo:
    """Decode struct bpf_btf_info."""
    _, size, btf_id, _, _, is_kernel = _unpack(_BTF, data)
    return BtfInfo(size, btf_id, bool(is_kernel))


def request_btf_name(name: int, size: int) -> bytes:
    """A BTF info that asks the kernel for the object's name, into `size` bytes at address `name`."""
    return _BTF.pack(0, 0, 0, name, size, 0)


# Programs' machine code, and what perf events probe

_N_PROG_FIELDS = len(_PROG.unpack(bytes(_PROG.size)))
_TASK_FD_QUERY = Struct("=IIIIQIIQQ")


def request_prog_images(*, jited: int, jited_len: int, addresses: int, lengths: int, count: int) -> bytes:
    """A program info that asks for the machine code (`jited_len` bytes), and for the address (u64) and length (u32)
    of each of its `count` functions; all arrays are given by their addresses."""
    fields: list[int | bytes] = [0] * _N_PROG_FIELDS
    fields[2], fields[11] = bytes(8), bytes(16)
    fields[3], fields[5] = jited_len, jited
    fields[16], fields[18] = count, addresses
    fields[17], fields[19] = count, lengths
    return _PROG.pack(*fields)


class PerfProbe(NamedTuple):
    """What a perf event probes: `kind` is an enum bpf_task_fd_type."""

    prog_id: int
    kind: int
    offset: int
    address: int


def request_task_fd(pid: int, fd: int, buffer: int, size: int) -> bytes:
    """union bpf_attr for TASK_FD_QUERY: what does this descriptor of that process probe? `buffer` takes the symbol."""
    return _TASK_FD_QUERY.pack(pid, fd, 0, size, buffer, 0, 0, 0, 0)


def parse_task_fd(attr: bytes) -> PerfProbe:
    """The answer to TASK_FD_QUERY, from its attr."""
    _, _, _, _, _, prog_id, kind, offset, address = _unpack(_TASK_FD_QUERY, attr)
    return PerfProbe(prog_id, kind, offset, address)
