"""The commands of bpf(2), each under its name in small letters, as kernel/bpf/syscall.c answers them."""

from __future__ import annotations

import errno
import os
import re
from struct import pack, unpack_from
from typing import TYPE_CHECKING

from fake_kernel import info
from fake_kernel.functions import FakeFunction
from fake_kernel.linking import open_link, open_tracepoint
from fake_kernel.memory import Attr, Refused, read, refuse_if, text, write
from fake_kernel.objects import F_MMAPABLE, Btf, Event, Link, Map, Object, Program, Stats
from fake_kernel.profiles import CAP_BPF, CAP_PERFMON, CAP_SYS_ADMIN
from multiprobe.uapi.bpf import F_NO_PREALLOC, F_SLEEPABLE, AttachType, MapType, ProgType

if TYPE_CHECKING:
    from fake_kernel.kernel import FakeKernel

_NAME = re.compile(rb"[A-Za-z0-9_.]{0,15}\0*")
_KNOWN_MAPS = set(MapType)
_TABLES = {MapType.HASH, MapType.PERCPU_HASH, MapType.LRU_HASH, MapType.LRU_PERCPU_HASH}
_PER_CPU = {MapType.PERCPU_HASH, MapType.LRU_PERCPU_HASH, MapType.PERCPU_ARRAY}
_MULTI = {AttachType.TRACE_FENTRY_MULTI, AttachType.TRACE_FEXIT_MULTI, AttachType.TRACE_FSESSION_MULTI}
_SINGLE = {AttachType.TRACE_FENTRY, AttachType.TRACE_FEXIT, AttachType.TRACE_FSESSION}
_SESSION_FUNCTIONS = {"bpf_session_is_return", "bpf_session_cookie"}
_MAX_STACK, _MAX_VALUE, _PAGE = 127, 1 << 31, 4096


def _name(attr: Attr, offset: int) -> str:
    raw = attr.raw(offset, 16)
    refuse_if(not _NAME.fullmatch(raw), errno.EINVAL)
    return raw.rstrip(b"\0").decode()


# Maps


def map_create(kernel: FakeKernel, attr: Attr) -> int:
    kind, key_size, value_size, max_entries, flags = (attr.u32(4 * n) for n in range(5))
    name = _name(attr, 28)
    refuse_if(not kernel.profile.may(CAP_BPF), errno.EPERM)
    refuse_if(kind not in _KNOWN_MAPS or bool(max_entries) == (kind == MapType.TASK_STORAGE), errno.EINVAL)
    refuse_if(value_size > _MAX_VALUE, errno.E2BIG)
    refuse_if(flags & F_MMAPABLE and kind != MapType.ARRAY, errno.EINVAL)
    if kind == MapType.RINGBUF:
        refuse_if(key_size or value_size or max_entries % _PAGE or max_entries & max_entries - 1, errno.EINVAL)
    elif kind == MapType.STACK_TRACE:
        refuse_if(key_size != 4 or value_size < 8 or value_size % 8 or value_size // 8 > _MAX_STACK, errno.EINVAL)
    elif kind == MapType.TASK_STORAGE:
        has_types = kernel.get(attr.u32(48), Btf) and attr.u32(52) and attr.u32(56)
        refuse_if(key_size != 4 or not value_size or flags != F_NO_PREALLOC or not has_types, errno.EINVAL)
    elif kind in _TABLES:
        refuse_if(not key_size or not value_size or key_size > 512, errno.EINVAL)
    else:
        refuse_if(key_size != 4 or not value_size, errno.EINVAL)
    return kernel.install(kernel.add(Map(
        kind=kind, key_size=key_size, value_size=value_size, max_entries=max_entries, flags=flags, name=name
    )))  # fmt: skip


def _map(kernel: FakeKernel, fd: int) -> Map:
    found = kernel.get(fd, Map)
    assert isinstance(found, Map)
    return found


def user_size(kernel: FakeKernel, one: Map) -> int:
    """Bytes of a value as user space sees it."""
    padded = -(-one.value_size // 8) * 8
    return kernel.n_cpus * padded if one.kind in _PER_CPU else one.value_size


def _value(kernel: FakeKernel, one: Map, key: bytes) -> bytes:
    """The value at a key; of arrays, what is in memory."""
    if one.kind == MapType.ARRAY:
        index = int.from_bytes(key, "little")
        refuse_if(index >= one.max_entries, errno.ENOENT)
        return os.pread(one.file, one.value_size, index * -(-one.value_size // 8) * 8)
    found = one.items.get(_task_of(key) if one.kind == MapType.TASK_STORAGE else key)
    if found is None:
        raise Refused(errno.ENOENT)
    return found


def _task_of(key: bytes) -> bytes:
    """The id of the task that a pidfd stands for, as programs see it here."""
    with open(f"/proc/self/fdinfo/{int.from_bytes(key, 'little')}") as file:
        pid = next(int(line.split()[1]) for line in file if line.startswith("Pid:"))
    refuse_if(pid < 0, errno.ENOENT)  # it has ended
    return pid.to_bytes(8, "little")


def map_lookup_elem(kernel: FakeKernel, attr: Attr) -> int:
    one = _map(kernel, attr.u32(0))
    refuse_if(one.kind == MapType.RINGBUF, errno.EOPNOTSUPP)
    write(attr.u64(16), _value(kernel, one, read(attr.u64(8), one.key_size)))
    return 0


def map_update_elem(kernel: FakeKernel, attr: Attr) -> int:
    one, flags = _map(kernel, attr.u32(0)), attr.u64(24)
    refuse_if(one.kind in (MapType.RINGBUF, MapType.STACK_TRACE), errno.EOPNOTSUPP)
    key, value = read(attr.u64(8), one.key_size), read(attr.u64(16), user_size(kernel, one))
    if one.kind == MapType.ARRAY:
        index = int.from_bytes(key, "little")
        refuse_if(index >= one.max_entries, errno.E2BIG)
        refuse_if(flags == 1, errno.EEXIST)
        os.pwrite(one.file, value, index * -(-one.value_size // 8) * 8)
        return 0
    refuse_if(key in one.items and flags == 1, errno.EEXIST)
    refuse_if(key not in one.items and flags == 2, errno.ENOENT)
    refuse_if(key not in one.items and len(one.items) >= one.max_entries, errno.E2BIG)
    one.items[key] = value
    return 0


def map_delete_elem(kernel: FakeKernel, attr: Attr) -> int:
    one = _map(kernel, attr.u32(0))
    refuse_if(one.kind in (MapType.ARRAY, MapType.PERCPU_ARRAY), errno.EINVAL)
    refuse_if(one.items.pop(read(attr.u64(8), one.key_size), None) is None, errno.ENOENT)
    return 0


def map_get_next_key(kernel: FakeKernel, attr: Attr) -> int:
    one = _map(kernel, attr.u32(0))
    keys = list(one.items)
    before = read(attr.u64(8), one.key_size) if attr.u64(8) else None
    place = keys.index(before) + 1 if before in one.items else 0
    refuse_if(place >= len(keys), errno.ENOENT)
    write(attr.u64(16), keys[place])
    return 0


def map_lookup_batch(kernel: FakeKernel, attr: Attr, *, is_deleting: bool = False) -> int:
    """The position is how many keys were given so far; deleting moves nothing, since it takes the first ones."""
    one = _map(kernel, attr.u32(36))
    refuse_if(one.kind not in _TABLES, errno.EOPNOTSUPP)
    start = int.from_bytes(read(attr.u64(0), 4), "little") if attr.u64(0) else 0
    start = 0 if is_deleting else start
    keys = list(one.items)[start : start + attr.u32(32)]
    is_last = start + len(keys) >= len(one.items)
    write(attr.u64(16), b"".join(keys))
    write(attr.u64(24), b"".join(one.items[key] for key in keys))
    write(attr.u64(8), (start + len(keys)).to_bytes(4, "little"))
    attr.put(32, len(keys))
    for key in keys if is_deleting else ():
        del one.items[key]
    refuse_if(is_last, errno.ENOENT)
    return 0


def map_lookup_and_delete_batch(kernel: FakeKernel, attr: Attr) -> int:
    return map_lookup_batch(kernel, attr, is_deleting=True)


# Types and programs


def btf_load(kernel: FakeKernel, attr: Attr) -> int:
    data = read(attr.u64(0), attr.u32(16))
    refuse_if(not kernel.profile.may(CAP_BPF), errno.EPERM)
    refuse_if(data[:2] != b"\x9f\xeb", errno.EINVAL)
    return kernel.install(kernel.add(Btf(data=data)))


def prog_load(kernel: FakeKernel, attr: Attr) -> int:
    kind, attach_type = attr.u32(0), attr.u32(68)
    insns = read(attr.u64(8), 8 * attr.u32(4))
    refuse_if(not insns, errno.E2BIG)
    text(attr.u64(16), 128)  # its license
    name = _name(attr, 48)
    refuse_if(kind not in set(ProgType), errno.EINVAL)
    refuse_if(not kernel.profile.may(CAP_BPF), errno.EPERM)
    refuse_if(kind != ProgType.SOCKET_FILTER and not kernel.profile.may(CAP_PERFMON), errno.EPERM)
    target_id = attr.u32(108)
    btf, target = _target(kernel, kind, attach_type, target_id, attr.u32(112))
    debug = kernel.get(attr.u32(72), Btf) if attr.u32(72) else None
    assert debug is None or isinstance(debug, Btf)
    maps = _referred(kernel, insns)
    made = Program(
        is_sleepable=bool(attr.u32(44) & F_SLEEPABLE),
        kind=kind, name=name, insns=insns, attach_type=attach_type, btf=btf, target=target, target_id=target_id,
        debug=debug, descriptors=maps, holds=[*dict.fromkeys(maps.values()), *(one for one in (btf, debug) if one)],
    )  # fmt: skip
    _verify(kernel, made, attr)
    return kernel.install(kernel.add(made))


def _target(
    kernel: FakeKernel, kind: int, attach_type: int, target: int, fd: int
) -> tuple[Btf | None, FakeFunction | None]:
    """bpf_check_attach_btf_id: what a tracing program is for."""
    if kind != ProgType.TRACING:
        refuse_if(target, errno.EINVAL)
        return None, None
    btf = kernel.get(fd, Btf) if fd else kernel.types[0]
    assert isinstance(btf, Btf)
    if attach_type in _MULTI and kernel.profile.has_tracing_multi:
        refuse_if(target, errno.EINVAL)
        return btf, None
    refuse_if(attach_type not in _SINGLE or not target or btf.types is None, errno.EINVAL)
    refuse_if(attach_type == AttachType.TRACE_FSESSION and not kernel.profile.has_fsession, errno.EINVAL)
    assert btf.types is not None
    function = btf.types.functions.get(target)
    if function is None:
        raise Refused(errno.EINVAL)
    return btf, kernel.named(function.name)[0] if not function.module else function


def _referred(kernel: FakeKernel, insns: bytes) -> dict[int, Map]:
    """The maps whose descriptors stand in 64-bit immediates."""
    found: dict[int, Map] = {}
    place = 0
    while place < len(insns):
        opcode, registers, _, immediate = unpack_from("<BBhi", insns, place)
        if opcode == 0x18 and registers >> 4 in (1, 2):
            found[immediate] = _map(kernel, immediate)
        place += 16 if opcode == 0x18 else 8
    return found


def _verify(kernel: FakeKernel, made: Program, attr: Attr) -> None:
    """What the verifier refuses, with its words in the caller's log."""
    log, number = kernel.refused_programs.get(made.name, ""), errno.EACCES
    target, leaves = made.target, made.attach_type in (AttachType.TRACE_FEXIT, AttachType.TRACE_FSESSION)
    if target is not None:
        number = errno.EINVAL
        refusal = kernel.refusals.get(("load", target.name))
        if refusal:
            log, number = f"{target.name} is refused", refusal
        elif len(target.parameters) > 12:
            log = f"The function {target.name} has {len(target.parameters)} arguments. Too many."
        elif made.is_sleepable and not target.may_sleep:
            log = f"{target.name} is not sleepable"
        elif target.on_deny_list:
            log = f"Attaching tracing programs to function '{target.name}' is rejected."
        elif leaves and target.is_noreturn and kernel.profile.refuses_noreturn:
            log = "Attaching fexit/fsession/fmod_ret to __noreturn functions is rejected."
        elif leaves and target.returns.startswith("struct"):
            log = f"The function {target.name} return type STRUCT is unsupported."
    if made.insns[-8] not in (0x95, 0x05):
        log, number = "last insn is not an exit or jmp", errno.EINVAL
    if log:
        if attr.u32(24) and attr.u32(28):
            write(attr.u64(32), log.encode()[: attr.u32(28) - 1] + b"\0")
        raise Refused(number)


def prog_test_run(kernel: FakeKernel, attr: Attr) -> int:
    """How long one run takes: what each call of a helper costs, with what is attached to the helper by now."""
    program = kernel.get(attr.u32(0), Program)
    assert isinstance(program, Program)
    attr.put(4, 0)
    attr.put(36, info.duration(kernel, program.insns))
    return 0


def enable_stats(kernel: FakeKernel, attr: Attr) -> int:
    refuse_if(not kernel.profile.may(CAP_SYS_ADMIN), errno.EPERM)
    refuse_if(attr.u32(0), errno.EINVAL)
    return kernel.install(kernel.add(Stats()))


# Links


def link_create(kernel: FakeKernel, attr: Attr) -> int:
    program = kernel.get(attr.u32(0), Program)
    assert isinstance(program, Program)
    return open_link(kernel, program, attr)


def raw_tracepoint_open(kernel: FakeKernel, attr: Attr) -> int:
    program = kernel.get(attr.u32(8), Program)
    assert isinstance(program, Program)
    if program.kind == ProgType.RAW_TRACEPOINT:
        refuse_if(not attr.u64(0), errno.EINVAL)
        return open_tracepoint(kernel, program, text(attr.u64(0), 128))
    refuse_if(program.kind != ProgType.TRACING or attr.u64(0), errno.EINVAL)
    return open_link(kernel, program, Attr.of(pack("<IIII", attr.u32(8), 0, program.attach_type, 0)))


# Objects


def _next(kernel: FakeKernel, attr: Attr, kind: type[Object]) -> int:
    later = sorted(one.number for one in kernel.of(kind) if one.number > attr.u32(0))
    refuse_if(not kernel.profile.may(CAP_SYS_ADMIN), errno.EPERM)
    refuse_if(not later, errno.ENOENT)
    attr.put(4, later[0])
    return 0


def _open(kernel: FakeKernel, attr: Attr, kind: type[Object]) -> int:
    found = [one for one in kernel.of(kind) if one.number == attr.u32(0)]
    refuse_if(not kernel.profile.may(CAP_SYS_ADMIN), errno.EPERM)
    refuse_if(not found, errno.ENOENT)
    return kernel.install(found[0])


def prog_get_next_id(kernel: FakeKernel, attr: Attr) -> int:
    return _next(kernel, attr, Program)


def map_get_next_id(kernel: FakeKernel, attr: Attr) -> int:
    return _next(kernel, attr, Map)


def link_get_next_id(kernel: FakeKernel, attr: Attr) -> int:
    return _next(kernel, attr, Link)


def btf_get_next_id(kernel: FakeKernel, attr: Attr) -> int:
    return _next(kernel, attr, Btf)


def prog_get_fd_by_id(kernel: FakeKernel, attr: Attr) -> int:
    return _open(kernel, attr, Program)


def map_get_fd_by_id(kernel: FakeKernel, attr: Attr) -> int:
    return _open(kernel, attr, Map)


def link_get_fd_by_id(kernel: FakeKernel, attr: Attr) -> int:
    return _open(kernel, attr, Link)


def btf_get_fd_by_id(kernel: FakeKernel, attr: Attr) -> int:
    return _open(kernel, attr, Btf)


def obj_get_info_by_fd(kernel: FakeKernel, attr: Attr) -> int:
    fd, size, address = attr.u32(0), attr.u32(4), attr.u64(8)
    one = kernel.descriptors.get(fd)
    if one is None:
        raise Refused(errno.EBADF)
    answer = info.filled(kernel, one, read(address, size))[:size]
    write(address, answer)
    attr.put(4, len(answer))
    return 0


def task_fd_query(kernel: FakeKernel, attr: Attr) -> int:
    """Only of this process: its descriptors are the ones that the fake knows."""
    refuse_if(not kernel.profile.may(CAP_SYS_ADMIN), errno.EPERM)
    refuse_if(attr.u32(0) != os.getpid(), errno.ENOENT)
    event = kernel.descriptors.get(attr.u32(4))
    link = next((one for one in kernel.links if one.event is event), None)
    if not isinstance(event, Event) or link is None or link.program is None or event.function is None:
        raise Refused(errno.EOPNOTSUPP)
    name = event.symbol.encode()[: attr.u32(12) - 1] + b"\0"
    write(attr.u64(16), name)
    attr.put(12, len(name) - 1)
    attr.put(24, link.program.number)
    attr.put(28, 3 if event.is_return else 2)  # BPF_FD_TYPE_KRETPROBE, BPF_FD_TYPE_KPROBE
    attr.put(32, event.offset, 8)
    attr.put(40, 0 if event.symbol else event.function.address + event.offset, 8)
    return 0


# Pins


def obj_pin(kernel: FakeKernel, attr: Attr) -> int:
    one = kernel.descriptors.get(attr.u32(8))
    path = kernel.path(text(attr.u64(0), 4096))
    if one is None:
        raise Refused(errno.EBADF)
    refuse_if(not isinstance(one, Map | Program | Link), errno.EINVAL)
    refuse_if(os.path.exists(path), errno.EEXIST)
    refuse_if(not os.path.isdir(os.path.dirname(path)), errno.ENOENT)
    refuse_if(not path.startswith(str(kernel.root / "sys/fs/bpf")), errno.EPERM)
    with open(path, "xb"):
        kernel.pin(path, one)
    return 0


def obj_get(kernel: FakeKernel, attr: Attr) -> int:
    kernel.unpinned()
    path = kernel.path(text(attr.u64(0), 4096))
    refuse_if(not os.path.exists(path), errno.ENOENT)
    refuse_if(path not in kernel.pins, errno.EACCES)
    return kernel.install(kernel.pins[path])
