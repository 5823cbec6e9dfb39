"""Functions of programs: mappings and memory of made processes, link info of a fake kernel, and what is printed."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_inspect_links import FakeKernel, FakeLayouts, FakeSources, head

from multiprobe.arch.aarch64 import AARCH64
from multiprobe.arch.x86_64 import X86_64
from multiprobe.binaries.file import BinaryFile
from multiprobe.binaries.mappings import FileMapping, parse_mappings
from multiprobe.binaries.rules import ATTACHABLE
from multiprobe.binaries.sets import UserFunction
from multiprobe.errors import NoMatchError, NotPermittedError, UsageError
from multiprobe.inspect import (
    Missing,
    ObservedLink,
    ObservedProgram,
    ProcessCode,
    Sources,
    UprobeTarget,
    UserAttached,
    UserFunctionPicture,
    processes,
)
from multiprobe.inspect.observed import list_links
from multiprobe.inspect.processes import MAX_PROCESSES, find_processes, read_codes
from multiprobe.inspect.uprobe_code import read_site
from multiprobe.inspect.uprobe_index import UprobeIndex
from multiprobe.inspect.user_records import user_records
from multiprobe.inspect.user_text import user_grid, user_lines
from multiprobe.syscalls import raw
from multiprobe.uapi.bpf import LinkType

CODE, OFFSET = 0x10000, 0x1000
"""Where a made process has the file's code, and the offset of that mapping in the file."""
PAGE = FileMapping(0x7000, 0x8000, 0, True, "00:00", 0, "[uprobes-trampoline]")
PROGRAM = ObservedProgram(41, "counting", "59f4a931744dcdc6", 0)
OWN = bytes(range(0x40, 0x50))


def call_to(target: int, address: int, *, has_lea: bool = False) -> bytes:
    lea = bytes.fromhex("488d642480") if has_lea else b""
    return lea + b"\xe8" + (target - address - len(lea) - 5).to_bytes(4, "little", signed=True)


@given(st.binary())
def test_any_bytes_are_told(code: bytes) -> None:
    site = read_site(X86_64, code, OWN, CODE, [PAGE])
    assert (site.state == "unreadable") == (not code)
    assert (site.target is None) == (site.trampoline is None) == (site.state not in ("call", "former_call"))


@pytest.mark.parametrize("has_lea", [False, True])
def test_what_a_kernel_puts_there(has_lea: bool) -> None:
    code = call_to(0x7010, CODE, has_lea=has_lea)
    site = read_site(X86_64, code.ljust(16, b"\x90"), OWN, CODE, [PAGE])
    assert (site.state, site.target, site.trampoline) == ("call", 0x7010, (0x7000, 0x8000))
    assert read_site(X86_64, code, OWN, CODE, []).state == "changed"
    former = bytes.fromhex("662e0f1f84") + call_to(0x7010, CODE, has_lea=True)[5:]
    assert read_site(X86_64, former, OWN, CODE, [PAGE]).state == "former_call"
    assert read_site(X86_64, former, former, CODE, [PAGE]).state == "original"
    assert read_site(X86_64, former, OWN, CODE, []).state == "changed"
    assert read_site(X86_64, call_to(0x8000, CODE, has_lea=has_lea), OWN, CODE, [PAGE]).state == "changed"
    assert read_site(X86_64, b"\xcc" + OWN[1:], OWN, CODE, []).state == "breakpoint"
    assert read_site(AARCH64, bytes.fromhex("a00020d4"), OWN, CODE, []).state == "breakpoint"
    assert read_site(AARCH64, b"\xcc", OWN, CODE, []).state == "changed"
    assert read_site(X86_64, OWN[:3], OWN, CODE, []).state == "original"


def test_mappings() -> None:
    text = (
        "10000-12000 r-xp 00001000 fe:01 77                         /tmp/a b\\012c (deleted)\n"
        "7000-8000 r-xp 00000000 00:00 0                            [uprobes-trampoline]\n"
        "nonsense\n"
        "9000-a000 rw-p 00000000 00:00 0 \n"
    )
    first, page, other = parse_mappings(text)
    assert first == FileMapping(CODE, CODE + 0x2000, OFFSET, True, "fe:01", 77, "/tmp/a b\\012c (deleted)")
    assert page == PAGE
    assert (other.path, other.is_code) == ("", False)
    assert [first.has_offset(at) for at in (0xFFF, 0x1000, 0x2FFF, 0x3000)] == [False, True, True, False]


# Processes


@pytest.fixture
def file(tmp_path: Path) -> Iterator[BinaryFile]:
    path = tmp_path / "program"
    path.write_bytes(bytes(0x1000) + OWN)
    with BinaryFile(str(path)) as found:
        yield found


MakeProcess = Callable[..., Path]


@pytest.fixture
def make_process(tmp_path: Path, file: BinaryFile) -> MakeProcess:
    (tmp_path / "proc").mkdir()

    def make(pid: int, *, inode: int | None = None, memory: bytes | None = OWN, path: str = "") -> Path:
        folder = tmp_path / "proc" / str(pid)
        folder.mkdir()
        device, own = file.key[:2]
        place = f"{os.major(device):02x}:{os.minor(device):02x} {own if inode is None else inode}"
        maps = f"{CODE:x}-{CODE + 0x1000:x} r-xp {OFFSET:08x} {place} {path or file.path}\n"
        (folder / "maps").write_text(maps + "7000-8000 r-xp 00000000 00:00 0 [uprobes-trampoline]\n")
        (folder / "comm").write_text("made\n")
        (folder / "status").write_text(f"Tgid:\t{pid}\n")
        if memory is not None:
            with (folder / "mem").open("wb") as file_of_memory:
                file_of_memory.seek(CODE)
                file_of_memory.write(memory)
        return folder

    return make


@pytest.fixture
def proc(tmp_path: Path) -> str:
    return f"{tmp_path}/proc"


def test_processes_and_their_bytes(file: BinaryFile, make_process: MakeProcess, proc: str) -> None:
    make_process(30, memory=b"\xcc" + OWN[1:])
    make_process(4)
    make_process(5, inode=file.key[1] + 1)
    (make_process(6) / "maps").unlink()
    sources = Sources(kcore="")
    found = find_processes(sources, file, None, n_sites=1, proc=proc)
    assert [one.pid for one in found] == [4, 30]
    codes = [read_codes(sources, one, [(OFFSET, OWN), (0x5000, OWN)], proc=proc) for one in found]
    assert [[code.state for code in here] for here in codes[0]] == [["original"], []]
    assert codes[1][0] == [ProcessCode(30, "made", CODE, b"\xcc" + OWN[1:], "breakpoint", None, None)]
    assert sources.missing == []


def test_no_more_processes_than_allowed(file: BinaryFile, make_process: MakeProcess, proc: str) -> None:
    for pid in range(1, MAX_PROCESSES + 2):
        make_process(pid)
    for n_sites, limit in ((1, MAX_PROCESSES), (40_000, 2), (1 << 20, 1)):
        sources = Sources(kcore="")
        assert len(find_processes(sources, file, None, n_sites=n_sites, proc=proc)) == limit
        assert f"only the first {limit} are looked at" in sources.missing[0].why


def test_processes_that_cannot_be_looked_at(
    file: BinaryFile, make_process: MakeProcess, proc: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_process(4)
    make_process(5, memory=None)
    make_process(6, memory=b"")

    def refuse(folder: str, pid: int) -> str:
        raise PermissionError(errno.EACCES, "Permission denied", f"{folder}/{pid}/maps")

    sources = Sources(kcore="")
    for one in find_processes(sources, file, None, n_sites=1, proc=proc)[1:]:
        assert read_codes(sources, one, [(OFFSET, OWN)], proc=proc)[0][0].state == "unreadable"
    assert [item.what for item in sources.missing] == ["functions' bytes in process 5", "functions' bytes in process 6"]
    assert "has ended" in sources.missing[1].why
    monkeypatch.setattr(processes, "_read_maps", refuse)
    assert find_processes(sources, file, None, n_sites=1, proc=proc) == ()
    assert "the mappings of 3 processes can't be read" in sources.missing[-1].why
    with pytest.raises(NotPermittedError, match="no right to look at the mappings of process 4"):
        find_processes(sources, file, 4, n_sites=1, proc=proc)


def test_memory_without_the_right_to_read_it(
    file: BinaryFile, make_process: MakeProcess, proc: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_process(4)
    sources = Sources(kcore="")
    (one,) = find_processes(sources, file, 4, n_sites=1, proc=proc)
    opened = os.open

    def refuse(path: str, *how: Any) -> int:
        if path.endswith("/mem"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return opened(path, *how)

    monkeypatch.setattr(os, "open", refuse)
    assert read_codes(sources, one, [(OFFSET, OWN)], proc=proc)[0][0].state == "unreadable"
    (item,) = sources.missing
    assert item == Missing(
        "functions' bytes in process 4", "no right to read /proc/4/mem", "run as its user, or with CAP_SYS_PTRACE"
    )


def test_a_process_that_is_named(file: BinaryFile, make_process: MakeProcess, proc: str) -> None:
    make_process(4)
    make_process(5, inode=1, path=f"{file.path} (deleted)")
    make_process(6, inode=1, path="/bin/other")
    (make_process(7) / "maps").unlink()
    sources = Sources(kcore="")
    assert [one.pid for one in find_processes(sources, file, 4, n_sites=1 << 20, proc=proc)] == [4]
    for pid, error, words in (
        (5, NoMatchError, "was replaced since then"),
        (6, NoMatchError, "has not mapped"),
        (7, NoMatchError, "has ended"),
        (99, UsageError, "no process has the id 99"),
    ):
        with pytest.raises(error, match=words):
            find_processes(sources, file, pid, n_sites=1, proc=proc)


# Links


def link(link_id: int, path: str, offsets: list[int], **changes: Any) -> ObservedLink:
    targets = tuple(UprobeTarget(path, offset, link_id, 0) for offset in offsets)
    return ObservedLink(link_id, "uprobe_multi", "entry", PROGRAM, len(targets), (), None, (), targets, **changes)


def test_links_on_the_file_by_offset(file: BinaryFile, tmp_path: Path) -> None:
    (tmp_path / "same").symlink_to(file.path)
    sources = Sources(kcore="")
    found = UprobeIndex(
        sources,
        file,
        [
            link(1, file.path, [0x1000, 0x1008, 0x1010]),
            link(2, f"{tmp_path}/same", [0x1000]),
            link(3, "/bin/sh", [0x1000]),
            link(4, "/nowhere/else", [0x1000]),
            link(5, f"{file.path} (deleted)", [0x1000]),
        ],
    )
    assert [(on.link.link_id, on.offset) for on in found.within(0x1000, 0x10)] == [(1, 0), (2, 0), (1, 8)]
    assert [on.offset for on in found.within(0x1008, 0)] == [0]
    assert found.within(0x1011, 100) == ()
    assert [found.next_after(at) for at in (0, 0x1000, 0x1008, 0x1010)] == [0x1000, 0x1008, 0x1010, None]
    assert [item.what for item in sources.missing] == ["whether link 5 is on this file"]


def test_the_text_decides_for_a_deleted_file(file: BinaryFile) -> None:
    os.unlink(file.path)
    sources = Sources(kcore="")
    found = UprobeIndex(sources, file, [link(1, f"{file.path} (deleted)", [1]), link(2, "/other/program", [1])])
    assert [on.link.link_id for on in found.within(0, 10)] == [1]
    assert ["taken for this file" in item.why for item in sources.missing] == [True, False]


class UprobeKernel(FakeKernel):
    """Links on files: `told` has for each link its path, flags, process, offsets, cookies and semaphores."""

    def __init__(self, told: dict[int, tuple[str, int, int, list[int], list[int], list[int]]]) -> None:
        super().__init__({n: head(LinkType.UPROBE_MULTI, n, b"") for n in told})
        self.told = told

    def _info(self, fd: int, into: int) -> int:
        kind, number = self._opened[fd]
        if kind == "program":
            return super()._info(fd, into)
        path, flags, pid, *columns = self.told[number]
        at = struct.unpack("<QQQQII", ctypes.string_at(into + 16, 40))
        if at[0]:
            ctypes.memmove(at[0], path.encode() + b"\0", min(len(path) + 1, at[4]))
        for where, column in zip((at[1], at[3], at[2]), columns, strict=True):
            if where:
                ctypes.memmove(where, struct.pack(f"<{len(column)}Q", *column), 8 * len(column))
        told = struct.pack("<4Q4I", *at[:4], len(path) + 1, len(columns[0]), flags, pid)
        ctypes.memmove(into, self.links[number][:16] + told, 16 + len(told))
        return 0


class WithSessions(FakeLayouts):
    def offset(self, structure: str, path: str) -> int | None:
        return 0 if structure == "bpf_uprobe" else super().offset(structure, path)


class FakeUprobes:
    def is_uprobe_session(self, link_id: int) -> bool:
        return link_id == 2


def test_uprobe_multi_links() -> None:
    kernel = UprobeKernel(
        {
            1: ("/bin/a", 1, 0, [16, 32], [5, 6], [0, 64]),
            2: ("/bin/b", 0, 7, [16], [0], [0]),
            3: ("/bin/c", 0, 0, [], [], []),
        }
    )
    with raw.using(kernel):
        first, second, third = list_links(FakeSources("uprobe_multi.path", objects=FakeUprobes()))
    assert (first.kind, first.when, first.n_functions, first.pid) == ("uprobe_multi", "return", 2, 0)
    assert first.uprobes == (UprobeTarget("/bin/a", 16, 5, 0), UprobeTarget("/bin/a", 32, 6, 64))
    assert first.has_cookies
    assert (second.when, second.pid, second.has_cookies) == ("entry", 7, False)
    assert (third.n_functions, third.uprobes) == (0, ())


def test_sides_are_read_from_kernel_memory() -> None:
    told = ("/bin/a", 0, 0, [16], [0], [0])
    for objects, sides in ((FakeUprobes(), ["entry", "session"]), (None, ["", ""])):
        sources = FakeSources("uprobe_multi.path", objects=objects)
        sources.__dict__["layouts"] = WithSessions("uprobe_multi.path")
        with raw.using(UprobeKernel({1: told, 2: told})):
            assert [one.when for one in list_links(sources)] == sides
        assert any("a session" in item.what for item in sources.missing) == (objects is None)


def test_what_the_kernel_does_not_tell_of_uprobes() -> None:
    sources = FakeSources()
    with raw.using(UprobeKernel({1: ("/bin/a", 0, 0, [16], [5], [0])})):
        (old,) = list_links(sources)
    assert (old.kind, old.when, old.n_functions, old.uprobes) == ("uprobe_multi", "", None, ())
    assert "Linux 6.8" in sources.missing[0].why


# Shown


def picture(*attached: UserAttached, codes: tuple[ProcessCode, ...] = ()) -> UserFunctionPicture:
    function = UserFunction(
        "area", ("extent",), "/bin/program", 0x401000, OFFSET, 16, 0, ".symtab", ATTACHABLE, "_Z4areav"
    )
    return UserFunctionPicture(function, "c0ffee", OWN, (), attached, codes, (), {})


SHOWN = picture(
    UserAttached(link(1, "/bin/program", [OFFSET]), UprobeTarget("/bin/program", OFFSET, 9, 0), 0),
    UserAttached(
        link(2, "/bin/program", [OFFSET], pid=8), UprobeTarget("/bin/program", OFFSET + 4, None, None), 4
    ),
    codes=(
        ProcessCode(7, "first", CODE, b"\xcc", "breakpoint", None, None),
        ProcessCode(8, "second", CODE, call_to(0x7010, CODE), "call", 0x7010, (0x7000, 0x8000)),
        ProcessCode(9, "", CODE, b"", "unreadable", None, None),
    ),
)  # fmt: skip


def test_a_function_in_full() -> None:
    lines = ["".join(text for text, _ in line).rstrip() for line in user_lines(SHOWN)]
    assert lines == [
        "area  at 0x401000 in /bin/program",
        "",
        "symbol     _Z4areav",
        "offset     0x1000 in the file, 16 bytes; named by .symtab",
        "build id   c0ffee",
        "aliases    extent",
        "verdict    attachable",
        "",
        f"  401000  {OWN.hex(' ')}",
        "",
        "attached   2",
        "  LINK  KIND          WHEN   PROGRAM               AT    COOKIE  SEMAPHORE  PID  MISSED  RECURSION  OWNER",
        "     1  uprobe_multi  entry  counting 41:59f4a931  -     9       -            -       -          0  none seen "
        "(pinned?)",
        "     2  uprobe_multi  entry  counting 41:59f4a931  +0x4  ?       ?            8       -          0  none seen "
        "(pinned?)",
        "",
        "processes  3",
        "  PID  COMMAND  ADDRESS  STATE       BYTES           MEANING",
        "    7  first    0x10000  breakpoint  cc              a uprobe's breakpoint",
        "    8  second   0x10000  call        e8 0b 70 ff ff  calls 0x7010, in [uprobes-trampoline] 0x7000-0x8000",
        "    9  -        0x10000  unreadable  -               not readable",
    ]
    bare = picture(codes=(SHOWN.processes[0],))
    text = "\n".join("".join(text for text, _ in line) for line in user_lines(bare))
    assert "attached   nothing" in text
    assert "a uprobe's breakpoint, of none of these links" in text
    assert "none that could be seen" in "\n".join("".join(text for text, _ in line) for line in user_lines(picture()))


def test_several_functions() -> None:
    grid = user_grid([SHOWN, picture()])
    assert grid.rows == (
        ("area", "0x1000", "attachable", "1 entry counting, 2 entry counting",
         "breakpoint in 1, call in 1, unreadable in 1"),
        ("area", "0x1000", "attachable", "-", "-"),
    )  # fmt: skip


def test_records() -> None:
    function, first, second, *codes = user_records([SHOWN])
    assert (function["type"], function["symbol"], function["bytes"]) == ("user_function", "_Z4areav", OWN.hex())
    assert (first["link"], first["cookie"], first["semaphore"], first["offset"]) == (1, "0x9", "", 0)
    assert (second["cookie"], second["semaphore"], second["offset"]) == (None, None, 4)
    assert [code["state"] for code in codes] == ["breakpoint", "call", "unreadable"]
    assert (codes[1]["target"], codes[1]["trampoline"]) == ("0x7010", ["0x7000", "0x8000"])
