"""Records, ring buffers made of bytes, and buckets: the pure parts of events and histograms."""

from __future__ import annotations

import ctypes
import itertools
import mmap
import pickle
import random
from collections import Counter
from math import ceil
from typing import Annotated

import numpy as np
import pytest

import multiprobe as mp
from multiprobe.errors import DataError, UsageError
from multiprobe.maps.buckets import percentiles
from multiprobe.maps.ring import BUSY, Ring


class Open(mp.Event):
    pid: mp.u32
    flag: mp.bool_
    delta: mp.i64
    name: mp.string(10)
    args: mp.array_of(mp.u16, 3)


class Number(mp.Event):
    number: mp.u32


class AsInC(ctypes.Structure):
    _fields_ = [
        ("pid", ctypes.c_uint32),
        ("flag", ctypes.c_bool),
        ("delta", ctypes.c_int64),
        ("name", ctypes.c_char * 10),
        ("args", ctypes.c_uint16 * 3),
    ]


def test_fields_lie_as_in_c() -> None:
    record = mp.RingBuffer(Open).record
    assert record.size == ctypes.sizeof(AsInC)
    assert {field.name: field.offset for field in record.fields} == {
        name: getattr(AsInC, name).offset for name, _ in AsInC._fields_
    }
    assert record.dtype().itemsize == record.size
    assert record.form().size == record.size


def test_fields_may_be_annotated_with_the_type_in_python_first() -> None:
    class Same(mp.Event):
        pid: Annotated[int, mp.u32]
        flag: Annotated[bool, "some other remark", mp.bool_]
        delta: Annotated[int, mp.i64]
        name: Annotated[str, mp.string(10)]
        args: Annotated[tuple[int, ...], mp.array_of(mp.u16, 3)]

    assert Same.record_ == Open.record_
    with pytest.raises(UsageError, match="field 'name' has no type that a record can hold"):

        class Odd(mp.Event):
            name: Annotated[str, "text"]


def test_events_are_tuples_with_names() -> None:
    event = Open(1, True, -5, "x", args=(1, 2, 3))
    assert (event.pid, event.flag, event.delta, event.name, event.args) == event == (1, True, -5, "x", (1, 2, 3))
    assert event.as_dict() == {"pid": 1, "flag": True, "delta": -5, "name": "x", "args": (1, 2, 3)}
    assert repr(event) == "Open(pid=1, flag=True, delta=-5, name='x', args=(1, 2, 3))"
    assert pickle.loads(pickle.dumps(event)) == event
    match event:
        case Open(pid=pid, name="x"):
            assert pid == 1
    with pytest.raises(AttributeError):
        event.pid = 2
    for values, named in [((1,), {}), ((1, 2, 3, 4, 5, 6), {}), ((1, 2, 3, 4), {"pid": 5}), ((), {"x": 1})]:
        with pytest.raises(UsageError, match="Open takes pid, flag"):
            Open(*values, **named)


def test_events_can_be_extended_and_declared_anywhere() -> None:
    size = mp.string(4)

    class More(Number):
        text: size

    assert More.names_ == ("number", "text")


@pytest.mark.parametrize(
    "make",
    [
        lambda: type("E", (mp.Event,), {}),
        lambda: type("E", (mp.Event,), {"__annotations__": {"x": int}}),
        lambda: type("E", (mp.Event,), {"__annotations__": {"_x": mp.u8}}),
        lambda: type("E", (mp.Event,), {"__annotations__": {"x": "unknown"}}),
        lambda: mp.string(1),
        lambda: mp.string(True),
        lambda: mp.array_of(mp.u8, 0),
        lambda: mp.array_of(mp.string(4), 2),
        lambda: mp.RingBuffer(mp.Event),
        lambda: mp.RingBuffer(Open, size=0),
        lambda: mp.RingBuffer(Open, size=1 << 40),
        lambda: mp.Histogram(5),
        lambda: mp.Histogram(counter=mp.u8),
        lambda: mp.log2(bits=9),
        lambda: mp.linear(5, 5, 1),
        lambda: mp.linear(0, 5, 0),
        lambda: mp.linear(0, 1 << 40, 1),
        lambda: mp.linear(0, 1 << 64, 1 << 60),
        lambda: mp.StackTraces(depth=0),
        lambda: mp.StackTraces(depth=128),
        lambda: mp.Hash(mp.string(200), mp.u64),
        lambda: mp.RingBuffer(Open).send(pid=1),
        lambda: mp.Histogram().add(1),
        lambda: mp.StackTraces().id(None),
        lambda: mp.kernel_string(5),
        lambda: mp.user_string(5),
    ],
)
def test_what_is_refused(make) -> None:
    with pytest.raises(UsageError):
        make()


# Rings


class Fake:
    """The kernel's side of a ring, in bytes."""

    def __init__(self, spec: mp.RingBuffer) -> None:
        self.spec = spec
        self.consumer, self.producer = bytearray(8), bytearray(8)
        self.data = bytearray(2 * spec.size)
        self.ring = Ring(spec, memoryview(self.consumer), memoryview(self.producer), memoryview(self.data))

    def _write(self, position: int, content: bytes) -> None:
        for n, byte in enumerate(content, position % self.spec.size):
            self.data[n % self.spec.size] = self.data[n % self.spec.size + self.spec.size] = byte

    def reserve(self) -> int:
        """Room for one record: its position, or -1."""
        at = int.from_bytes(self.producer, "little")
        taken = int.from_bytes(self.consumer, "little")
        if at + self.spec.stride - taken > self.spec.size:
            return -1
        self._write(at, (BUSY | self.spec.record.size).to_bytes(8, "little"))
        self.producer[:] = (at + self.spec.stride).to_bytes(8, "little")
        return at

    def submit(self, at: int, content: bytes) -> None:
        self._write(at + 8, content)
        self._write(at, self.spec.record.size.to_bytes(8, "little"))


def encode(number: int) -> bytes:
    made = AsInC(number, number % 2 == 0, -number, f"n{number}".encode(), (number % 7, 2, 3))
    return bytes(made)


def expected(number: int) -> tuple:
    return (number, number % 2 == 0, -number, f"n{number}", (number % 7, 2, 3))


@pytest.mark.parametrize("seed", range(5))
def test_everything_sent_is_received_or_dropped(seed: int) -> None:
    """A ring that wraps many times, records completed out of order, readers of all kinds."""
    chosen, fake = random.Random(seed), Fake(mp.RingBuffer(Open, size=4096))
    open_, sent, dropped, received = [], [], 0, []
    number = 0
    for _ in range(3000):
        if chosen.random() < 0.6:
            at = fake.reserve()
            if at < 0:
                dropped += 1
            else:
                open_.append((at, number))
                sent.append(number)
            number += 1
        if open_ and chosen.random() < 0.6:
            at, done = open_.pop(chosen.randrange(min(3, len(open_))))
            fake.submit(at, encode(done))
        if chosen.random() < 0.015:
            n = fake.ring.ready(chosen.choice((5, 1000)))
            busy = min((at for at, _ in open_), default=int.from_bytes(fake.producer, "little"))
            assert n <= (busy - int.from_bytes(fake.consumer, "little")) // fake.spec.stride
            if chosen.random() < 0.5:
                received += list(fake.ring.objects(n))
            else:
                array = fake.ring.array(n)
                assert array.dtype.names == ("pid", "flag", "delta", "name", "args")
                received += [(*row[:3], row[3].decode(), tuple(row[4])) for row in array.tolist()]
            fake.ring.advance(n)
    for at, done in open_:
        fake.submit(at, encode(done))
    kept = fake.ring.copy()
    received += list(kept.objects(kept.ready()))
    assert received == [expected(n) for n in sent]
    assert len(received) + dropped == number
    assert fake.ring.written == len(sent)
    assert dropped > 0


def test_arrays_lie_on_the_ring_itself() -> None:
    fake = Fake(mp.RingBuffer(Number, size=4096))
    for number in range(3):
        fake.submit(fake.reserve(), number.to_bytes(4, "little"))
    array = fake.ring.array(3)
    assert array["number"].tolist() == [0, 1, 2]
    fake.data[8] = 99
    assert array["number"].tolist() == [99, 1, 2]
    assert array.strides == (16,)
    assert fake.ring.array(0).shape == (0,)


def test_arrays_keep_their_memory_mapped() -> None:
    spec = mp.RingBuffer(Number, size=4096)
    mapping = mmap.mmap(-1, 2 * spec.size)
    ring = Ring(spec, memoryview(bytearray(8)), memoryview((16).to_bytes(8, "little")), memoryview(mapping))
    array = ring.array(1)
    ring.release()
    with pytest.raises(BufferError):
        mapping.close()
    assert array["number"].tolist() == [0]
    del array
    mapping.close()


def test_a_ring_of_other_records_is_refused() -> None:
    fake = Fake(mp.RingBuffer(Number, size=4096))
    fake.submit(fake.reserve(), bytes(4))
    fake._write(0, (44).to_bytes(8, "little"))
    with pytest.raises(DataError, match="a record of 0x2c bytes"):
        fake.ring.ready()


def test_sizes_of_rings() -> None:
    assert [mp.RingBuffer(Number, size=size).size for size in (1, 4096, 4097, 1 << 20)] == [4096, 4096, 8192, 1 << 20]


# Buckets


@pytest.mark.parametrize(
    "buckets", [*(mp.log2(bits=bits) for bits in range(9)), mp.linear(-7, 100, 10), mp.linear(0, 3, 3)], ids=repr
)
def test_bounds_and_buckets_agree(buckets) -> None:
    bounds = buckets.bounds()
    assert len(bounds) == buckets.n_buckets
    assert all(one[1] == other[0] for one, other in itertools.pairwise(bounds))
    chosen = random.Random(1)
    numbers = [*range(-50, 300), (1 << 64) - 1, *(chosen.getrandbits(64) >> chosen.randrange(64) for _ in range(2000))]
    for number in numbers:
        low, high = bounds[buckets.bucket(number)]
        assert low <= number < high


@pytest.mark.parametrize("bits", range(9))
def test_widths_of_buckets(bits: int) -> None:
    for low, high in mp.log2(bits=bits).bounds()[1:]:
        assert high - low <= max(1, low / (1 << bits))


@pytest.mark.parametrize("buckets", [mp.log2(), mp.log2(bits=4), mp.linear(0, 1000, 10)], ids=repr)
def test_percentiles_lie_in_their_bucket(buckets) -> None:
    chosen = random.Random(2)
    numbers = sorted(int(chosen.lognormvariate(4, 1)) for _ in range(999))
    counts = Counter(map(buckets.bucket, numbers))
    found = percentiles(buckets, [counts[n] for n in range(buckets.n_buckets)], (0, 1, 50, 90, 99, 99.9, 100))
    for one in found:
        true = numbers[max(1, ceil(one.percent / 100 * len(numbers))) - 1]
        assert one.low <= true < one.high
        assert one.low <= one.estimate <= one.high


def test_percentiles_of_nothing_and_nonsense() -> None:
    buckets = mp.log2()
    assert percentiles(buckets, [0] * buckets.n_buckets) == []
    with pytest.raises(UsageError):
        percentiles(buckets, [1])
    with pytest.raises(UsageError):
        percentiles(buckets, [1] * buckets.n_buckets, [101])


def test_exact_where_buckets_are_single_numbers() -> None:
    spec = mp.Histogram(mp.linear(0, 10, 1))
    counts = np.zeros(spec.buckets.n_buckets, dtype=np.uint64)
    counts[1 + 3], counts[1 + 7] = 9, 1
    assert [one.estimate for one in spec.percentiles(counts, (50, 90, 91))] == [3, 3, 7]
