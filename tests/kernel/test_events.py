"""Events on a real kernel: records arrive in order, or are counted as dropped."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import mmap
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from collecting import GIVEN, MECHANISMS, NAMES, RETURNED, Calls, require

import multiprobe as mp


class Seen(mp.Event):
    function: mp.u32
    pid: mp.u32
    first: mp.i64
    others: mp.array_of(mp.u64, 2)
    comm: mp.string(16)
    banner: mp.string(150)


class Number(mp.Event):
    number: mp.u64


class Opened(mp.Event):
    name: mp.string(200)


seen = mp.RingBuffer(Seen)
numbers = mp.RingBuffer(Number, size=4096)
opened = mp.RingBuffer(Opened)
attempts = mp.PerFunction(mp.u64)
names = mp.Hash((mp.string(32), mp.u32), mp.u64)
BANNER = next(
    int(line.split()[0], 16)
    for line in Path("/proc/kallsyms").read_text().splitlines()
    if line.endswith(" linux_banner")
)


@mp.program
def observe(ctx):
    seen.send(
        function=ctx.function,
        pid=ctx.pid,
        first=ctx.arg(0),
        others=(ctx.arg(1), ctx.time),
        comm=ctx.comm,
        banner=mp.kernel_string(BANNER),
    )


@mp.program(when="return")
def observe_return(ctx):
    seen.send(
        function=ctx.function, pid=ctx.pid, first=ctx.ret, others=(0,), comm="constant", banner=mp.kernel_string(8)
    )


@mp.program
def flood(ctx):
    attempts[ctx.function] += 1
    numbers.send(number=ctx.arg(0))


@mp.program
def watch(ctx):
    if ctx.comm == "pytest" or ctx.comm == "python" or ctx.comm != "swapper/0":
        opened.send(name=mp.user_string(ctx.arg(1)))
        names[mp.user_string(ctx.arg(1)), ctx.pid] += 1


class Piece(mp.Event):
    kernel: mp.string(16)
    user: mp.string(16)
    is_hello: mp.bool_


pieces = mp.RingBuffer(Piece)


@mp.program
def cut(ctx):
    pieces.send(
        kernel=mp.kernel_string(BANNER, 5),
        user=mp.user_string(ctx.arg(1), ctx.arg(2)),
        is_hello=mp.user_string(ctx.arg(1), ctx.arg(2)) == "hello",
    )


@mp.program(sleepable=True)
def name_waiting(ctx):
    name = mp.cast("struct pt_regs *", ctx.arg(0)).si
    opened.send(name=mp.user_string(name))
    names[mp.user_string(name), ctx.ns_pid] += 1
    if mp.user_string(name) == ABSENT and mp.user_string(name, 9) == "/nowhere/":
        attempts[ctx.function] += 1


@mp.program
def name_at_once(ctx):
    opened.send(name=mp.user_string(mp.cast("struct pt_regs *", ctx.arg(0)).si))


ABSENT = "/nowhere/to/be/found"
OPENAT = "__x64_sys_openat"


def open_from_a_fresh_page(file: Path, offset: int) -> None:
    """Open the name at `offset` of a mapping that this process has never touched."""
    with open(file, "rb") as opened_file:
        memory = mmap.mmap(opened_file.fileno(), 2 * mmap.PAGESIZE, access=mmap.ACCESS_COPY)
        address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        assert ctypes.CDLL(None).open(ctypes.c_void_p(address + offset), 0) == -1


@pytest.mark.parametrize("mechanism", ["tracing_multi", "trampoline"])
@pytest.mark.parametrize("offset", [0, mmap.PAGESIZE - 9], ids=["page", "two pages"])
def test_a_sleepable_program_waits_for_memory(mechanism: str, offset: int, kernel, tmp_path: Path) -> None:
    require(kernel, mechanism)
    file = tmp_path / "names"
    file.write_bytes((bytes(offset) + ABSENT.encode()).ljust(2 * mmap.PAGESIZE, b"\0"))
    options = {"mechanisms": mechanism, "pid": os.getpid(), "kernel": kernel}
    with mp.attach(name_at_once, [OPENAT], **options) as at_once:
        open_from_a_fresh_page(file, offset)
        at_once.pause()
        assert at_once.missed()["failed_reads"] == 1, "the page is not there"
    try:
        waiting = mp.attach(name_waiting, [OPENAT, "vfs_read"], **options)
    except mp.AttachError:
        pytest.skip("this kernel has no error_injection: no function for sleepable programs")
    with waiting:
        open_from_a_fresh_page(file, offset)
        waiting.pause()
        found = waiting.events(opened).read(timeout=5)["name"].tolist()
        assert waiting.map(names).as_dict()[ABSENT[:31], os.getpid()] == 1
        index = [function.name for function in waiting.functions].index(OPENAT)
        assert waiting.totals(attempts)[index] == 1
        missed = waiting.missed()
    assert ABSENT.encode() in found
    assert not any(missed.values()), missed
    (failure,) = waiting.report.failed
    assert (failure.function, failure.errno) == ("vfs_read", errno.EINVAL)
    assert "no sleepable program may run here" in failure.reason


@pytest.fixture(scope="module")
def kernel() -> mp.Kernel:
    return mp.Kernel()


@pytest.fixture(scope="module")
def calls() -> Iterator[Calls]:
    made = Calls()
    yield made
    made.close()


@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("program", [observe, observe_return], ids=["entry", "return"])
def test_what_is_sent_arrives(program, mechanism: str, kernel, calls) -> None:
    require(kernel, mechanism)
    with mp.attach(program, kernel.by_symbols(NAMES), mechanisms=mechanism) as attachment:
        calls.run(2)
        reader = attachment.events(seen)
        found = reader.read(timeout=5)
        missed = attachment.missed()
    assert found["function"].tolist() == [0, 1, 2, 3, 4, 5] * 2
    assert set(found["pid"]) == {os.getpid()}
    if program is observe:
        assert found["first"].tolist() == [given[0] for given in GIVEN] * 2
        assert found["others"][1:6, 0].tolist() == [given[1] for given in GIVEN[1:]]
        assert (np.diff(found["others"][:, 1].astype(np.int64)) > 0).all()
        assert set(found["comm"].tolist()) == {Path("/proc/self/comm").read_bytes().strip()}
        version = Path("/proc/version").read_bytes()
        assert {bytes(text) for text in found["banner"]} == {
            version[:149].rstrip(b"\n") if len(version) < 150 else version[:149]
        }
        assert not any(missed.values()), missed
    else:
        assert found["first"].tolist() == RETURNED * 2
        assert set(found["comm"].tolist()) == {b"constant"}
        assert set(found["banner"].tolist()) == {b""}
        assert missed["failed_reads"] == 12
    assert (reader.sent, reader.received, reader.dropped) == (12, 12, 0)


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_strings_with_a_size_end_there(mechanism: str, kernel, tmp_path: Path) -> None:
    """Of memory without a NUL, too, and at the end of what can be read."""
    require(kernel, mechanism)
    text = memoryview(b"hello-not-terminated")
    with (
        open(tmp_path / "written", "wb", buffering=0) as file,
        mp.attach(cut, ["vfs_write"], mechanisms=mechanism, pid=os.getpid(), kernel=kernel) as attachment,
    ):
        for n in (5, 4, 6, 20, 0):
            os.write(file.fileno(), text[:n])
        found = attachment.events(pieces).read(timeout=5)
        missed = attachment.missed()
    assert found["user"].tolist() == [b"hello", b"hell", b"hello-", b"hello-not-termi", b""]
    assert found["is_hello"].tolist() == [True, False, False, False, False]
    assert set(found["kernel"].tolist()) == {b"Linux"}
    assert not any(missed.values()), missed


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_what_is_dropped_is_counted(mechanism: str, kernel, calls) -> None:
    require(kernel, mechanism)
    with mp.attach(flood, kernel.by_symbols(NAMES), mechanisms=mechanism) as attachment:
        calls.run(60)
        reader = attachment.events(numbers)
        first = reader.read()
        calls.run(10)
        attachment.pause()
        calls.run(1)
        sent = int(attachment.read(attempts).sum())
        assert attachment.missed()["dropped_events"] == reader.dropped
    rest = [event.number for event in reader]
    assert sent == reader.sent == 420
    room = 4095 // 16  # a ring is never filled to its last byte
    assert len(first) == room
    assert reader.received == len(first) + len(rest) == room + 60
    assert reader.dropped == attachment.report.missed["dropped_events"] == 360 - room
    assert rest == [given[0] for given in GIVEN] * 10


def test_nothing_is_lost_between_cpus(kernel, calls) -> None:
    """Several threads send while one reads: all that was sent is received or dropped, to the last one."""
    with mp.attach(flood, kernel.by_symbols(NAMES)) as attachment:
        senders = [threading.Thread(target=calls.run, args=(300,)) for _ in range(3)]
        for thread in senders:
            thread.start()
        received = []
        reader = attachment.events(numbers, timeout=60)
        for event in reader:
            received.append(event.number)
            if not any(thread.is_alive() for thread in senders):
                attachment.pause()
        for thread in senders:
            thread.join()
        attempted = int(attachment.read(attempts).sum())
    assert attempted == len(received) + reader.dropped == reader.sent
    assert attempted + sum(attachment.report.missed[cause] for cause in ("link_misses", "recursion_misses")) == 5400


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_strings_of_processes(mechanism: str, kernel, tmp_path) -> None:
    require(kernel, mechanism)
    files = [tmp_path / f"file{n}" for n in range(5)]
    with mp.attach(watch, "do_sys_openat2", kernel=kernel, mechanisms=mechanism, pid=os.getpid()) as attachment:
        for path in files:
            path.write_text("x")
        counted = attachment.map(names).as_dict()
    found = [event.name for event in attachment.events(opened)]
    assert [name for name in found if name.startswith(str(tmp_path))] == [str(path) for path in files]
    for path in files:
        assert counted[str(path)[:31], os.getpid()] >= 1


def test_iteration_ends(kernel, calls) -> None:
    with mp.attach(flood, kernel.by_symbols(NAMES[:1])) as attachment:
        assert list(attachment.events(numbers, timeout=0.1)) == []
        assert len(attachment.events(numbers).read(timeout=0.01)) == 0
        calls.run(3)
        assert attachment.events(numbers).take(timeout=1) == [(1,)] * 3
        calls.run(2)
        with attachment.events(numbers).view() as records:
            assert records["number"].tolist() == [1, 1]
            assert not records.flags.writeable
        stopper = threading.Timer(0.2, attachment.pause)
        stopper.start()
        assert list(attachment.events(numbers)) == []
        attachment.resume()
        calls.run(4)
    after = attachment.events(numbers)
    assert list(after) == [(1,)] * 4, "what was in the ring stays readable after closing"
    assert list(after) == []
    assert (after.sent, after.received, after.dropped) == (9, 9, 0)


def test_receiving_asynchronously(kernel, calls) -> None:
    async def receive(attachment: mp.Attachment) -> list[int]:
        found = []
        async for event in attachment.events(numbers, timeout=30):
            found.append(event.number)
            if len(found) == 6:
                attachment.pause()
        return found

    async def both(attachment: mp.Attachment) -> list[int]:
        task = asyncio.create_task(receive(attachment))
        await asyncio.sleep(0.2)
        calls.run()
        return await task

    with mp.attach(flood, kernel.by_symbols(NAMES)) as attachment:
        found = asyncio.run(both(attachment))
    assert found == [given[0] for given in GIVEN]


def test_an_array_outlives_its_ring(kernel, calls) -> None:
    with mp.attach(flood, kernel.by_symbols(NAMES)) as attachment:
        calls.run()
        reader = attachment.events(numbers)
        kept = reader._map.ring.array(reader._map.ring.ready())
    assert kept["number"].tolist() == [given[0] for given in GIVEN]
    del kept
