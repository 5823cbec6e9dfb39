"""Parses the memory of a ring buffer: finds complete records, and converts them to arrays or tuples. Pure.

The layout is that of kernel/bpf/ringbuf.c: positions that only grow; a header before each record, whose highest bits
mark it as busy or discarded; data pages mapped twice in succession, so that every record is contiguous.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Generic

from multiprobe.errors import DataError
from multiprobe.maps.events import HEADER_SIZE, EventT

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from multiprobe.maps.events import RingBuffer

BUSY = 1 << 31
MOST = 1 << 16
"""Records that are taken at once, at most."""


class Ring(Generic[EventT]):
    """Records of one size in a ring: all of it is memory, and may as well be made of bytes.

    consumer, producer: at least 8 bytes each, the first writable; data: the ring's bytes, twice
    """

    def __init__(self, spec: RingBuffer[EventT], consumer: memoryview, producer: memoryview, data: memoryview) -> None:
        self.spec = spec
        self.size = len(data) // 2
        self._consumer: memoryview[int] = consumer[:8].cast("Q")  # read in one piece, as the kernel writes it
        self._producer: memoryview[int] = producer[:8].cast("Q")
        self._data = data
        self._words: memoryview[int] = data.cast("I")
        self._form = spec.record.form(before=HEADER_SIZE, stride=spec.stride)
        self._decode = spec.record.decoder(partial(tuple.__new__, spec.event))

    @property
    def taken(self) -> int:
        """Records taken out so far."""
        return self._consumer[0] // self.spec.stride

    @property
    def written(self) -> int:
        """Records that were given room so far, complete or not."""
        return self._producer[0] // self.spec.stride

    def ready(self, most: int = MOST) -> int:
        """How many complete records come first."""
        # The kernel publishes a record by its header: x86 loads in order, so what is read after it is complete.
        start, stride = self._consumer[0], self.spec.stride
        n = min((self._producer[0] - start) // stride, most)
        if not n:
            return 0
        first = start % self.size // 4
        heads = self._words[first : first + n * stride // 4 : stride // 4].tolist()
        complete = heads.count(self.spec.record.size)
        return n if complete == n else self._before_busy(heads)

    def _before_busy(self, heads: list[int]) -> int:
        for place, head in enumerate(heads):
            if head & BUSY:
                return place
            if head != self.spec.record.size:
                raise DataError(f"a record of {head:#x} bytes among those of {self.spec.record.size} in {self.spec!r}")
        return len(heads)

    def memory(self, n: int) -> memoryview:
        """The first `n` records with their headers; valid until `advance`."""
        start = self._consumer[0] % self.size
        return self._data[start : start + n * self.spec.stride]

    def advance(self, n: int) -> None:
        """Give the room of the first `n` records back."""
        self._consumer[0] += n * self.spec.stride

    def array(self, n: int) -> NDArray[np.void]:
        """The first `n` records as a structured array on the ring's own memory; valid until `advance`."""
        import numpy as np

        dtype = self.spec.record.dtype()
        if not n:
            return np.empty(0, dtype)
        # Not `buffer=` on the memory itself: NumPy would not keep its owner from being unmapped.
        flat = np.frombuffer(self.memory(n), dtype=np.uint8)
        return np.ndarray(n, dtype, buffer=flat, offset=HEADER_SIZE, strides=(self.spec.stride,))

    def objects(self, n: int) -> Iterator[EventT]:
        """The first `n` records as instances of the spec's event; to be used up before `advance`."""
        with self.memory(n) as memory:
            yield from self._decode(self._form.iter_unpack(memory))

    def copy(self) -> Ring[EventT]:
        """All complete records, in memory of their own."""
        n = self.ready(most=self.size)
        kept = bytes(self.memory(n)).ljust(self.spec.stride, b"\0") * 2
        return Ring(
            self.spec,
            memoryview(bytearray(8)),
            memoryview((n * self.spec.stride).to_bytes(8, "little")),
            memoryview(kept),
        )

    def release(self) -> None:
        """Let go of the memory."""
        for view in (self._consumer, self._producer, self._words, self._data):
            view.release()
