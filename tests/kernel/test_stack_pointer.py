"""`ctx.stack_pointer` and `ctx.kernel_entry`: the same by every mechanism, and what they say of calls."""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack

import pytest

import multiprobe as mp

MECHANISMS = ("kprobe_multi", "tracing_multi", "trampoline", "kprobe")
#: With one argument, two, three, four and more; each calls the next one in a read of a file, or the last two.
NAMES = ["__x64_sys_read", "ksys_read", "vfs_read", "__x64_sys_sendto", "__sys_sendto"]
LOW = 0xFFFF_FFF8

pointers = mp.Array(mp.u64, 5)
entries = mp.Array(mp.u64, 5)


@mp.program
def note(ctx):
    pointers[ctx.function] = ctx.stack_pointer
    entries[ctx.function] = ctx.kernel_entry


@mp.program(when="session")
def note_entry(ctx):
    if ctx.is_return:
        pointers[ctx.function] += ctx.stack_pointer
        return
    pointers[ctx.function] = ctx.stack_pointer
    entries[ctx.function] = ctx.kernel_entry


@pytest.mark.parametrize("when", ["entry", "session"])
def test_all_mechanisms_see_the_same_call(when: str) -> None:
    kernel = mp.Kernel()
    program = note if when == "entry" else note_entry
    kinds = [one for one in MECHANISMS if kernel.has(one)]
    descriptor = os.open("/proc/self/stat", os.O_RDONLY)
    one, other = socket.socketpair()
    with one, other, ExitStack() as stack:
        attached = {
            kind: stack.enter_context(mp.attach(program, NAMES, mechanisms=kind, pid=os.getpid(), kernel=kernel))
            for kind in kinds
        }
        one.send(b"x")
        os.read(descriptor, 100)
        for each in reversed(attached.values()):
            each.pause()
        found = {kind: list(each.totals(pointers)) for kind, each in attached.items()}
        digests = {kind: list(each.totals(entries)) for kind, each in attached.items()}
    os.close(descriptor)
    assert len(found) >= 2
    first = [number & LOW for number in found["kprobe"]]
    for kind, numbers in found.items():
        below = {mine - (number & LOW) for mine, number in zip(first, numbers, strict=True)}
        assert below == {0} if "kprobe" in kind else below <= {0, 8}, (kind, found)
        assert {number & 1 for number in numbers} == {1 if "kprobe" in kind else 0}, (kind, found)
    assert first[0] >= first[1] > first[2], "inner calls are lower; the first two may be a tail call"
    for numbers in digests.values():
        assert numbers == digests["kprobe"]
        assert len(set(numbers[:3])) == 1, "one system call"
        assert len(set(numbers[3:])) == 1
        assert numbers[0] != numbers[3], "two system calls"
        assert all(0 < number < 1 << 32 for number in numbers)
