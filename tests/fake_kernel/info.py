"""OBJ_GET_INFO_BY_FD, and what else the kernel tells of its objects."""

from __future__ import annotations

import errno
import hashlib
from struct import pack, pack_into, unpack_from
from typing import TYPE_CHECKING

from fake_kernel.functions import CALL_OFFSET
from fake_kernel.memory import Refused, refuse_if, write
from fake_kernel.objects import Btf, Link, Map, Object, Program
from multiprobe.uapi.bpf import LinkType

if TYPE_CHECKING:
    from fake_kernel.kernel import FakeKernel

_HELPERS = {160: "bpf_ktime_get_coarse_ns", 7: "bpf_user_rnd_u32", 5: "bpf_ktime_get_ns"}
_LOOP_NS, _CALL_NS = 100, 10


def filled(kernel: FakeKernel, one: Object, request: bytes) -> bytes:
    """The info of an object, as long as the kernel's own structure; `request` is what the caller gave."""
    info = bytearray(request.ljust(256, b"\0"))
    if isinstance(one, Program):
        return _program(kernel, one, info)
    if isinstance(one, Map):
        fields = (one.kind, one.number, one.key_size, one.value_size, one.max_entries, one.flags)
        return pack("<6I16s", *fields, one.name.encode()).ljust(88, b"\0")
    if isinstance(one, Btf):
        return _btf(one, info)
    if isinstance(one, Link):
        return _link(kernel, one, info)
    raise Refused(errno.EINVAL)


def _hides(kernel: FakeKernel) -> bool:
    return kernel.profile.hides_addresses


def _program(kernel: FakeKernel, one: Program, info: bytearray) -> bytes:
    n_maps, map_ids = unpack_from("<IQ", info, 52)
    maps = [held.number for held in one.maps]
    if n_maps and map_ids:
        write(map_ids, pack(f"<{min(n_maps, len(maps))}I", *maps[:n_maps]))
    made = bytearray(232)
    pack_into("<II8sII", made, 0, one.kind, one.number, hashlib.sha1(one.insns).digest()[:8], 0, len(one.insns))
    pack_into("<I", made, 52, len(maps))
    pack_into("<16s", made, 64, one.name.encode())
    pack_into("<I", made, 128, one.debug.number if one.debug else 0)
    pack_into("<QQQI", made, 192, one.run_time, one.run_count, one.recursion_misses, len(one.insns) // 8)
    pack_into("<II", made, 220, one.btf.number if one.btf else 0, one.target_id)
    return bytes(made)


def _btf(one: Btf, info: bytearray) -> bytes:
    name, room = unpack_from("<QI", info, 16)
    data, given = unpack_from("<QI", info, 0)
    text = one.name.encode() + b"\0"
    if name and room:
        write(name, text[: room - 1] + (b"" if len(text) <= room else b"\0"))
    if data and given:
        write(data, one.data[:given])
    return pack("<QIIQII", data, len(one.data), one.number, name, len(text) - 1, int(one.types is not None))


def _link(kernel: FakeKernel, one: Link, info: bytearray) -> bytes:
    assert one.program is not None
    pack_into("<III", info, 0, one.kind, one.number, one.program.number)
    if one.kind == LinkType.KPROBE_MULTI:
        _kprobe_multi(kernel, one, info)
    elif one.kind == LinkType.TRACING_MULTI:
        _tracing_multi(kernel, one, info)
    elif one.kind == LinkType.TRACING:
        program = one.program
        assert program.btf is not None
        pack_into("<III", info, 16, program.attach_type, program.btf.number, program.target_id)
        pack_into("<Q", info, 32, one.probes[0].cookie if kernel.profile.tells_cookies else 0)
    elif one.kind == LinkType.PERF_EVENT and kernel.profile.tells_links:
        _perf_event(kernel, one, info)
    return bytes(info[: 64 if kernel.profile.tells_links else 48])


def _addresses(kernel: FakeKernel, one: Link) -> list[int]:
    """Those of symbols for kprobe.multi, else those of call sites, as seen on 6.12 and 7.3 with IBT."""
    if _hides(kernel):
        return [0] * len(one.probes)
    is_symbols = one.kind == LinkType.KPROBE_MULTI
    told = [probe.function.address if is_symbols else probe.function.call_site for probe in one.probes]
    return [kernel.told_addresses.get(address, address) for address in told]


def _arrays(count: int, wanted: int, arrays: list[tuple[int, str, list[int]]]) -> None:
    """Fill what the caller asked for, as far as it has room: ENOSPC when there is more."""
    for address, letter, items in arrays:
        if address:
            write(address, pack(f"<{min(count, wanted)}{letter}", *items[:wanted]))
    refuse_if(wanted < count and any(address for address, _, _ in arrays), errno.ENOSPC)


def _kprobe_multi(kernel: FakeKernel, one: Link, info: bytearray) -> None:
    """bpf_kprobe_multi_link_fill_link_info; kernels before 6.6 leave all of this as it was given."""
    addresses, wanted, _, _, cookies = unpack_from("<QIIQQ", info, 16)
    if not kernel.profile.tells_links:
        return
    refuse_if(bool(addresses) != bool(wanted), errno.EINVAL)
    pack_into("<II", info, 24, len(one.probes), {"return": 1}.get(one.when, 0))
    pack_into("<Q", info, 32, one.missed)
    addresses_told = _addresses(kernel, one)
    _arrays(len(one.probes), wanted, [
        (addresses, "Q", addresses_told),
        (cookies if kernel.profile.tells_cookies else 0, "Q", [probe.cookie for probe in one.probes]),
    ])  # fmt: skip


def _tracing_multi(kernel: FakeKernel, one: Link, info: bytearray) -> None:
    """bpf_tracing_multi_link_fill_link_info"""
    assert one.program is not None
    assert one.program.btf is not None
    assert one.program.btf.types is not None
    ids = one.program.btf.types.ids
    _, wanted, _, _, to_ids, addresses, cookies = unpack_from("<IIIIQQQ", info, 16)
    pack_into("<III", info, 16, one.program.attach_type, len(one.probes), one.program.btf.number)
    addresses_told = _addresses(kernel, one)
    _arrays(len(one.probes), wanted, [
        (to_ids, "I", [ids[probe.function.address] for probe in one.probes]),
        (addresses, "Q", addresses_told),
        (cookies, "Q", [probe.cookie for probe in one.probes]),
    ])  # fmt: skip


def _perf_event(kernel: FakeKernel, one: Link, info: bytearray) -> None:
    """bpf_perf_link_fill_kprobe"""
    event = one.event
    assert event is not None
    assert event.function is not None
    name, room = unpack_from("<QI", info, 24)
    if name and room:
        write(name, event.function.name.encode()[: room - 1] + b"\0")
    pack_into("<I", info, 16, 4 if event.is_return else 3)
    address = 0 if _hides(kernel) else event.function.address + (event.offset or CALL_OFFSET)
    pack_into("<IQQQ", info, 36, event.offset, address, one.missed, one.probes[0].cookie)


def duration(kernel: FakeKernel, insns: bytes) -> int:
    """Nanoseconds of a run of a program that calls a helper in a loop, with all probes that are on the helper."""
    helpers = {immediate for opcode, _, _, immediate in _decoded(insns) if opcode == 0x85}
    loops = max((immediate for opcode, _, _, immediate in _decoded(insns) if opcode == 0xB7), default=1)
    each = sum(_CALL_NS + _added(kernel, _HELPERS.get(helper, "")) for helper in helpers)
    return _LOOP_NS + loops * each


def _decoded(insns: bytes) -> list[tuple[int, int, int, int]]:
    return [unpack_from("<BBhi", insns, place) for place in range(0, len(insns), 8)]


def _added(kernel: FakeKernel, name: str) -> int:
    return sum(kernel.probe_ns[mechanism] for mechanism, _, _ in kernel.probes(name))
