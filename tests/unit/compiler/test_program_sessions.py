"""Sessions of two programs, run on the test machine: what an entry leaves, its own return finds, and no other."""

from __future__ import annotations

import random

import pytest
from runner import SESSIONS_FD, Bench

import multiprobe as mp
from multiprobe.compiler.compiling import compile_program
from multiprobe.compiler.shape import Shape
from multiprobe.errors import UsageError
from multiprobe.maps.layout import SESSION_BITS, SESSION_SIZE, SESSIONS_SIZE

ADDRESSES = (0xFFFFFFFF81000010, 0xFFFFFFFF81000040, 0xFFFFFFFF8100FFF0)
STACK = 0xFFFFC90000010000

entries = mp.PerFunction(mp.u64)
returns = mp.PerFunction(mp.u64)
right = mp.PerFunction(mp.u64)
zeros = mp.PerFunction(mp.u64)


@mp.program(when="session")
def pair(ctx):
    if ctx.is_return:
        returns[ctx.function] += 1
        if ctx.session == ctx.ret:
            right[ctx.function] += 1
    else:
        if not ctx.session and not ctx.ret:
            zeros[ctx.function] += 1
        ctx.session = ctx.arg(0)
        entries[ctx.function] += 1


@mp.program(when="session")
def choosy(ctx):
    """Only calls with an argument above 10 have a return side."""
    if ctx.is_return:
        returns[ctx.function] += 1
        if ctx.session == ctx.ret:
            right[ctx.function] += 1
        return True
    entries[ctx.function] += 1
    ctx.session = ctx.arg(0)
    return ctx.arg(0) <= 10


class Pair:
    """Both programs of one session, on one machine; the test says what each call is given, and has it returned."""

    def __init__(self, context: str, program: mp.Program = pair) -> None:
        self.context = context
        self.program = program
        self.entry = self._bench("entry")
        self.leave = self._bench("return", machine=self.entry.machine)

    def _bench(self, side: str, **options: object) -> Bench:
        shape = Shape(function_from="cookie", session_side=side)
        return Bench(self.program, self.context, "session", shape=shape, addresses=ADDRESSES, **options)  # type: ignore[arg-type]

    def enter(self, frame: int, index: int, number: int) -> None:
        self._hit(self.entry, frame, index, [number])

    def exit(self, frame: int, index: int, number: int) -> None:
        self._hit(self.leave, frame + 8 if self.context == "kprobe" else frame, index, [], ret=number)

    def _hit(self, bench: Bench, frame: int, index: int, arguments: list[int], ret: int = 0) -> None:
        facts = {"ip": ADDRESSES[index], "cookie": index, "ret": ret}
        if self.context == "kprobe":
            image = bytearray(168)
            for offset, number in ((152, frame), (80, ret), (112, arguments[0] if arguments else 0)):
                image[offset : offset + 8] = number.to_bytes(8, "little")
            bench.hit(context=bytes(image), **facts)
        else:
            bench.hit(*arguments, context=bytes(96), at=frame, **facts)

    def counts(self, name: str) -> list[int]:
        return self.entry.per_function(name)[0][1:]

    def free_records(self) -> int:
        memory, _ = self.entry.machine.find(self.entry.machine.arrays[SESSIONS_FD], SESSIONS_SIZE)
        return sum(not any(memory[at : at + 8]) for at in range(0, SESSIONS_SIZE, SESSION_SIZE))


@pytest.fixture(params=["tracing", "kprobe"])
def calls(request: pytest.FixtureRequest) -> Pair:
    return Pair(request.param)


def test_calls_nest(calls: Pair) -> None:
    """Recursion of one function, another one inside it, all in one task."""
    for depth in range(50):
        calls.enter(STACK - 256 * depth, depth % 2, depth)
    for depth in reversed(range(50)):
        calls.exit(STACK - 256 * depth, depth % 2, depth)
    assert calls.counts("right") == calls.counts("returns") == calls.counts("entries") == [25, 25, 0]
    assert calls.counts("zeros") == [25, 25, 0]
    assert calls.entry.losses() == {}
    assert calls.free_records() == 1 << SESSION_BITS


def test_calls_of_many_stacks_interleave(calls: Pair) -> None:
    generator = random.Random(20261125)
    stacks: list[list[tuple[int, int]]] = [[] for _ in range(300)]
    n = 0
    for _ in range(3000):
        place = generator.randrange(len(stacks))
        stack = stacks[place]
        if stack and generator.random() < 0.5:
            index, number = stack.pop()
            calls.exit(STACK + (place << 14) - 128 * len(stack), index, number)
        else:
            n += 1
            index = generator.randrange(3)
            calls.enter(STACK + (place << 14) - 128 * len(stack), index, n)
            stack.append((index, n))
    assert sum(calls.counts("entries")) == n
    assert calls.counts("right") == calls.counts("returns")
    assert sum(calls.counts("returns")) == n - sum(map(len, stacks))
    assert calls.entry.losses() == {}


def test_a_return_without_its_entry_is_left_alone_and_counted(calls: Pair) -> None:
    calls.exit(STACK, 0, 0)
    assert calls.counts("returns") == [0, 0, 0]
    assert calls.entry.losses() == {"unpaired_returns": 1}


def test_a_call_that_never_returned_does_not_poison_the_next_in_its_frame(calls: Pair) -> None:
    calls.enter(STACK, 0, 1)
    calls.enter(STACK, 0, 2)
    calls.exit(STACK, 0, 2)
    calls.exit(STACK, 0, 2)
    assert calls.counts("right") == calls.counts("returns") == [1, 0, 0]
    assert calls.counts("zeros") == [2, 0, 0]
    assert calls.entry.losses() == {"unpaired_entries": 1, "unpaired_returns": 1}


def test_a_table_full_of_calls_that_never_returned_still_serves(calls: Pair) -> None:
    memory, _ = calls.entry.machine.find(calls.entry.machine.arrays[SESSIONS_FD], SESSIONS_SIZE)
    for at in range(0, SESSIONS_SIZE, SESSION_SIZE):
        memory[at : at + 8] = (0xDEAD0001 + at).to_bytes(8, "little")
    for n in range(100):
        calls.enter(STACK + 8 * n, n % 3, n + 1)
        calls.exit(STACK + 8 * n, n % 3, n + 1)
    assert calls.counts("right") == [34, 33, 33]
    assert "unpaired_returns" not in calls.entry.losses()


@pytest.mark.parametrize("context", ["tracing", "kprobe"])
def test_an_entry_skips_its_return(context: str) -> None:
    calls = Pair(context, choosy)
    for n in (3, 11, 10, 12):
        calls.enter(STACK, 0, n)
        calls.exit(STACK, 0, n)
    assert calls.counts("entries") == [4, 0, 0]
    assert calls.counts("returns") == calls.counts("right") == [2, 0, 0]
    assert calls.entry.losses() == {}, "a skipped return is none without its entry"
    assert calls.free_records() == 1 << SESSION_BITS


def test_functions_that_share_a_frame() -> None:
    """One ends by jumping to the other: with kprobes both return from one place."""
    calls = Pair("kprobe")
    calls.enter(STACK, 0, 11)
    calls.enter(STACK, 1, 22)
    calls.exit(STACK, 1, 22)
    calls.exit(STACK, 0, 11)
    assert calls.counts("right") == [1, 1, 0]
    assert calls.entry.losses() == {}


def test_only_where_two_programs_make_a_session() -> None:
    for context, when in (("kprobe_multi", "session"), ("kprobe", "entry")):
        with pytest.raises(UsageError, match="two programs"):
            compile_program(pair, context=context, when=when, shape=Shape(session_side="entry"))
