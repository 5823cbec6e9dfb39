"""Objects of others, without a kernel: what sections mean, what is refused, how maps' descriptors are put in place."""

from __future__ import annotations

import os
from pathlib import Path
from struct import pack

import pytest

import multiprobe as mp
from multiprobe.kernel.mechanism import Mechanism
from multiprobe.links.attachment import Attachment
from multiprobe.links.guard.replaceable import ReplaceableLinks
from multiprobe.links.ledger import Ledger
from multiprobe.links.objects import SECTIONS, ObjectProgram, ObjectStore, _Maps, load_object, parse_section
from multiprobe.maps.foreign import ForeignMap
from multiprobe.syscalls import libbpf
from multiprobe.syscalls.fd import FileDescriptor
from multiprobe.syscalls.libbpf import LoadedMap, LoadedProgram, with_other_maps
from multiprobe.uapi.bpf import MapType, ProgType


def program(section: str, *, has_fd: bool = True) -> ObjectProgram:
    fd = FileDescriptor(os.open(os.devnull, os.O_RDONLY), "program") if has_fd else None
    return ObjectProgram(LoadedProgram("count", section, ProgType.KPROBE, 0, b"", fd))


@pytest.mark.parametrize(
    ("name", "base", "target", "is_sleepable"),
    [
        ("kprobe.multi/tcp_*", "kprobe.multi", "tcp_*", False),
        ("kprobe/vfs_read", "kprobe", "vfs_read", False),
        ("kprobe", "kprobe", "", False),
        ("?kretprobe.multi", "kretprobe.multi", "", False),
        ("fentry.s/vfs_read", "fentry", "vfs_read", True),
        ("kprobe.session/x", "kprobe.session", "x", False),
        ("fsession.multi/vfs_*", "fsession.multi", "vfs_*", False),
    ],
)
def test_sections(name: str, base: str, target: str, is_sleepable: bool) -> None:
    assert parse_section(name) == (SECTIONS[base], target, is_sleepable)


@pytest.mark.parametrize("name", ["xdp", "tp/sched/sched_switch", "kprobe.s/x", "", "kprobes/x", "uprobe.multi/x:y"])
def test_sections_for_something_else(name: str) -> None:
    assert parse_section(name)[0] is None


def test_which_mechanisms() -> None:
    made = program("kprobe.multi/x")
    with made._loaded.fd:  # type: ignore[union-attr]
        assert made.require_usable(Mechanism.ALL, "entry") == Mechanism.KPROBE_MULTI | Mechanism.KPROBE
        assert made.require_usable(Mechanism.KPROBE | Mechanism.TRAMPOLINE, "entry") == Mechanism.KPROBE
        with pytest.raises(mp.NotSupportedError, match="kprobe_multi or kprobe, and none of them"):
            made.require_usable(Mechanism.TRAMPOLINE, "entry")
        with pytest.raises(mp.UsageError, match="runs at the entry side"):
            made.require_usable(Mechanism.ALL, "return")
    with pytest.raises(mp.UsageError, match="is closed"):
        made.require_usable(Mechanism.ALL, "entry")


def test_what_is_not_for_us() -> None:
    with pytest.raises(mp.NotSupportedError, match="section 'xdp' is for nothing"):
        program("xdp", has_fd=False).require_usable(Mechanism.ALL, "entry")


def test_descriptors_of_maps_are_replaced() -> None:
    def wide(source: int, number: int) -> bytes:
        return pack("<BBhiBBhi", 0x18, source << 4 | 1, 0, number, 0, 0, 0, 77)

    insns = wide(1, 5) + wide(2, 6) + wide(0, 5) + pack("<BBhi", 0xB7, 1, 0, 5)
    assert with_other_maps(insns, {5: 50, 6: 60}) == wide(1, 50) + wide(2, 60) + wide(0, 5) + insns[-8:]


def test_what_is_no_object(tmp_path: Path) -> None:
    for n, data in enumerate((b"", b"\x7fELF", b"no object at all" * 10, b"\x7fELF\2\1" + bytes(200))):
        path = tmp_path / f"{n}.o"
        path.write_bytes(data)
        with pytest.raises(mp.DataError):
            load_object(path)
    with pytest.raises(FileNotFoundError):
        load_object(tmp_path / "none.o")


def test_without_libbpf(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libbpf, "SONAME", "libbpf-that-nobody-has.so.1")
    with pytest.raises(mp.NotSupportedError, match=r"libbpf-that-nobody-has\.so\.1 is missing") as caught:
        libbpf.open_library()
    assert "apt-get install libbpf1" in caught.value.hint


def test_keys_and_values_of_any_size() -> None:
    with FileDescriptor(os.open(os.devnull, os.O_RDONLY), "map") as fd:
        made = ForeignMap(LoadedMap("m", MapType.HASH, 4, 12, 10, fd))
        assert made._encoded(5, 4) == b"\5\0\0\0"
        assert made._encoded(-1, 4) == b"\xff" * 4
        assert made._encoded(b"x" * 12, 12) == b"x" * 12
        with pytest.raises(mp.UsageError, match="takes 12 bytes here, not 3"):
            made._encoded(b"abc", 12)
        with pytest.raises(mp.UsageError, match="does not fit in the 4 bytes"):
            made._encoded(1 << 32, 4)
        assert made._value(b"\1" + bytes(11)) == b"\1" + bytes(11)
        per_cpu = ForeignMap(LoadedMap("m", MapType.PERCPU_ARRAY, 4, 4, 10, fd))
        assert per_cpu._value(pack("<QQ", 3, 4)) == [3, 4]
        ring = ForeignMap(LoadedMap("r", MapType.RINGBUF, 0, 0, 4096, fd))
        with pytest.raises(mp.UsageError, match="no keys and values"):
            ring.as_dict()


def test_an_attachment_of_an_object_ends_but_does_not_stop() -> None:
    made = program("kprobe.multi/x", has_fd=False)
    links = ReplaceableLinks(None, 0)  # type: ignore[arg-type]
    attachment = Attachment(made, [], links=links, store=ObjectStore(made), ledger=Ledger(1))  # type: ignore[arg-type]
    with attachment:
        with pytest.raises(mp.UsageError, match="can't be paused"):
            attachment.pause()
        with pytest.raises(mp.UsageError, match=r"obj\.maps|is used by no program"):
            attachment.map(mp.Array(mp.u64, 1))
    assert attachment.is_closed


def test_an_object_that_crashes_libbpf_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libbpf, "OPENING", "import os; os.kill(os.getpid(), 11)")
    with pytest.raises(mp.DataError, match="ended libbpf by SIGSEGV"):
        libbpf._require_openable(b"", "damaged.o")


@pytest.mark.parametrize(
    ("prefix", "made"),
    [("probes", "probes"), ("st_longname_of_object", "st_longn"), ("with-dash", "with_das"), ("eight_ch", "eight_ch")],
)
def test_maps_of_variables_go_by_the_files_name(prefix: str, made: str) -> None:
    names = [f"{made}.bss", f"{made}.data", f"{made}.rodata", "hits"]
    with FileDescriptor(os.open(os.devnull, os.O_RDONLY), "map") as fd:
        maps = _Maps({name: ForeignMap(LoadedMap(name, MapType.ARRAY, 4, 8, 1, fd)) for name in names}, prefix=prefix)
        for kind in ("bss", "data", "rodata"):
            assert maps[f"{prefix}.{kind}"] is maps[f"{made}.{kind}"]
        assert sorted(maps) == sorted(names)
        for other in ("none.bss", f"{prefix}.text", "hit", prefix):
            with pytest.raises(KeyError):
                maps[other]


def test_a_program_that_libbpf_left_out_has_no_descriptor() -> None:
    """SEC("?raw_tp/…"): libbpf's descriptor of it is -1."""

    class Library:
        bpf_object__next_map = staticmethod(lambda _handle, _before: None)
        bpf_program__fd = staticmethod(lambda _program: -1)
        bpf_program__name = staticmethod(lambda _program: b"optional")
        bpf_program__section_name = staticmethod(lambda _program: b"?raw_tp/sys_enter")
        bpf_program__type = staticmethod(lambda _program: 17)
        bpf_program__expected_attach_type = staticmethod(lambda _program: 0)

    ((left,), maps) = libbpf._taken(Library, 1, [(1, True)])  # type: ignore[arg-type]
    assert (left.name, left.fd, maps) == ("optional", None, [])
