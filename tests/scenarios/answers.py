"""What the kernel answers to single system calls: the rules that the fake kernel must share with every real one."""

from __future__ import annotations

import errno
import mmap
import os
from array import array
from struct import pack

import pytest

import multiprobe as mp
from fake_kernel import Profile
from multiprobe.errors import KernelError, VerifierError
from multiprobe.kernel.btf import types as btf
from multiprobe.links.mechanisms.kprobe import pmu
from multiprobe.syscalls import bpf, perf
from multiprobe.syscalls.fd import FileDescriptor
from multiprobe.uapi import bpf as uapi
from multiprobe.uapi import info
from multiprobe.uapi.bpf import AttachType, Cmd, LinkType, MapType, ProgType
from scenarios.observed import Seen, errno_of, ids, links, seen

RETURN_0 = bytes.fromhex("b7000000000000009500000000000000")
MULTI, SESSION = AttachType.TRACE_KPROBE_MULTI, AttachType.TRACE_KPROBE_SESSION
FENTRY, FEXIT, FSESSION = AttachType.TRACE_FENTRY, AttachType.TRACE_FEXIT, AttachType.TRACE_FSESSION
FENTRY_MULTI = AttachType.TRACE_FENTRY_MULTI


def load(kind: int = ProgType.KPROBE, attach_type: int = 0, target: int = 0, insns: bytes = RETURN_0) -> FileDescriptor:
    return bpf.prog_load(kind, insns, name="empty", expected_attach_type=attach_type, attach_btf_id=target)


def btf_id(kernel: mp.Kernel, name: str) -> int:
    number = kernel.by_symbols([name], unsafe=True).btf_ids()[0]
    assert number, name
    return number


def fentry(kernel: mp.Kernel, name: str, attach_type: int = FENTRY) -> FileDescriptor:
    return load(ProgType.TRACING, attach_type, btf_id(kernel, name))


def address(kernel: mp.Kernel, name: str) -> int:
    return kernel.by_symbols([name], unsafe=True).addresses()[0]


def call_site(kernel: mp.Kernel, name: str) -> int:
    """Where ftrace's call is, behind an ENDBR."""
    chosen = kernel.by_symbols([name], unsafe=True)
    return chosen.addresses()[0] + chosen.call_offsets()[0]


# Maps


@pytest.mark.parametrize(
    ("kind", "key", "value", "entries", "flags", "expected"),
    [
        (MapType.RINGBUF, 0, 0, 4096, 0, 0),
        (MapType.RINGBUF, 0, 0, 3 * 4096, 0, errno.EINVAL),
        (MapType.RINGBUF, 0, 0, 1024, 0, errno.EINVAL),
        (MapType.RINGBUF, 4, 0, 4096, 0, errno.EINVAL),
        (MapType.STACK_TRACE, 4, 8 * 127, 16, 0, 0),
        (MapType.STACK_TRACE, 4, 8 * 128, 16, 0, errno.EINVAL),
        (MapType.STACK_TRACE, 4, 12, 16, 0, errno.EINVAL),
        (MapType.ARRAY, 4, 64, 1, uapi.F_MMAPABLE, 0),
        (MapType.ARRAY, 8, 64, 1, 0, errno.EINVAL),
        (MapType.ARRAY, 4, 0, 1, 0, errno.EINVAL),
        (MapType.ARRAY, 4, 64, 0, 0, errno.EINVAL),
        (MapType.HASH, 8, 8, 16, 0, 0),
        (MapType.HASH, 8, 8, 16, uapi.F_MMAPABLE, errno.EINVAL),
        (MapType.HASH, 0, 8, 16, 0, errno.EINVAL),
        (MapType.PERCPU_HASH, 8, 8, 16, 0, 0),
        (MapType.LRU_HASH, 8, 8, 16, 0, 0),
        (9999, 4, 4, 1, 0, errno.EINVAL),
    ],
)
def test_maps(kind: int, key: int, value: int, entries: int, flags: int, expected: int) -> None:
    assert errno_of(lambda: bpf.map_create(kind, key, value, entries, name="one", flags=flags)) == expected


def key_of(number: int) -> bytes:
    return number.to_bytes(8, "little")


def test_a_hash_table() -> None:
    with bpf.map_create(MapType.HASH, 8, 8, 4, name="table") as table:
        assert bpf.map_lookup(table, key_of(1), 8) is None
        for number in range(4):
            bpf.map_update(table, key_of(number), key_of(10 * number))
        assert bpf.map_lookup(table, key_of(3), 8) == key_of(30)
        for flags, key, expected in ((0, 9, errno.E2BIG), (1, 3, errno.EEXIST), (2, 9, errno.ENOENT)):
            with pytest.raises(KernelError) as caught:
                bpf.map_update(table, key_of(key), key_of(1), flags=flags)
            assert caught.value.errno == expected
        assert bpf.map_delete(table, key_of(3))
        assert not bpf.map_delete(table, key_of(3))
        keys, last = set(), None
        while (last := bpf.map_next_key(table, last, 8)) is not None:
            keys.add(last)
        assert keys == {key_of(number) for number in range(3)}


def test_a_hash_table_in_batches() -> None:
    with bpf.map_create(MapType.HASH, 8, 8, 64, name="table") as table:
        for number in range(50):
            bpf.map_update(table, key_of(number), key_of(10 * number))
        for delete in (False, True):
            found: dict[bytes, bytes] = {}
            position = None
            while True:
                keys, values, position = bpf.map_lookup_batch(
                    table, key_size=8, value_size=8, count=32, position=position, delete=delete
                )
                found |= {keys[n : n + 8]: values[n : n + 8] for n in range(0, len(keys), 8)}
                if position is None:
                    break
            assert found == {key_of(number): key_of(10 * number) for number in range(50)}
        assert bpf.map_next_key(table, None, 8) is None


def test_an_array_is_memory() -> None:
    with bpf.map_create(MapType.ARRAY, 4, 64, 1, name="shared", flags=uapi.F_MMAPABLE) as shared:
        with mmap.mmap(shared.fileno(), mmap.PAGESIZE) as memory:
            memory[:8] = key_of(77)
            assert bpf.map_lookup(shared, bytes(4), 64) == key_of(77) + bytes(56)
            bpf.map_update(shared, bytes(4), key_of(78) + bytes(56))
            assert memory[:8] == key_of(78)
        assert bpf.map_lookup(shared, b"\1\0\0\0", 64) is None
        with pytest.raises(KernelError) as caught:
            bpf.map_update(shared, b"\1\0\0\0", bytes(64))
        assert caught.value.errno == errno.E2BIG
        with pytest.raises(KernelError) as caught:
            bpf.map_delete(shared, bytes(4))
        assert caught.value.errno == errno.EINVAL


def test_what_may_not_be_mapped() -> None:
    with (
        bpf.map_create(MapType.ARRAY, 4, 64, 1, name="private") as private,
        pytest.raises(OSError, match="Invalid argument"),
    ):
        mmap.mmap(private.fileno(), mmap.PAGESIZE)
    with bpf.map_create(MapType.RINGBUF, 0, 0, 4096, name="ring") as ring:
        mmap.mmap(ring.fileno(), mmap.PAGESIZE).close()
        with pytest.raises(PermissionError):
            mmap.mmap(ring.fileno(), mmap.PAGESIZE, offset=mmap.PAGESIZE)
        mmap.mmap(ring.fileno(), 3 * mmap.PAGESIZE, prot=mmap.PROT_READ, offset=mmap.PAGESIZE).close()


# Programs


def test_programs_that_cannot_be() -> None:
    assert errno_of(lambda: load(insns=b"")) == errno.E2BIG
    unknown_map = pack("<BBhiBBhi", 0x18, 0x11, 0, 9999, 0, 0, 0, 0) + RETURN_0
    assert errno_of(lambda: load(insns=unknown_map)) == errno.EBADF
    assert errno_of(lambda: load(ProgType.TRACING, FENTRY)) == errno.EINVAL
    assert errno_of(lambda: load(ProgType.TRACING, FENTRY, 1 << 30)) == errno.EINVAL
    assert errno_of(lambda: load(ProgType.KPROBE, 0, 1)) == errno.EINVAL
    with pytest.raises(VerifierError) as caught:
        load(insns=RETURN_0[:8])
    assert "last insn is not an exit or jmp" in caught.value.log
    assert errno_of(lambda: bpf.btf_load(b"nothing that could be types" * 4)) == errno.EINVAL


def test_what_trampolines_may_be_loaded_for(profile: Profile, kernel: mp.Kernel) -> None:
    names = {
        ("vfs_read", FENTRY): 0,
        ("vfs_read", FEXIT): 0,
        ("vfs_read", FSESSION): 0 if profile.has_fsession else errno.EINVAL,
        ("migrate_disable", FENTRY): errno.EINVAL,
        ("do_exit", FENTRY): 0,
        ("do_exit", FEXIT): errno.EINVAL if profile.refuses_noreturn else 0,
    }
    assert {how: errno_of(lambda how=how: fentry(kernel, *how)) for how in names} == names  # type: ignore[misc]


def test_a_program_says_what_it_is(kernel: mp.Kernel) -> None:
    with bpf.map_create(MapType.ARRAY, 4, 64, 1, name="used") as used:
        insns = pack("<BBhiBBhi", 0x18, 0x11, 0, used.fileno(), 0, 0, 0, 0) + RETURN_0
        with load(insns=insns) as program:
            told = info.parse_prog(bpf.object_info(program, info.PROG_SIZE))
        assert (told.kind, told.name, told.n_maps, told.run_count) == (ProgType.KPROBE, "empty", 1, 0)
        numbers = info.parse_map(bpf.object_info(used, info.MAP_SIZE))
        assert (numbers.kind, numbers.key_size, numbers.value_size, numbers.max_entries, numbers.name) == (
            MapType.ARRAY, 4, 64, 1, "used",
        )  # fmt: skip
    with fentry(kernel, "vfs_read") as program:
        told = info.parse_prog(bpf.object_info(program, info.PROG_SIZE))
    assert (told.kind, told.attach_btf_id) == (ProgType.TRACING, btf_id(kernel, "vfs_read"))


def test_types_of_the_kernel_have_names() -> None:
    names = []
    for number in sorted(ids(Cmd.BTF_GET_NEXT_ID)):
        found = bpf.open_by_id(Cmd.BTF_GET_FD_BY_ID, number, "BTF")
        if found is not None:
            with found:
                names.append(bpf.kernel_btf_name(found))
    assert names.count("vmlinux") == 1
    assert os.path.exists(f"{btf.BTF_DIRECTORY}/vmlinux")


def test_a_descriptor_is_of_one_kind() -> None:
    with bpf.map_create(MapType.ARRAY, 4, 64, 1, name="shared") as shared, load() as program:
        attr = bytearray(64)
        assert errno_of(lambda: bpf.raw_tracepoint_open(shared)) == errno.EINVAL
        assert errno_of(lambda: bpf.link_create_perf_event(program, shared, cookie=0)) == errno.EBADF
        with pytest.raises(KernelError) as caught:
            bpf.map_lookup(program, bytes(attr[:4]), 64)
        assert caught.value.errno == errno.EINVAL
    closed = FileDescriptor(1 << 16, "nothing")
    try:
        assert errno_of(lambda: bpf.raw_tracepoint_open(closed)) == errno.EBADF
    finally:
        closed._descriptor.value = -1  # not ours to close


# kprobe.multi


def multi(program: FileDescriptor, addresses: list[int], cookies: list[int] | None = None) -> FileDescriptor:
    given = array("Q", cookies) if cookies else None
    return bpf.link_create_kprobe_multi(program, array("Q", addresses), cookies=given)


def test_kprobe_multi(profile: Profile, kernel: mp.Kernel) -> None:
    inside = address(kernel, "vfs_read") + 9
    with load(attach_type=MULTI) as program, load() as plain:
        lacking = 0 if profile.has_kprobe_multi else errno.EOPNOTSUPP
        assert errno_of(lambda: multi(program, [address(kernel, "vfs_read")])) == lacking
        assert errno_of(lambda: multi(program, [])) == (lacking or errno.EINVAL)
        assert errno_of(lambda: multi(program, [inside])) in (lacking or errno.ENOENT, errno.EINVAL)
        assert errno_of(lambda: multi(plain, [address(kernel, "vfs_read")])) == (lacking or errno.EINVAL)
        attr = uapi.link_create_kprobe_multi(program.fileno(), attach_type=MULTI, flags=0, count=1, addresses=8)
        assert bpf._bpf(Cmd.LINK_CREATE, attr) == -(lacking or errno.EFAULT)
        attr = uapi.link_create_kprobe_multi(program.fileno(), attach_type=MULTI, flags=2, count=1, addresses=8)
        assert bpf._bpf(Cmd.LINK_CREATE, attr) == -(lacking or errno.EINVAL)


def test_kprobe_multi_says_where_it_is(profile: Profile, kernel: mp.Kernel) -> None:
    if not profile.has_kprobe_multi:
        return
    addresses = [address(kernel, name) for name in ("vfs_write", "vfs_read", "do_sys_openat2")]
    cookies = {one: 7 * place for place, one in enumerate(addresses, 1)}
    before = ids(Cmd.LINK_GET_NEXT_ID)
    with load(attach_type=MULTI) as program, multi(program, addresses, list(cookies.values())) as link:
        in_order = sorted(addresses)
        told = tuple(cookies[one] for one in in_order) if profile.tells_cookies else (0, 0, 0)
        expected = Seen(LinkType.KPROBE_MULTI, 3, "entry", tuple(in_order), told)
        assert without_unknown(seen(link), profile) == expected
        assert [without_unknown(one, profile) for one in links(before)] == [expected]
        room = array("Q", bytes(16))
        with pytest.raises(KernelError) as caught:
            bpf.object_info(link, info.LINK_SIZE, info.request_kprobe_multi(room.buffer_info()[0], 2, 0))
        assert caught.value.errno == errno.ENOSPC
    assert links(before) == []


def without_unknown(one: Seen, profile: Profile) -> Seen:
    """What kernels of the same profile may or may not tell, left out."""
    return one if profile.tells_cookies else Seen(one.kind, one.count, one.when, one.addresses, (0,) * one.count)


# tracing_multi


def test_tracing_multi(profile: Profile, kernel: mp.Kernel) -> None:
    if not profile.has_tracing_multi:
        assert errno_of(lambda: load(ProgType.TRACING, FENTRY_MULTI)) == errno.EINVAL
        return
    names = ["vfs_read", "vfs_write", "do_sys_openat2"]
    numbers = {name: btf_id(kernel, name) for name in names}

    def link(program: FileDescriptor, wanted: list[int], cookies: list[int] | None = None) -> FileDescriptor:
        given = array("Q", cookies) if cookies else None
        return bpf.link_create_tracing_multi(program, FENTRY_MULTI, array("I", wanted), cookies=given)

    with load(ProgType.TRACING, FENTRY_MULTI) as program:
        assert errno_of(lambda: link(program, [])) == errno.EINVAL
        assert errno_of(lambda: link(program, [*numbers.values(), btf_id(kernel, "migrate_disable")])) == errno.EINVAL
        attr = uapi.link_create_tracing_multi(program.fileno(), attach_type=FENTRY_MULTI, ids=8, cookies=0, count=1)
        assert bpf._bpf(Cmd.LINK_CREATE, attr) == -errno.EFAULT
        with link(program, list(numbers.values()), [1, 2, 3]) as made:
            order = sorted(range(3), key=lambda place: numbers[names[place]])
            sites = tuple(call_site(kernel, names[place]) for place in order)
            told = Seen(LinkType.TRACING_MULTI, 3, "entry", sites, tuple(place + 1 for place in order))
            assert seen(made) == (told if profile.tells_batches else Seen(LinkType.TRACING_MULTI, 0))


# Trampolines


def test_a_trampoline(profile: Profile, kernel: mp.Kernel) -> None:
    before = ids(Cmd.LINK_GET_NEXT_ID)
    with fentry(kernel, "vfs_read") as program:
        with bpf.link_create_tracing(program, FENTRY, cookie=77) as link:
            assert seen(link).when == "entry"
            assert seen(link).cookies == (77 if profile.tells_cookies else seen(link).cookies[0],)
            told = info.parse_tracing(info.parse_link(bpf.object_info(link, info.LINK_SIZE)).rest)
            assert told.target_btf_id == btf_id(kernel, "vfs_read")
            assert errno_of(lambda: bpf.link_create_tracing(program, FENTRY, cookie=0)) == errno.EBUSY
            assert len(links(before)) == 1
        assert errno_of(lambda: bpf.link_create_tracing(program, FEXIT, cookie=0)) == errno.EINVAL
        assert errno_of(lambda: bpf.raw_tracepoint_open(program)) == 0
    assert links(before) == []


# Kprobes


def probe(kernel: mp.Kernel, name: str, **options: object) -> FileDescriptor:
    kind, bit = pmu()
    return perf.open_kprobe(kind, address=address(kernel, name), return_bit=bit, **options)  # type: ignore[arg-type]


def test_where_kprobes_may_be(profile: Profile, kernel: mp.Kernel) -> None:
    kind, _ = pmu()
    assert errno_of(lambda: perf.open_kprobe(kind, symbol="vfs_read")) == 0
    assert errno_of(lambda: perf.open_kprobe(kind, symbol="vfs_read", offset=1)) == errno.EILSEQ
    assert errno_of(lambda: perf.open_kprobe(kind, symbol="no_such_function_anywhere")) == errno.ENOENT
    ambiguous = errno.EADDRNOTAVAIL if profile.refuses_ambiguous else 0
    assert errno_of(lambda: perf.open_kprobe(kind, symbol="t_next")) == ambiguous
    assert errno_of(lambda: perf.open_kprobe(kind, symbol="asm_exc_page_fault")) == errno.EINVAL


def test_a_kprobe(profile: Profile, kernel: mp.Kernel) -> None:
    before = ids(Cmd.LINK_GET_NEXT_ID)
    with load() as program, load(attach_type=MULTI) as other, probe(kernel, "vfs_read") as event:
        with bpf.link_create_perf_event(program, event, cookie=5) as link:
            assert seen(link).count == len(links(before)) == 1
            if profile.tells_links:
                assert seen(link) == Seen(
                    LinkType.PERF_EVENT, 1, "entry", (call_site(kernel, "vfs_read"),), seen(link).cookies
                )
            assert errno_of(lambda: bpf.link_create_perf_event(program, event, cookie=5)) == errno.EEXIST
        assert links(before) == []
        if profile.has_kprobe_multi:
            assert errno_of(lambda: bpf.link_create_perf_event(other, event, cookie=0)) == errno.EINVAL
