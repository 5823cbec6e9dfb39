"""Events, histograms, stacks and strings in programs, on the test machine."""

from __future__ import annotations

import random

import pytest
from runner import Bench

import multiprobe as mp
from multiprobe.compiler.frontend.statements import build
from multiprobe.compiler.shape import Shape
from multiprobe.errors import CompileError
from multiprobe.maps.buckets import Linear, Log2
from multiprobe.maps.events import HEADER_SIZE


class Open(mp.Event):
    pid: mp.u32
    is_good: mp.bool_
    size: mp.i16
    name: mp.string(12)
    comm: mp.string(16)
    args: mp.array_of(mp.u64, 3)
    tail: mp.u8


class Large(mp.Event):
    name: mp.string(300)
    comm: mp.string(32)
    fixed: mp.string(7)


class Small(mp.Event):
    number: mp.u64


opens = mp.RingBuffer(Open)
larges = mp.RingBuffer(Large)
smalls = mp.RingBuffer(Small, size=4096)
results = mp.Array(mp.i64, 8)


def decode(bench: Bench, name: str) -> list[mp.Event]:
    spec = bench.program.maps[name]
    record = spec.record
    return list(
        record.decoder(lambda values: spec.event(*values))(
            record.form().iter_unpack(b"".join(bench.ring(name).records))
        )
    )


@mp.program
def send_opens(ctx):
    opens.send(
        pid=ctx.pid,
        size=ctx.arg(1),
        is_good=ctx.arg(1) != 5,
        comm=ctx.comm,
        name=mp.kernel_string(ctx.arg(0)),
        args=(ctx.arg(1), ctx.arg(2)),
        tail=300,
    )


@pytest.mark.parametrize("context", ["raw_tracepoint", "tracing"])
def test_a_record_has_what_was_sent(context: str) -> None:
    bench = Bench(send_opens, context=context, shape=Shape(function_from="cookie" if context == "tracing" else "ip"))
    long, short = bench.machine.put(b"a name that is too long\0"), bench.machine.put(b"eth0\0garbage")
    bench.hit(long, -3, 7).hit(short, 5, 8).hit(0xDEAD, 6, 9)
    found = decode(bench, "opens")
    assert [event.name for event in found] == ["a name that", "eth0", ""]
    assert [event.args for event in found] == [((1 << 64) - 3, 7, 0), (5, 8, 0), (6, 9, 0)]
    assert [event[:3] for event in found] == [(77, True, -3), (77, False, 5), (77, True, 6)]
    assert {(event.comm, event.tail) for event in found} == {("bash", 44)}
    assert bench.losses() == {"failed_reads": 1}
    assert bench.ring("opens").waiting == {}


def test_records_have_no_garbage() -> None:
    """What a record held before never shows: unused parts of strings, padding and missing items are zero."""
    bench = Bench(send_opens).hit(0xDEAD, 1, 2)
    bench.machine.comm = b"x"
    bench.hit(bench.machine.put(b"y\0"), 1, 2)
    for raw in bench.ring("opens").records:
        assert 0xAA not in raw
        assert len(raw) == opens.record.size == 72


@mp.program
def send_larges(ctx):
    larges.send(name=mp.user_string(ctx.arg(0)), comm=ctx.comm, fixed="constant")


def test_long_strings_and_constants() -> None:
    bench = Bench(send_larges)
    bench.machine.user[0x1000] = b"/usr/lib/" + b"x" * 400
    bench.machine.user[0x2000] = b"/etc\0..."
    bench.hit(0x1000).hit(0x2000).hit(0x3000)
    names = ["/usr/lib/" + "x" * 290, "/etc", ""]
    assert decode(bench, "larges") == [(name, "bash", "consta") for name in names]
    assert bench.losses() == {"failed_reads": 1}
    assert all(0xAA not in raw for raw in bench.ring("larges").records)


@mp.program
def send_smalls(ctx):
    if smalls.send(number=ctx.arg(0)):
        results[0] += 1
    else:
        results[1] += 1


def test_what_finds_no_room_is_counted() -> None:
    bench = Bench(send_smalls)
    for number in range(300):
        bench.hit(number)
    room = 4095 // (8 + HEADER_SIZE)
    assert decode(bench, "smalls") == [(number,) for number in range(room)]
    assert bench.lost("smalls")[0] == 300 - room
    assert bench.array("results")[:2] == [room, 300 - room]


def test_the_reader_is_woken_once_a_quarter_is_full() -> None:
    bench = Bench(send_smalls)
    for number in range(255):
        bench.hit(number)
    quarter = 4096 // 4 // 16
    assert bench.ring("smalls").flags == [1] * (quarter - 1) + [2] * (255 - quarter + 1)


class Memory(mp.Event):
    first: mp.u8
    raw: mp.bytes_(6)


memories = mp.RingBuffer(Memory)
recent = mp.LruHash(mp.u32, mp.u64, 8)


@mp.program
def send_memory(ctx):
    memories.send(first=1, raw=mp.kernel_bytes(ctx.arg(0)))
    recent[ctx.arg(1)] += 2


def test_memory_as_it_is() -> None:
    bench = Bench(send_memory)
    bench.hit(bench.machine.put(b"a\0b\0\xff\0after"), 5).hit(0xDEAD, 5)
    assert decode(bench, "memories") == [(1, b"a\0b\0\xff\0"), (1, bytes(6))]
    assert bench.losses() == {"failed_reads": 1}
    assert bench.table("recent") == {(5).to_bytes(4, "little"): 4}


# Strings

NAME = "eth0"
by_name = mp.Hash((mp.u32, mp.string(16)), mp.u64)
by_comm = mp.Hash(mp.string(16), mp.u16)


@mp.program
def compare(ctx):
    results[0] = ctx.comm == "bash"
    results[1] = ctx.comm != "bash"
    results[2] = mp.kernel_string(ctx.arg(0)) == NAME
    results[3] = "" == mp.kernel_string(ctx.arg(0))  # noqa: SIM300
    results[4] = ctx.comm == "a name of 16 bytes and more"
    results[5] = mp.user_string(ctx.arg(0)) != "/usr/lib/python3" and NAME == "eth0"
    results[6] = "eth1" == NAME  # noqa: SIM300
    if ctx.comm == "init" and mp.kernel_string(ctx.arg(0)) == "eth0":
        results[7] = 1


@pytest.mark.parametrize(
    ("comm", "name", "expected"),
    [
        (b"bash", b"eth0", [1, 0, 1, 0, 0, 1, 0, 0]),
        (b"bas", b"eth", [0, 1, 0, 0, 0, 1, 0, 0]),
        (b"bash2", b"eth01", [0, 1, 0, 0, 0, 1, 0, 0]),
        (b"init", b"eth0", [0, 1, 1, 0, 0, 1, 0, 1]),
        (b"", b"", [0, 1, 0, 1, 0, 1, 0, 0]),
        (b"init", b"eth0 and much more than that", [0, 1, 0, 0, 0, 1, 0, 0]),
    ],
)
def test_strings_are_compared_whole(comm: bytes, name: bytes, expected: list[int]) -> None:
    bench = Bench(compare)
    bench.machine.comm = comm
    address = bench.machine.put(name + b"\0behind")
    bench.machine.user[address] = b"/usr/lib/python3.13"
    bench.hit(address)
    assert bench.array("results") == expected
    bench.machine.user[address] = b"/usr/lib/python3"
    bench.hit(address)
    assert bench.array("results")[5] == 0


@mp.program
def compare_counted(ctx):
    results[0] = mp.user_string(ctx.arg(0), ctx.arg(1)) == "hello"
    results[1] = mp.user_string(ctx.arg(0), mp.i32(ctx.arg(1))) != "hello"
    results[2] = mp.user_string(ctx.arg(0), 4) == "hell"
    results[3] = mp.kernel_string(ctx.arg(2), ctx.arg(1)) == "hello to y"
    results[4] = mp.user_string(ctx.arg(0), ctx.arg(1)) == ""


HUGE = (1 << 64) - 1


@pytest.mark.parametrize(
    ("user", "n", "equal", "is_lost"),
    [
        (b"hello", 5, True, False),  # no byte after the fifth can be read
        (b"hello\0", 6, True, False),
        (b"hello-not-terminated", 5, True, False),
        (b"hello-not-terminated", 6, False, False),
        (b"hello-not-terminated", 4, False, False),
        (b"hello\0after", 11, True, False),
        (b"hell\0o", 6, False, False),
        (b"hello\0", HUGE, True, False),
        (b"hello", 6, False, True),
        (b"", 5, False, True),
    ],
)
def test_a_string_with_a_size_has_no_more_bytes(user: bytes, n: int, equal: bool, is_lost: bool) -> None:
    bench = Bench(compare_counted)
    address = bench.machine.put(b"hello to you")
    bench.machine.user[0x1000] = user
    bench.hit(0x1000, n, address)
    found = bench.array("results")[:5]
    negative = n == HUGE
    assert found[:2] == [equal, negative or not equal]
    assert found[2] == (user[:4] == b"hell")
    assert found[3] == 0
    bench.hit(0x1000, 10, address)
    assert bench.array("results")[3] == 1
    assert ("failed_reads" in bench.losses()) == (is_lost or len(user) < 6)


@mp.program(sleepable=True)
def read_sleeping(ctx):
    results[0] = mp.user_string(ctx.arg(0)) == "hello"
    results[1] = mp.user_string(ctx.arg(0), ctx.arg(1)) == "hello"
    by_comm[mp.user_string(ctx.arg(0))] += 1
    larges.send(name=mp.user_string(ctx.arg(0)), comm=ctx.comm, fixed=mp.user_string(ctx.arg(0), ctx.arg(1)))


@pytest.mark.parametrize("address", [0x5000, 0x5FFD, 0x5FFB], ids=["page", "two pages", "to its end"])
@pytest.mark.parametrize("is_sleepable", [False, True])
def test_a_sleepable_program_waits_for_pages(address: int, is_sleepable: bool) -> None:
    bench = Bench(
        read_sleeping, "tracing", shape=Shape(function_from="cookie", is_sleepable=is_sleepable), addresses=(1,)
    )
    bench.machine.user[address] = b"hello"
    for key in ("both", "again"):
        bench.machine.swapped = {address >> 12, address + 4 >> 12}
        bench.hit(address, 5, cookie=0, context=b"")
        assert bench.array("results")[:2] == [is_sleepable, is_sleepable], key
    events = decode(bench, "larges")
    assert {(event.name, event.fixed) for event in events} == {("hello", "hello") if is_sleepable else ("", "")}
    assert ("failed_reads" in bench.losses()) == (not is_sleepable)


def test_nothing_is_an_empty_string() -> None:
    bench = Bench(compare_counted)
    bench.machine.user[0x1000] = b"\0"
    for n, expected in ((0, 1), (1, 1), (5, 1)):
        bench.hit(0x1000, n, bench.machine.put(b"text"))
        assert bench.array("results")[4] == expected
    bench.machine.user[0x1000] = b"a"
    bench.hit(0x1000, 1, 0)
    assert bench.array("results")[4] == 0


@mp.program
def send_counted(ctx):
    larges.send(
        name=mp.kernel_string(ctx.arg(0), ctx.arg(1)), comm=ctx.comm, fixed=mp.user_string(ctx.arg(2), ctx.arg(1))
    )


@pytest.mark.parametrize(
    ("n", "name", "fixed"),
    [(3, "eth", "usr"), (4, "eth0", "usr/"), (5, "eth0", "usr/l"), (0, "", ""), (64, "", "usr/li")],
)
def test_an_event_has_no_more_bytes_of_a_string_with_a_size(n: int, name: str, fixed: str) -> None:
    bench = Bench(send_counted)
    address = bench.machine.put(b"eth0\0x")
    bench.machine.user[0x1000] = b"usr/lib"
    bench.hit(address, n, 0x1000)
    (found,) = decode(bench, "larges")
    assert (found.name, found.fixed) == (name, fixed)


@mp.program
def count_names(ctx):
    by_name[ctx.cpu, mp.kernel_string(ctx.arg(0))] += 1
    by_comm[ctx.comm] += ctx.arg(1)
    if (1, "eth0") in by_name:
        results[0] += 1
    if ctx.arg(1) == 3:
        del by_comm["bash"]


def test_strings_are_keys() -> None:
    bench = Bench(count_names, n_cpus=2)
    eth, other = bench.machine.put(b"eth0\0behind"), bench.machine.put(b"a very long name indeed\0")
    bench.hit(eth, 1).hit(other, 2).hit(eth, 1, cpu=1).hit(eth, 7, cpu=1)
    key = (1).to_bytes(4, "little")
    assert bench.table("by_name") == {
        bytes(4) + b"eth0".ljust(16, b"\0"): 1,
        bytes(4) + b"a very long nam\0": 1,
        key + b"eth0".ljust(16, b"\0"): 2,
    }
    assert bench.table("by_comm") == {b"bash".ljust(16, b"\0"): 11}
    assert bench.array("results")[0] == 2
    bench.hit(eth, 3)
    assert bench.table("by_comm") == {}


# Histograms

DIVISIONS = [
    Log2(0),
    Log2(2),
    Log2(5),
    Linear(-20, 20, 7),
    Linear(0, 100, 10),
    Linear(5, 6, 1),
    Linear(-9, -1, 2),
    Linear(-5, 0, 5),
]


@pytest.mark.parametrize("buckets", DIVISIONS, ids=repr)
@pytest.mark.parametrize("is_signed", [True, False])
def test_numbers_fall_into_the_right_bucket(buckets, is_signed: bool) -> None:
    found = mp.Histogram(buckets)
    if is_signed:

        @mp.program
        def fill(ctx):
            found.add(mp.i64(ctx.arg(0)))
    else:

        @mp.program
        def fill(ctx):
            found.add(ctx.arg(0))

    chosen = random.Random(repr(buckets))
    numbers = [*range(-30, 130), -(1 << 63), (1 << 63) - 1, (1 << 64) - 1, 1 << 63]
    numbers += [(1 << n) + d for n in range(64) for d in (-1, 0, 1)]
    numbers += [chosen.getrandbits(64) >> chosen.randrange(64) for _ in range(100)]
    convert = mp.i64 if is_signed else mp.u64
    expected = [0] * buckets.n_buckets
    bench = Bench(fill)
    for number in numbers:
        expected[buckets.bucket(convert(number))] += 1
        bench.hit(number)
    assert bench.histogram("found") == [expected]


ADDRESSES = (0xFFFFFFFF81000000, 0xFFFFFFFF81000040, 0xFFFFFFFF81000080)
sizes = mp.Histogram(mp.linear(0, 4, 1), counter=mp.u32)
times = mp.Histogram(per_function=True)


@mp.program
def measure(ctx):
    sizes.add(ctx.arg(0))
    times.add(ctx.function, ctx.arg(0))
    times.add(ctx.arg(1), ctx.arg(2))


@pytest.mark.parametrize("context", ["kprobe_multi", "kprobe", "tracing"])
def test_histograms_of_functions(context: str) -> None:
    function_from = "ip" if context == "kprobe_multi" else "cookie"
    bench = Bench(measure, context=context, shape=Shape(function_from=function_from), addresses=ADDRESSES, n_cpus=2)
    registers = None
    arguments = [(1, 0, 4), (2, 2, 0), (3, 3, 9), (9, (1 << 64) - 1, 9)]
    expected = [[0] * 66 * 4, [0] * 66 * 4]
    for cpu in (0, 1):
        for place, (first, index, number) in enumerate(arguments):
            function = place % 3
            if context != "tracing":
                from multiprobe.arch import native

                arch = native().registers
                registers = bytearray(256)
                for value, offset in zip((first, index, number), arch.arguments, strict=False):
                    registers[offset : offset + 8] = value.to_bytes(8, "little")
            bench.hit(
                first, index, number, context=registers and bytes(registers), cpu=cpu, ip=ADDRESSES[function],
                cookie=function,
            )  # fmt: skip
            expected[cpu][66 * (function + 1) + Log2().bucket(first)] += 1
            if index < 3:
                expected[cpu][66 * (index + 1) + Log2().bucket(number)] += 1
    assert bench.histogram("times") == expected
    assert bench.histogram("sizes") == [[0, 0, 1, 1, 1, 1]] * 2
    assert bench.losses() == {"out_of_range": 4}


# Stacks

stacks = mp.StackTraces()


@mp.program
def take_stacks(ctx):
    results[0] = stacks.id(ctx)
    results[1] = stacks.id(ctx, user=True)


def test_ids_of_stacks() -> None:
    bench = Bench(take_stacks)
    bench.machine.stacks = {0: 1234, 256: -14}
    bench.hit()
    assert bench.array("results")[:2] == [1234, -14]
    assert bench.lost("stacks")[:2] == [0, 1]
    bench.machine.stacks = {0: -17, 256: 7}
    bench.hit()
    assert bench.array("results")[:2] == [-17, 7]
    assert bench.lost("stacks")[:2] == [1, 1]


# What is refused


def refusal(source: str) -> str:
    import linecache

    text = f"@mp.program\ndef program(ctx):\n    {source}\n"
    linecache.cache["<collecting>"] = (len(text), None, text.splitlines(keepends=True), "<collecting>")
    names = globals() | {"mp": mp}
    exec(compile(text, "<collecting>", "exec"), names)
    with pytest.raises(CompileError) as caught:
        build(names["program"])
    error = caught.value
    return f"{error.source[error.column : error.end_column]}: {error.args[0]}"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("x = ctx.comm", "ctx.comm: ctx.comm is a string"),
        ("x = mp.kernel_string(1)", "mp.kernel_string(1): mp.kernel_string yields a string"),
        ("x = ctx.comm < 'a'", "ctx.comm < 'a': strings are compared with == and !=, two at a time"),
        ("x = ctx.comm == 5", "5: a string is needed here"),
        ("x = ctx.pid == 'a'", "ctx.pid: a string is needed here"),
        ("x = ctx.comm == mp.kernel_string(5)", "ctx.comm == mp.kernel_string(5): one of two compared strings must be"),
        ("x = mp.user_string() == 'a'", "mp.user_string(): mp.user_string takes an address"),
        ("x = mp.user_string(1, 2, 3) == 'a'", "mp.user_string(1, 2, 3): mp.user_string takes an address"),
        ("by_comm[mp.user_string(1, 2)] += 1", "mp.user_string(1, 2): a string with a size can't be a key"),
        ("x = ctx.comm == 'a\\0b'", "'a\\0b': no string of the kernel's has a NUL in it"),
        ("x = mp.user_string(1) == '" + "x" * 129 + "'", "a string to compare with has up to 128 bytes, not 129"),
        ("memories.send(first=1, raw=5)", "5: memory is needed here"),
        ("x = mp.kernel_bytes(5)", "mp.kernel_bytes(5): mp.kernel_bytes yields memory"),
        ("smalls.send(1)", "1: an event's fields are sent by name"),
        ("smalls.send()", "smalls.send(): Small needs number too"),
        ("smalls.send(number=1, other=2)", "2: Small has no field 'other'"),
        ("smalls.push(number=1)", "smalls.push(number=1): 'smalls' has no 'push'"),
        ("smalls[0] = 1", "smalls[0]: 'smalls' has no items"),
        ("smalls.send(number=ctx.comm)", "ctx.comm: ctx.comm is a string"),
        ("larges.send(name=5, comm=ctx.comm, fixed='x')", "5: a string is needed here"),
        ("sizes.add()", "sizes.add(): add takes a number"),
        ("times.add(5)", "times.add(5): add takes a function and a number"),
        ("sizes.add(value=5)", "sizes.add(value=5): add takes a number"),
        ("x = stacks.id()", "stacks.id(): id takes ctx"),
        ("x = stacks.id(ctx, user=ctx.pid)", "stacks.id(ctx, user=ctx.pid): id takes ctx"),
        ("x = results.add(5)", "results.add(5): 'results' is a map without methods"),
        ("by_comm[5] += 1", "5: a string is needed here"),
        ("by_name[ctx.comm, 5] += 1", "ctx.comm: ctx.comm is a string"),
    ],
)
def test_what_is_refused(source: str, expected: str) -> None:
    assert expected in refusal(source)
