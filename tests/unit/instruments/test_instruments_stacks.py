from __future__ import annotations

import errno
import sys
from pathlib import Path
from typing import Any

from multiprobe.binaries.binary import Binary
from multiprobe.instruments.stacks.instrument import (
    Frames,
    Namer,
    Stack,
    cookies_of,
    named,
    not_taken,
    without_callers,
)
from multiprobe.instruments.stacks.program import NO_STACK, NOT_ASKED, OF_PROGRAM
from multiprobe.instruments.stacks.user_symbols import UserFrame, UserResolver
from multiprobe.kernel.resolve import Resolver
from multiprobe.kernel.symbols import parse_kallsyms

sys.path[:0] = [str(Path(__file__).parents[1] / "binaries")]

from elf_writer import Made, make_elf  # noqa: E402

KALLSYMS = (
    b"ffffffff81000000 T entry_SYSCALL_64\n"
    b"ffffffff81001000 T do_syscall_64\n"
    b"ffffffff81002000 T ksys_read\n"
    b"ffffffff81003000 T vfs_read\n"
    b"ffffffff81004000 T rw_verify_area\n"
    b"ffffffffc0001000 t ovl_read\t[overlay]\n"
    b"ffffffffc0002000 t bpf_prog_6deef7357e7b4530_count\t[bpf]\n"
    b"ffffffffc0003000 t bpf_trampoline_6442\t[bpf]\n"
)
ENTRY, SYSCALL, KSYS, VFS, OVERLAY = (
    address + 0x40
    for address in (0xFFFFFFFF81000000, 0xFFFFFFFF81001000, 0xFFFFFFFF81002000, 0xFFFFFFFF81003000, 0xFFFFFFFFC0001000)
)
PROGRAM, TRAMPOLINE = 0xFFFFFFFFC0002010, 0xFFFFFFFFC0003010
FAILED = (1 << 64) - errno.EFAULT


def namer(stacks: dict[int, list[int]]) -> Namer:
    functions: Any = ["vfs_read", "ovl_read [overlay]"]
    return Namer(Resolver(parse_kallsyms(KALLSYMS)), UserResolver(), functions, stacks.__getitem__)


def test_a_stack_of_a_kprobe_begins_with_the_function_itself() -> None:
    stack = [0xFFFFFFFF81003000, KSYS, SYSCALL, ENTRY]
    assert namer({1: stack}).frames(0, 1, NOT_ASKED, 0).labels == (
        "entry_SYSCALL_64",
        "do_syscall_64",
        "ksys_read",
        "vfs_read",
    )


def test_frames_of_the_probe_are_left_out() -> None:
    stack = [PROGRAM, TRAMPOLINE, OVERLAY, VFS, KSYS, SYSCALL, ENTRY]
    expected = ("entry_SYSCALL_64", "do_syscall_64", "ksys_read", "vfs_read", "ovl_read [overlay]")
    assert namer({1: stack}).frames(1, 1, NOT_ASKED, 0).labels == expected
    assert namer({1: [PROGRAM, TRAMPOLINE, *stack[3:]]}).frames(1, 1, NOT_ASKED, 0).labels == expected


def test_recursion_is_kept() -> None:
    stack = [0xFFFFFFFF81003000, OVERLAY, VFS, KSYS]
    frames = namer({1: stack}).frames(0, 1, NOT_ASKED, 0)
    assert frames.labels == ("ksys_read", "vfs_read", "ovl_read [overlay]", "vfs_read")


def test_the_process_stands_around_the_kernel() -> None:
    stacks = {1: [0xFFFFFFFF81003000, KSYS], 2: [0x1000, 0x2000]}
    assert namer(stacks).frames(0, 1, 2, 77).labels == ("0x2000", "0x1000", "ksys_read", "vfs_read")


def test_a_function_of_a_program_stands_on_the_stack_of_its_process(tmp_path: Path) -> None:
    (tmp_path / "program").write_bytes(make_elf([Made("outer", 0), Made("inner", 1)]))
    chosen = Binary(tmp_path / "program").functions("inner")
    at = 0x5555_0000_0000 + chosen.file_offsets()[0]
    stacks = {3: [at, at - 10, 0x7FFF_0000_1000]}
    found = Namer(Resolver(parse_kallsyms(KALLSYMS)), UserResolver(), chosen, stacks.__getitem__)
    assert found.frames(0, NOT_ASKED, 3, 77).labels == ("0x7fff00001000", "outer (program)", "inner")
    assert found.frames(0, NOT_ASKED, FAILED, 77).labels == ("inner",)
    assert cookies_of(chosen) == [OF_PROGRAM]
    assert not_taken({(0, NOT_ASKED, FAILED, 77): 2, (0, NOT_ASKED, 3, 77): 1}) == {"EFAULT": 2}


def test_what_could_not_be_taken_has_the_function_alone() -> None:
    for kernel in (FAILED, NO_STACK):
        assert namer({}).frames(0, kernel, NOT_ASKED, 0).labels == ("vfs_read",)


def test_what_could_not_be_taken_is_counted_by_reason() -> None:
    hits = {(0, 1, NOT_ASKED, 0): 5, (0, FAILED, NOT_ASKED, 0): 3, (1, FAILED, NOT_ASKED, 0): 1, (0, NO_STACK, 9, 1): 2}
    assert not_taken(hits) == {"EFAULT": 4, "unknown": 2}


def test_calls_without_callers_are_told() -> None:
    n_frames = {7: 1, 8: 3}.__getitem__
    hits = {
        (0, NOT_ASKED, 7, 1): 1000,
        (0, NOT_ASKED, 8, 1): 10,
        (0, 7, NOT_ASKED, 1): 5,
        (0, NOT_ASKED, FAILED, 1): 99,
    }
    (note,) = without_callers(hits, n_frames)
    assert note.startswith("no caller is on the stack of 1,000 calls of functions of programs")
    assert without_callers({(0, NOT_ASKED, 7, 1): 10, (0, NOT_ASKED, 8, 1): 10}, n_frames) == []
    assert without_callers({}, n_frames) == []


def test_stacks_that_read_the_same_are_one() -> None:
    one, same, other = ([0xFFFFFFFF81003000, KSYS + offset, SYSCALL] for offset in (0, 4, -0x1000))
    hits = {(0, 1, NOT_ASKED, 0): 1, (0, 2, NOT_ASKED, 0): 3, (0, 3, NOT_ASKED, 0): 2}
    total = {(0, 1, NOT_ASKED, 0): 10, (0, 2, NOT_ASKED, 0): 5}
    assert named(namer({1: one, 2: same, 3: other}), hits, total) == [
        Stack(0, ("do_syscall_64", "ksys_read", "vfs_read"), 4, 15),
        Stack(0, ("do_syscall_64", "do_syscall_64", "vfs_read"), 2, 0),
    ]


class PlacedNamer:
    """Stacks whose frames have places."""

    def __init__(self, *stacks: tuple[UserFrame, ...]) -> None:
        self._stacks = stacks

    def frames(self, _function: int, stack: int, _user: int, _pid: int) -> Frames:
        return Frames.of(self._stacks[stack])


def test_places_of_stacks_that_read_the_same_are_joined() -> None:
    many = [(UserFrame("main", f"/src/a.c:{n}"), UserFrame("leaf", "")) for n in range(10, 30)]
    bare = (UserFrame("main", ""), UserFrame("leaf", ""))
    other = (UserFrame("start", ""), UserFrame("leaf", ""))
    found: Any = PlacedNamer(*many[:2], bare, other)
    one, two = named(found, {(0, n, 0, 0): 1 for n in range(4)}, {})
    assert one == Stack(0, ("main", "leaf"), 3, 0, ("/src/a.c:10, /src/a.c:11", ""))
    assert two == Stack(0, ("start", "leaf"), 1, 0)
    found = PlacedNamer(*many)
    (stack,) = named(found, {(0, n, 0, 0): 1 for n in range(20)}, {})
    assert stack.places[0].endswith("/src/a.c:17, … 12 more")


class NamedByAddress(UserResolver):
    """Frames that show by which address they are named."""

    def frames(self, pid: int, address: int, inside: int) -> tuple[UserFrame, ...]:
        return UserFrame(f"{pid}: {address:#x}", ""), UserFrame(f"{inside:#x}", "/src/a.c:1")


def test_a_frame_is_named_by_its_call_which_ends_where_it_returns_to() -> None:
    functions: Any = ["vfs_read"]
    stacks = {1: [0xFFFFFFFF81003000, KSYS], 2: [0x5000, 0x6000, 0x7000]}
    found = Namer(Resolver(parse_kallsyms(KALLSYMS)), NamedByAddress(), functions, stacks.__getitem__)
    frames = found.frames(0, 1, 2, 7)
    assert frames.labels == (
        *("7: 0x7000", "0x6fff", "7: 0x6000", "0x5fff", "7: 0x5000", "0x5000"),
        *("ksys_read", "vfs_read"),
    )
    assert frames.places[-3:] == ("/src/a.c:1", "", "")
    hits = {(0, 1, 2, 7): 1, (0, 1, NOT_ASKED, 0): 1, (0, FAILED, NO_STACK, 7): 1}
    assert list(found.user_addresses(hits)) == [(7, 0x5000), (7, 0x5FFF), (7, 0x6FFF)]
