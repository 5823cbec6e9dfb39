"""Measures how fast events are decoded, without a kernel: from a ring buffer made of bytes, filled once and read
repeatedly.

Runs anywhere: `python bench/decode.py`. Prints JSON lines: events per second of processor time, as a structured array
(a view on the ring buffer; a copy; the sum of one field of a view) and as objects.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import multiprobe as mp
from multiprobe.maps.ring import Ring


class Sample(mp.Event):
    time: mp.u64
    pid: mp.u32
    function: mp.u32
    argument: mp.u64
    name: mp.string(32)


class Plain(mp.Event):
    time: mp.u64
    pid: mp.u32
    function: mp.u32


def filled(spec: mp.RingBuffer, n: int) -> tuple[Ring, memoryview]:
    """A ring with `n` records, and the page with the reader's position."""
    data = bytearray(2 * spec.size)
    form = spec.record.form(before=8, stride=spec.stride)
    for place in range(n):
        values = [place, 7, place % 1000, place * 3, b"some name"][: len(spec.record.fields)]
        form.pack_into(data, place * spec.stride, *values)
        data[place * spec.stride : place * spec.stride + 4] = spec.record.size.to_bytes(4, "little")
    consumer = memoryview(bytearray(8))
    producer = memoryview((n * spec.stride).to_bytes(8, "little"))
    return Ring(spec, consumer, producer, memoryview(data)), consumer


def rate(spec: mp.RingBuffer, read: Callable[[Ring, int], object], *, seconds: float = 1.0) -> float:
    """Events per second of processor time."""
    n = min(1 << 14, spec.size // spec.stride - 1)
    ring, consumer = filled(spec, n)
    done, began = 0, time.process_time()
    while time.process_time() - began < seconds:
        read(ring, ring.ready())
        ring.advance(n)
        consumer[:8] = bytes(8)  # the same records again
        done += n
    return done / (time.process_time() - began)


WAYS: dict[str, Callable[[Ring, int], object]] = {
    "view": lambda ring, n: ring.array(n),
    "copy": lambda ring, n: ring.array(n).copy(),
    "sum of a field": lambda ring, n: int(ring.array(n)["time"].sum()),
    "objects": lambda ring, n: list(ring.objects(n)),
}


def main() -> None:
    for event in (Plain, Sample):
        for name, read in WAYS.items():
            found = rate(mp.RingBuffer(event), read)
            print(
                json.dumps({"bench": "decode", "event": event.__name__, "as": name, "events_per_second": round(found)})
            )


if __name__ == "__main__":
    main()
