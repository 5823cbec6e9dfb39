"""Constants and structure layouts of bpf(2), from include/uapi/linux/bpf.h.

Every command's part of `union bpf_attr` is one `struct.Struct` and one function that packs it; nothing here
makes a system call. The constants keep the kernel's names (without the BPF_ prefixes) and are plain integers in
a class rather than `enum`s, which cost as much to import as the rest of the way to the first attached function.
`tests/kernel/test_uapi.py` compares the enums with the BTF of every kernel tested on.
"""

from __future__ import annotations

from enum import IntEnum
from struct import Struct


class Cmd(IntEnum):
    """enum bpf_cmd"""

    MAP_CREATE = 0
    MAP_LOOKUP_ELEM = 1
    MAP_UPDATE_ELEM = 2
    MAP_DELETE_ELEM = 3
    MAP_GET_NEXT_KEY = 4
    PROG_LOAD = 5
    OBJ_PIN = 6
    OBJ_GET = 7
    PROG_TEST_RUN = 10
    PROG_GET_NEXT_ID = 11
    MAP_GET_NEXT_ID = 12
    PROG_GET_FD_BY_ID = 13
    MAP_GET_FD_BY_ID = 14
    OBJ_GET_INFO_BY_FD = 15
    RAW_TRACEPOINT_OPEN = 17
    BTF_LOAD = 18
    BTF_GET_FD_BY_ID = 19
    TASK_FD_QUERY = 20
    BTF_GET_NEXT_ID = 23
    MAP_LOOKUP_BATCH = 24
    MAP_LOOKUP_AND_DELETE_BATCH = 25
    LINK_CREATE = 28
    LINK_GET_FD_BY_ID = 30
    LINK_GET_NEXT_ID = 31
    ENABLE_STATS = 32


OPENING = frozenset(
    (
        *(Cmd.MAP_CREATE, Cmd.PROG_LOAD, Cmd.BTF_LOAD, Cmd.LINK_CREATE, Cmd.RAW_TRACEPOINT_OPEN, Cmd.ENABLE_STATS),
        *(Cmd.PROG_GET_FD_BY_ID, Cmd.MAP_GET_FD_BY_ID, Cmd.BTF_GET_FD_BY_ID, Cmd.LINK_GET_FD_BY_ID),
    )
)
"""Commands that return a new file descriptor."""


class MapType(IntEnum):
    """enum bpf_map_type"""

    HASH = 1
    ARRAY = 2
    PERCPU_HASH = 5
    PERCPU_ARRAY = 6
    STACK_TRACE = 7
    LRU_HASH = 9
    LRU_PERCPU_HASH = 10
    RINGBUF = 27
    TASK_STORAGE = 29


class ProgType(IntEnum):
    """enum bpf_prog_type"""

    SOCKET_FILTER = 1
    KPROBE = 2
    TRACEPOINT = 5
    RAW_TRACEPOINT = 17
    TRACING = 26
    SYSCALL = 31


class AttachType(IntEnum):
    """enum bpf_attach_type"""

    TRACE_FENTRY = 24
    TRACE_FEXIT = 25
    MODIFY_RETURN = 26
    PERF_EVENT = 41
    TRACE_KPROBE_MULTI = 42
    TRACE_UPROBE_MULTI = 48
    TRACE_KPROBE_SESSION = 56
    TRACE_UPROBE_SESSION = 57
    TRACE_FSESSION = 58
    TRACE_FENTRY_MULTI = 59
    TRACE_FEXIT_MULTI = 60
    TRACE_FSESSION_MULTI = 61


class LinkType(IntEnum):
    """enum bpf_link_type"""

    RAW_TRACEPOINT = 1
    TRACING = 2
    PERF_EVENT = 7
    KPROBE_MULTI = 8
    UPROBE_MULTI = 12
    TRACING_MULTI = 15


class PerfEventLinkType(IntEnum):
    """enum bpf_perf_event_type"""

    UPROBE = 1
    URETPROBE = 2
    KPROBE = 3
    KRETPROBE = 4
    TRACEPOINT = 5
    EVENT = 6


class FuncId(IntEnum):
    """enum bpf_func_id: the helpers that programs of this project call."""

    MAP_LOOKUP_ELEM = 1
    MAP_UPDATE_ELEM = 2
    MAP_DELETE_ELEM = 3
    KTIME_GET_NS = 5
    GET_SMP_PROCESSOR_ID = 8
    GET_CURRENT_PID_TGID = 14
    GET_NS_CURRENT_PID_TGID = 120
    GET_CURRENT_COMM = 16
    GET_STACKID = 27
    GET_CURRENT_TASK = 35
    PROBE_READ_USER = 112
    PROBE_READ_KERNEL = 113
    PROBE_READ_USER_STR = 114
    PROBE_READ_KERNEL_STR = 115
    RINGBUF_RESERVE = 131
    RINGBUF_SUBMIT = 132
    RINGBUF_QUERY = 134
    COPY_FROM_USER = 148
    PER_CPU_PTR = 153
    THIS_CPU_PTR = 154
    TASK_STORAGE_GET = 156
    TASK_STORAGE_DELETE = 157
    GET_CURRENT_TASK_BTF = 158
    GET_FUNC_IP = 173
    GET_ATTACH_COOKIE = 174
    TASK_PT_REGS = 175
    GET_FUNC_ARG = 183
    GET_FUNC_RET = 184
    GET_FUNC_ARG_CNT = 185


CALL, EXIT, GOTO = 0x85, 0x95, 0x05  # BPF_JMP | BPF_CALL, BPF_EXIT, BPF_JA: opcodes of instructions
F_KPROBE_MULTI_RETURN = 1  # link_create.kprobe_multi.flags
F_UPROBE_MULTI_RETURN = 1  # link_create.uprobe_multi.flags
F_NO_PREALLOC, F_MMAPABLE = 1 << 0, 1 << 10  # map_create.map_flags
F_STORAGE_CREATE = 1  # BPF_LOCAL_STORAGE_GET_F_CREATE, bpf_task_storage_get flags
F_SLEEPABLE = 1 << 4  # prog_load.prog_flags
F_USER_STACK = 1 << 8  # bpf_get_stackid flags
RB_NO_WAKEUP, RB_FORCE_WAKEUP = 1, 2  # bpf_ringbuf_submit flags
RB_AVAIL_DATA = 0  # bpf_ringbuf_query flags
LOG_INSNS, LOG_STATS = 1, 4  # BPF_LOG_LEVEL1, BPF_LOG_STATS (include/linux/bpf_verifier.h)
STATS_RUN_TIME = 0  # enum bpf_stats_type

_MAP_CREATE = Struct("=IIIIIII16sIIIIIQ")
_MAP_ELEM = Struct("=I4xQQQ")
_MAP_BATCH = Struct("=QQQQIIQQ")
_PROG_LOAD = Struct("=IIQQIIQII16sIIIIQIIQIIIIQQII")
_TEST_RUN = Struct("=IIIIQQIIIIQQIII4x")
_OBJ = Struct("=QII")
_GET_ID = Struct("=III")
_GET_INFO = Struct("=IIQ")
_RAW_TRACEPOINT = Struct("=QI4x")
_BTF_LOAD = Struct("=QQIIII")
_LINK_HEAD = Struct("=IIII")
_KPROBE_MULTI = Struct("=IIIIIIQQQ")
_UPROBE_MULTI = Struct("=IIIIQQQQIII4x")
_TRACING_MULTI = Struct("=IIIIQQI4x")
_TRACING = Struct("=IIIII4xQ")
_PERF_EVENT = Struct("=IIIIQ")
_ENABLE_STATS = Struct("=I")


def object_name(name: str) -> bytes:
    """`name` as the kernel takes it for programs and maps: at most 15 of [A-Za-z0-9_.]."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "_.") else "_" for c in name)[:15].encode()


def map_create(
    kind: int,
    key_size: int,
    value_size: int,
    max_entries: int,
    *,
    flags: int,
    name: str,
    btf: int = 0,
    types: tuple[int, int] = (0, 0),
) -> bytearray:
    """union bpf_attr for MAP_CREATE; `types` are the BTF ids of key and value in `btf`."""
    sizes = (kind, key_size, value_size, max_entries, flags, 0, 0, object_name(name))
    return bytearray(_MAP_CREATE.pack(*sizes, 0, btf, *types, 0, 0))


def map_elem(fd: int, key: int, value: int, *, flags: int = 0) -> bytearray:
    """union bpf_attr for MAP_*_ELEM and MAP_GET_NEXT_KEY; `key` and `value` are addresses."""
    return bytearray(_MAP_ELEM.pack(fd, key, value, flags))


def map_batch(fd: int, *, in_batch: int, out_batch: int, keys: int, values: int, count: int) -> bytearray:
    """union bpf_attr for MAP_*_BATCH; the kernel answers with the count at `batch_count`."""
    return bytearray(_MAP_BATCH.pack(in_batch, out_batch, keys, values, count, fd, 0, 0))


def batch_count(attr: bytearray) -> int:
    """How many elements the kernel handled, from the attr of a MAP_*_BATCH call."""
    count: int = _MAP_BATCH.unpack_from(attr)[4]
    return count


def prog_load(
    kind: int,
    *,
    insns: int,
    n_insns: int,
    license_address: int,
    name: str,
    expected_attach_type: int,
    attach_btf_id: int,
    attach_btf_obj_fd: int,
    flags: int,
    log_level: int = 0,
    log_size: int = 0,
    log: int = 0,
    btf_fd: int = 0,
    func_info: tuple[int, int, int] = (0, 0, 0),
    line_info: tuple[int, int, int] = (0, 0, 0),
) -> bytearray:
    """union bpf_attr for PROG_LOAD; `func_info` and `line_info` are (record size, address, count)."""
    return bytearray(
        _PROG_LOAD.pack(
            kind, n_insns, insns, license_address, log_level, log_size, log, 0, flags, object_name(name), 0,
            expected_attach_type, btf_fd, func_info[0], func_info[1], func_info[2], line_info[0], line_info[1],
            line_info[2], attach_btf_id, attach_btf_obj_fd, 0, 0, 0, 0, 0,
        )
    )  # fmt: skip


def prog_test_run(fd: int, *, data: int, data_size: int, context: int, context_size: int, repeat: int) -> bytearray:
    """union bpf_attr for PROG_TEST_RUN; the answer is read with `test_run_result`."""
    return bytearray(_TEST_RUN.pack(fd, 0, data_size, 0, data, 0, repeat, 0, context_size, 0, context, 0, 0, 0, 0))


def test_run_result(attr: bytearray) -> tuple[int, int]:
    """(return value, nanoseconds per run) from the attr of a PROG_TEST_RUN call."""
    fields = _TEST_RUN.unpack_from(attr)
    return fields[1], fields[7]


def obj_pin(path: int, fd: int) -> bytearray:
    """union bpf_attr for OBJ_PIN and OBJ_GET (`fd` 0): the address of the path, the descriptor."""
    return bytearray(_OBJ.pack(path, fd, 0))


def get_id(start: int) -> bytearray:
    """union bpf_attr for *_GET_FD_BY_ID and *_GET_NEXT_ID (whose answer is the second field)."""
    return bytearray(_GET_ID.pack(start, 0, 0))


def next_id(attr: bytearray) -> int:
    """The id found by a *_GET_NEXT_ID call."""
    found: int = _GET_ID.unpack_from(attr)[1]
    return found


def get_info(fd: int, info: int, info_size: int) -> bytearray:
    """union bpf_attr for OBJ_GET_INFO_BY_FD."""
    return bytearray(_GET_INFO.pack(fd, info_size, info))


def info_size(attr: bytearray) -> int:
    """How many bytes of info the kernel filled in."""
    size: int = _GET_INFO.unpack_from(attr)[1]
    return size


def raw_tracepoint_open(prog_fd: int, name: int = 0) -> bytearray:
    """union bpf_attr for RAW_TRACEPOINT_OPEN; `name` is the address of the tracepoint's, 0 for fentry and fexit."""
    return bytearray(_RAW_TRACEPOINT.pack(name, prog_fd))


def btf_load(btf: int, size: int, *, log: int = 0, log_size: int = 0) -> bytearray:
    """union bpf_attr for BTF_LOAD."""
    return bytearray(_BTF_LOAD.pack(btf, log, size, log_size, 1 if log else 0, 0))


def link_create_kprobe_multi(
    prog_fd: int, *, attach_type: int, flags: int, count: int, addresses: int, cookies: int = 0
) -> bytearray:
    """union bpf_attr for LINK_CREATE with kprobe_multi; arrays are given by their addresses."""
    return bytearray(_KPROBE_MULTI.pack(prog_fd, 0, attach_type, 0, flags, count, 0, addresses, cookies))


def link_create_uprobe_multi(
    prog_fd: int,
    *,
    attach_type: int,
    flags: int,
    path: int,
    offsets: int,
    count: int,
    ref_ctr_offsets: int = 0,
    cookies: int = 0,
    pid: int = 0,
) -> bytearray:
    """union bpf_attr for LINK_CREATE with uprobe_multi: the address of the file's path, those of u64 arrays."""
    return bytearray(
        _UPROBE_MULTI.pack(prog_fd, 0, attach_type, 0, path, offsets, ref_ctr_offsets, cookies, count, flags, pid)
    )


def link_create_tracing_multi(prog_fd: int, *, attach_type: int, ids: int, cookies: int, count: int) -> bytearray:
    """union bpf_attr for LINK_CREATE with tracing_multi; `ids` is the address of a u32 array."""
    return bytearray(_TRACING_MULTI.pack(prog_fd, 0, attach_type, 0, ids, cookies, count))


def link_create_tracing(prog_fd: int, *, attach_type: int, cookie: int) -> bytearray:
    """union bpf_attr for LINK_CREATE with tracing: one fentry, fexit or fsession program, with a cookie."""
    return bytearray(_TRACING.pack(prog_fd, 0, attach_type, 0, 0, cookie))


def link_create_perf_event(prog_fd: int, event_fd: int, *, cookie: int) -> bytearray:
    """union bpf_attr for LINK_CREATE on a perf event, with a cookie."""
    return bytearray(_PERF_EVENT.pack(prog_fd, event_fd, AttachType.PERF_EVENT, 0, cookie))


def enable_stats(kind: int) -> bytearray:
    """union bpf_attr for ENABLE_STATS."""
    return bytearray(_ENABLE_STATS.pack(kind))
