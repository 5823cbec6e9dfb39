"""bpf(2), one typed function per command; failures are KernelErrors that name the object and the errno.

Functions that create something return a FileDescriptor that the caller owns. Nothing here decides anything.
"""

from __future__ import annotations

import errno
import mmap
import os
from array import array
from typing import TYPE_CHECKING

from multiprobe.errors import KernelError, NotPermittedError, VerifierError
from multiprobe.names import decode_name
from multiprobe.plurals import plural_text
from multiprobe.syscalls.fd import FileDescriptor, NewDescriptor
from multiprobe.syscalls.raw import BPF, address_of, c_string, call, call_opening
from multiprobe.uapi import bpf as uapi
from multiprobe.uapi import btf, info
from multiprobe.uapi.bpf import F_NO_PREALLOC, LOG_INSNS, LOG_STATS, AttachType, Cmd, MapType

if TYPE_CHECKING:
    from collections.abc import Callable

    _Attempt = Callable[[int, int], tuple[NewDescriptor | int, bytearray]]

LICENSE = b"Dual MIT/GPL"
_LOG_SIZE = 1 << 20
NO_REASON = "no reason given"
LOG_CUT = "[the log was too long: here the kernel cut it off]"
_RIGHTS, _ADMIN = "CAP_BPF and CAP_PERFMON", "CAP_SYS_ADMIN"
_RETRIES = 5  # the verifier answers EAGAIN when a signal interrupts it


def _bpf(cmd: int, attr: bytearray) -> int:
    return call(BPF, cmd, address_of(attr), len(attr))


def _open(cmd: int, attr: bytearray) -> NewDescriptor | int:
    return call_opening(BPF, cmd, address_of(attr), len(attr))


def _opened(
    result: NewDescriptor | int, what: str, operation: str, subject: str = "", *, needs: str = _RIGHTS
) -> FileDescriptor:
    if isinstance(result, int):
        raise error(operation, -result, subject, needs=needs)
    return FileDescriptor(result, what)


def _checked(result: int, operation: str, subject: str = "", *, needs: str = _RIGHTS) -> int:
    if result < 0:
        raise error(operation, -result, subject, needs=needs)
    return result


def error(operation: str, number: int, subject: str = "", *, needs: str = _RIGHTS) -> KernelError | NotPermittedError:
    """The error for a failed bpf(2) command: what a missing right looks like is told from the rest."""
    if number == errno.EPERM:
        return NotPermittedError(
            f"{operation}{f' ({subject})' if subject else ''}: EPERM, the kernel does not permit it",
            hint=f"this takes {needs} (or root), and a kernel that isn't locked down: see `multiprobe doctor`",
        )
    if number == errno.ENOSYS:
        return KernelError(
            operation, number, subject=subject, hint="this kernel has no bpf(2): CONFIG_BPF_SYSCALL is off"
        )
    return KernelError(operation, number, subject=subject)


# Maps


def map_create(
    kind: int, key_size: int, value_size: int, max_entries: int, *, name: str = "", flags: int = 0
) -> FileDescriptor:
    """Create a map of MapType `kind`; sizes in bytes."""
    attr = uapi.map_create(kind, key_size, value_size, max_entries, flags=flags, name=name)
    subject = f"map {name!r}, {max_entries} × {value_size} bytes"
    return _opened(_open(Cmd.MAP_CREATE, attr), f"map {name}", "creating a map", subject)


def task_storage_create(value_size: int, *, name: str) -> FileDescriptor:
    """Create a map of values by task: the kernel wants to know the types of key and value (a pidfd, and 8 bytes)."""
    with btf_load(btf.key_and_value()) as types:
        attr = uapi.map_create(
            MapType.TASK_STORAGE, 4, value_size, 0, flags=F_NO_PREALLOC, name=name, btf=types.fileno(), types=(1, 2)
        )
        return _opened(_open(Cmd.MAP_CREATE, attr), f"map {name}", "creating a map", f"map {name!r}, values by task")


def map_lookup(map_fd: FileDescriptor, key: bytes, value_size: int) -> bytes | None:
    """The value at `key` (for per-CPU maps: all CPUs', each padded to 8 bytes), or None."""
    key_buffer, found = bytearray(key), bytearray(value_size)
    attr = uapi.map_elem(map_fd.fileno(), address_of(key_buffer), address_of(found))
    result = _bpf(Cmd.MAP_LOOKUP_ELEM, attr)
    if result == -errno.ENOENT:
        return None
    _checked(result, "reading a map", map_fd.what)
    return bytes(found)


def map_update(map_fd: FileDescriptor, key: bytes, item: bytes, *, flags: int = 0) -> None:
    """Set the value at `key`."""
    key_buffer, item_buffer = bytearray(key), bytearray(item)
    attr = uapi.map_elem(map_fd.fileno(), address_of(key_buffer), address_of(item_buffer), flags=flags)
    _checked(_bpf(Cmd.MAP_UPDATE_ELEM, attr), "writing a map", map_fd.what)


def map_delete(map_fd: FileDescriptor, key: bytes) -> bool:
    """Remove `key`; whether it was there."""
    key_buffer = bytearray(key)
    result = _bpf(Cmd.MAP_DELETE_ELEM, uapi.map_elem(map_fd.fileno(), address_of(key_buffer), 0))
    if result == -errno.ENOENT:
        return False
    _checked(result, "deleting from a map", map_fd.what)
    return True


def map_next_key(map_fd: FileDescriptor, key: bytes | None, key_size: int) -> bytes | None:
    """The key after `key` (None: the first), or None at the end."""
    key_buffer, found = bytearray(key or b""), bytearray(key_size)
    attr = uapi.map_elem(map_fd.fileno(), address_of(key_buffer), address_of(found))
    result = _bpf(Cmd.MAP_GET_NEXT_KEY, attr)
    if result == -errno.ENOENT:
        return None
    _checked(result, "walking a map", map_fd.what)
    return bytes(found)


def map_lookup_batch(
    map_fd: FileDescriptor,
    *,
    key_size: int,
    value_size: int,
    count: int,
    position: bytes | None = None,
    delete: bool = False,
) -> tuple[bytes, bytes, bytes | None]:
    """Up to `count` (keys, values, next position) from `position` (None: the start); position None at the end.

    `value_size` is the size that user space sees: 8-byte padded times possible CPUs for per-CPU maps. With
    `delete`, what is read is removed in the same step. KernelError ENOSPC: `count` is too small for a bucket.
    """
    keys, values = bytearray(key_size * count), bytearray(value_size * count)
    start, end = bytearray(position or b""), bytearray(max(4, key_size))
    attr = uapi.map_batch(
        map_fd.fileno(),
        in_batch=address_of(start),
        out_batch=address_of(end),
        keys=address_of(keys),
        values=address_of(values),
        count=count,
    )
    command = Cmd.MAP_LOOKUP_AND_DELETE_BATCH if delete else Cmd.MAP_LOOKUP_BATCH
    result = _bpf(command, attr)
    is_last = result == -errno.ENOENT
    if not is_last:
        _checked(result, "reading a map in batches", map_fd.what)
    n = uapi.batch_count(attr)
    return bytes(keys[: n * key_size]), bytes(values[: n * value_size]), None if is_last else bytes(end)


def map_memory(
    map_fd: FileDescriptor, size: int, *, prot: int = mmap.PROT_READ | mmap.PROT_WRITE, offset: int = 0
) -> mmap.mmap:
    """A map's memory, shared with its programs: whole pages from `offset` on, `size` bytes or more."""
    try:
        return mmap.mmap(map_fd.fileno(), -(-size // mmap.PAGESIZE) * mmap.PAGESIZE, prot=prot, offset=offset)
    except OSError as failed:
        raise error("mapping a map's memory", failed.errno or errno.EINVAL, map_fd.what) from failed


# Programs


def prog_load(
    kind: int,
    insns: bytes,
    *,
    name: str,
    expected_attach_type: int = 0,
    attach_btf_id: int = 0,
    attach_btf_obj_fd: int = 0,
    flags: int = 0,
    btf_fd: int = 0,
    func_info: tuple[int, bytes] = (0, b""),
    line_info: tuple[int, bytes] = (0, b""),
) -> FileDescriptor:
    """Load a program; `func_info` and `line_info` are (record size, records).

    Raises VerifierError (with cause and whole log) when the verifier refuses it. The log costs nothing otherwise: it
    is asked for by a second attempt.
    """
    code, license_text = bytearray(insns), c_string(LICENSE)
    functions, lines = bytearray(func_info[1]), bytearray(line_info[1])

    def attempt(log_size: int = 0, level: int = 0) -> tuple[NewDescriptor | int, bytearray]:
        log = bytearray(log_size)
        attr = uapi.prog_load(
            kind,
            insns=address_of(code),
            n_insns=len(code) // 8,
            license_address=address_of(license_text),
            name=name,
            expected_attach_type=expected_attach_type,
            attach_btf_id=attach_btf_id,
            attach_btf_obj_fd=attach_btf_obj_fd,
            flags=flags,
            log_level=level,
            log_size=len(log),
            log=address_of(log),
            btf_fd=btf_fd,
            func_info=(func_info[0], address_of(functions), len(functions) // (func_info[0] or 1)),
            line_info=(line_info[0], address_of(lines), len(lines) // (line_info[0] or 1)),
        )
        for _ in range(_RETRIES):
            result = _open(Cmd.PROG_LOAD, attr)
            if result != -errno.EAGAIN:
                break
        return result, log

    result, _ = attempt()
    if isinstance(result, int):
        return _load_again(result, attempt, name)
    return FileDescriptor(result, f"program {name}")


def _load_again(first: int, attempt: _Attempt, name: str) -> FileDescriptor:
    """Ask why a program was refused, by loading it with a log; raises the answer. A refusal that doesn't last (memory
    was short, a signal came) has no reason: the program is loaded then. So has one that comes after verification, when
    descriptors run out: its log has statistics only."""
    result, log = attempt(_LOG_SIZE, LOG_INSNS)
    text = cause = ""
    if result == -errno.ENOSPC:  # more steps than the log holds; kernels before 6.4 keep its beginning, not its end
        text = _text(log)
        result, log = attempt(_LOG_SIZE, LOG_STATS)
        cause = cause_of(_text(log))
        text = text if cause in text else f"{text}\n{LOG_CUT}\n{_text(log)}"
    elif isinstance(result, int):
        text = _text(log)
        cause = cause_of(text)
    if not isinstance(result, int):
        return FileDescriptor(result, f"program {name}")
    if cause not in ("", NO_REASON):
        raise VerifierError("loading a program", -first, subject=f"program {name!r}", cause=cause, log=text)
    raise error("loading a program", -first, f"program {name!r}")


def _text(log: bytearray) -> str:
    return bytes(log).split(b"\0", 1)[0].decode(errors="replace")


def cause_of(log: str) -> str:
    """The verifier's last word: the last line that is neither statistics nor state, nor what explains it."""
    noise = ("processed ", "verification time", "stack depth", "mark_precise", "insns ", "subprog ")
    said = log.partition("\nVerification failed: ")[0]
    lines = [line.strip() for line in said.splitlines() if line.strip() and not line.startswith(noise)]
    return lines[-1] if lines else NO_REASON


def prog_test_run(prog: FileDescriptor, *, data: bytes = b"", context: bytes = b"", repeat: int = 0) -> tuple[int, int]:
    """Run a program once (or `repeat` times): (its return value, nanoseconds per run)."""
    data_buffer, context_buffer = bytearray(data), bytearray(context)
    attr = uapi.prog_test_run(
        prog.fileno(),
        data=address_of(data_buffer),
        data_size=len(data),
        context=address_of(context_buffer),
        context_size=len(context),
        repeat=repeat,
    )
    _checked(_bpf(Cmd.PROG_TEST_RUN, attr), "test-running a program", prog.what)
    return uapi.test_run_result(attr)


def btf_load(btf: bytes) -> FileDescriptor:
    """Load type information for programs."""
    buffer = bytearray(btf)
    result = _open(Cmd.BTF_LOAD, uapi.btf_load(address_of(buffer), len(buffer)))
    if isinstance(result, int):
        log, first = bytearray(1 << 16), result
        attr = uapi.btf_load(address_of(buffer), len(buffer), log=address_of(log), log_size=len(log))
        result = _open(Cmd.BTF_LOAD, attr)
        if isinstance(result, int):
            text = _text(log)
            raise error("loading BTF", -first, cause_of(text) if text else "")
    return FileDescriptor(result, "BTF")


def enable_stats() -> FileDescriptor:
    """Have the kernel time every BPF program while the descriptor is open."""
    result = _open(Cmd.ENABLE_STATS, uapi.enable_stats(uapi.STATS_RUN_TIME))
    return _opened(result, "BPF stats", "enabling BPF statistics", needs=_ADMIN)


# Links


def link_create_kprobe_multi(
    prog: FileDescriptor,
    addresses: array[int],
    *,
    cookies: array[int] | None = None,
    is_return: bool = False,
    is_session: bool = False,
) -> FileDescriptor:
    """One link on all `addresses` (array 'Q'), with a cookie each (array 'Q' of the same length)."""
    attr = uapi.link_create_kprobe_multi(
        prog.fileno(),
        attach_type=AttachType.TRACE_KPROBE_SESSION if is_session else AttachType.TRACE_KPROBE_MULTI,
        flags=uapi.F_KPROBE_MULTI_RETURN if is_return else 0,
        count=len(addresses),
        addresses=addresses.buffer_info()[0] if addresses else 0,
        cookies=cookies.buffer_info()[0] if cookies else 0,
    )
    result = _open(Cmd.LINK_CREATE, attr)
    return _opened(result, "link", "attaching by kprobe.multi", plural_text(len(addresses), "function"))


def link_create_uprobe_multi(
    prog: FileDescriptor,
    attach_type: int,
    path: str,
    offsets: array[int],
    *,
    counters: array[int] | None = None,
    cookies: array[int] | None = None,
    is_return: bool = False,
    pid: int = 0,
) -> FileDescriptor:
    """One link on these `offsets` of a file (array 'Q'), with a cookie each; in all processes, or in one (`pid`).

    counters: the offset of a 16-bit counter for each, 0 without one, which the kernel raises in probed processes
    """
    name = c_string(os.fsencode(path))
    attr = uapi.link_create_uprobe_multi(
        prog.fileno(),
        attach_type=attach_type,
        flags=uapi.F_UPROBE_MULTI_RETURN if is_return else 0,
        path=address_of(name),
        offsets=offsets.buffer_info()[0] if offsets else 0,
        ref_ctr_offsets=counters.buffer_info()[0] if counters else 0,
        cookies=cookies.buffer_info()[0] if cookies else 0,
        count=len(offsets),
        pid=pid,
    )
    result = _open(Cmd.LINK_CREATE, attr)
    return _opened(result, "link", "attaching by uprobe.multi", plural_text(len(offsets), "function"))


def link_create_tracing_multi(
    prog: FileDescriptor, attach_type: int, ids: array[int], *, cookies: array[int] | None = None
) -> FileDescriptor:
    """One link on the functions with BTF `ids` (array 'I'), with a cookie each (array 'Q')."""
    attr = uapi.link_create_tracing_multi(
        prog.fileno(),
        attach_type=attach_type,
        ids=ids.buffer_info()[0] if ids else 0,
        cookies=cookies.buffer_info()[0] if cookies else 0,
        count=len(ids),
    )
    result = _open(Cmd.LINK_CREATE, attr)
    return _opened(result, "link", "attaching by tracing_multi", plural_text(len(ids), "function"))


def link_create_tracing(prog: FileDescriptor, attach_type: int, *, cookie: int) -> FileDescriptor:
    """Attach one fentry, fexit or fsession program to the function that it was loaded for."""
    attr = uapi.link_create_tracing(prog.fileno(), attach_type=attach_type, cookie=cookie)
    return _opened(_open(Cmd.LINK_CREATE, attr), "link", "attaching a trampoline", prog.what)


def raw_tracepoint_open(prog: FileDescriptor) -> FileDescriptor:
    """Attach one fentry or fexit program, without a cookie (kernels before 6.0)."""
    attr = uapi.raw_tracepoint_open(prog.fileno())
    return _opened(_open(Cmd.RAW_TRACEPOINT_OPEN, attr), "link", "attaching a trampoline", prog.what)


def attach_raw_tracepoint(prog: FileDescriptor, name: str) -> FileDescriptor:
    """Attach a program to a tracepoint of the kernel. KernelError ENOENT: there is none of that name."""
    text = c_string(name.encode())
    attr = uapi.raw_tracepoint_open(prog.fileno(), address_of(text))
    return _opened(_open(Cmd.RAW_TRACEPOINT_OPEN, attr), "link", "attaching to a tracepoint", name)


def link_create_perf_event(prog: FileDescriptor, event: FileDescriptor, *, cookie: int) -> FileDescriptor:
    """Attach a kprobe program to a perf event, with a cookie."""
    attr = uapi.link_create_perf_event(prog.fileno(), event.fileno(), cookie=cookie)
    return _opened(_open(Cmd.LINK_CREATE, attr), "link", "attaching a kprobe", event.what)


# Pinned objects


def obj_pin(fd: FileDescriptor, path: str) -> None:
    """Pin a program, map or link at `path`, in a BPF file system."""
    name = c_string(os.fsencode(path))
    _checked(_bpf(Cmd.OBJ_PIN, uapi.obj_pin(address_of(name), fd.fileno())), "pinning", f"{fd.what} at {path}")


def obj_get(path: str, what: str) -> FileDescriptor:
    """A descriptor of the object that is pinned at `path`."""
    name = c_string(os.fsencode(path))
    return FileDescriptor(_checked(_bpf(Cmd.OBJ_GET, uapi.obj_pin(address_of(name), 0)), "opening a pin", path), what)


# Objects by id


def next_id(command: int, start: int) -> int | None:
    """The id after `start` for a *_GET_NEXT_ID command, or None at the end."""
    attr = uapi.get_id(start)
    result = _bpf(command, attr)
    if result == -errno.ENOENT:
        return None
    _checked(result, "listing BPF objects", needs=_ADMIN)
    return uapi.next_id(attr)


def open_by_id(command: int, object_id: int, what: str) -> FileDescriptor | None:
    """A descriptor of the object with that id, or None if it is gone by now, or not whole yet.

    A link has its id before it is attached; until then the kernel answers EAGAIN.
    """
    result = _open(command, uapi.get_id(object_id))
    if result in (-errno.ENOENT, -errno.EAGAIN):
        return None
    return _opened(result, f"{what} {object_id}", f"opening {what} {object_id}", needs=_ADMIN)


def object_info(fd: FileDescriptor, size: int, request: bytes = b"") -> bytes:
    """What the kernel tells of an object, at most `size` bytes; `request` asks for arrays, by their addresses."""
    buffer = bytearray(request.ljust(size, b"\0"))
    attr = uapi.get_info(fd.fileno(), address_of(buffer), len(buffer))
    _checked(_bpf(Cmd.OBJ_GET_INFO_BY_FD, attr), "reading object info", fd.what)
    return bytes(buffer[: uapi.info_size(attr)])


def link_info(link: FileDescriptor, request: bytes = b"") -> info.LinkInfo:
    """struct bpf_link_info of a link."""
    return info.parse_link(object_info(link, info.LINK_SIZE, request))


def prog_info(prog: FileDescriptor, request: bytes = b"") -> info.ProgInfo:
    """struct bpf_prog_info of a program."""
    return info.parse_prog(object_info(prog, info.PROG_SIZE, request))


def map_info(fd: FileDescriptor) -> info.MapInfo:
    """struct bpf_map_info of a map."""
    return info.parse_map(object_info(fd, info.MAP_SIZE))


def kprobe_multi_functions(
    link: FileDescriptor, count: int, *, has_cookies: bool = True
) -> tuple[int, array[int], array[int]] | None:
    """(number of functions, addresses, cookies) of a kprobe.multi link, `count` of each; None if the kernel refuses.

    Linux kernel commit 7ac8d0d26165 ("bpf: Support ->fill_link_info for kprobe_multi") (in v6.6)
    """
    addresses, cookies = array("Q", bytes(8 * count)), array("Q", bytes(8 * count))
    at = cookies.buffer_info()[0] if has_cookies else 0
    try:
        head = link_info(link, info.request_kprobe_multi(addresses.buffer_info()[0], count, at))
    except KernelError:
        return None
    return info.parse_kprobe_multi(head.rest).n_functions, addresses, cookies


def tracing_multi_functions(link: FileDescriptor, count: int) -> tuple[int, array[int], array[int], array[int]] | None:
    """(number of functions, BTF ids, addresses, cookies) of a tracing_multi link; None if the kernel refuses."""
    ids, addresses, cookies = (array(code, bytes(size * count)) for code, size in (("I", 4), ("Q", 8), ("Q", 8)))
    at = [one.buffer_info()[0] for one in (ids, addresses, cookies)]
    try:
        head = link_info(link, info.request_tracing_multi(at[0], count, at[1], at[2]))
    except KernelError:
        return None
    return info.parse_tracing_multi(head.rest).n_functions, ids, addresses, cookies


def uprobe_multi_functions(link: FileDescriptor, count: int) -> tuple[int, array[int]] | None:
    """(number of functions, offsets in the file) of a uprobe.multi link; None if the kernel refuses.

    Linux kernel commit e56fdbfb06e2 ("bpf: Add link_info support for uprobe multi link") (in v6.8)
    """
    offsets = array("Q", bytes(8 * count))
    try:
        head = link_info(link, info.request_uprobe_multi(offsets.buffer_info()[0], count, 0, 0, 0))
    except KernelError:
        return None
    return info.parse_uprobe_multi(head.rest).n_functions, offsets


def kernel_btf_name(btf: FileDescriptor) -> str:
    """The name of a BTF object of the kernel: "vmlinux" or a module's; "" for a program's own."""
    name = bytearray(64)
    answer = object_info(btf, info.BTF_SIZE, info.request_btf_name(address_of(name), len(name)))
    return decode_name(bytes(name)) if info.parse_btf(answer).is_kernel else ""
