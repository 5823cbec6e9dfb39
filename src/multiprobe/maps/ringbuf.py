"""Maps the kernel's ring buffers into this process, and waits for their records."""

from __future__ import annotations

import mmap
import select
from typing import TYPE_CHECKING, Generic

from multiprobe.maps.events import EventT, RingBuffer
from multiprobe.maps.layout import LOST_SIZE
from multiprobe.maps.maps import OwnMap, SharedArray
from multiprobe.maps.ring import Ring
from multiprobe.syscalls import bpf
from multiprobe.uapi.bpf import MapType

if TYPE_CHECKING:
    from multiprobe.maps.layout import Layout

WAKE_SHARE = 4
"""A program wakes the reader once 1/4 of the ring is full; it looks by itself before that, every INTERVAL seconds."""
INTERVAL = 0.05


class RingBufferMap(OwnMap, Generic[EventT]):
    """The open map of a RingBuffer, its memory mapped. Once closed, events not read before can still be read."""

    def __init__(self, spec: RingBuffer[EventT], made: Layout, *, name: str) -> None:
        self.spec: RingBuffer[EventT] = spec
        self.layout = made
        self._lost = SharedArray(LOST_SIZE, name=f"{name}_lost")
        self._epoll = select.epoll()
        try:
            self.fd = bpf.map_create(MapType.RINGBUF, 0, 0, made.max_entries, name=name)
        except BaseException:
            self._give_back()
            raise
        try:
            self._map()
        except BaseException:
            self._give_back()
            self.fd.close()
            raise

    def _map(self) -> None:
        page = mmap.PAGESIZE
        # The consumer's page may be written; the producer's page and the data may not.
        self._own = bpf.map_memory(self.fd, page)
        self._theirs = bpf.map_memory(self.fd, page + 2 * self.layout.max_entries, prot=mmap.PROT_READ, offset=page)
        theirs = memoryview(self._theirs)
        self.ring = Ring(self.spec, memoryview(self._own), theirs[:page], theirs[page:])
        # Edge-triggered: a wake-up is one that a program asked for, not the mere presence of data.
        self._epoll.register(self.fd.fileno(), select.EPOLLIN | select.EPOLLET)

    def constants(self, key: str) -> dict[str, int]:
        return {f"{key}.lost": self._lost.fd.fileno(), f"{key}.wake": self.layout.max_entries // WAKE_SHARE}

    @property
    def dropped(self) -> int:
        """Records that were lost because the ring buffer was full."""
        if not self._lost.fd.is_closed:
            self._dropped = int.from_bytes(self._lost.memory[:8], "little")
        return self._dropped

    @property
    def received(self) -> int:
        """Records read."""
        return self._before + self.ring.taken

    @property
    def sent(self) -> int:
        """Records that programs sent: received, dropped, and those still in the ring buffer."""
        return self._before + self.ring.written + self.dropped

    _before = _dropped = 0

    def losses(self) -> dict[str, int]:
        return {"dropped_events": self.dropped}

    @property
    def is_closed(self) -> bool:
        """Whether the map was closed."""
        return self.fd.is_closed

    def fileno(self) -> int:
        """The number of a descriptor that becomes readable when the ring buffer fills up."""
        return self._epoll.fileno()

    def wait(self, timeout: float) -> None:
        """Sleep until the ring buffer fills up, for `timeout` seconds at most, and no longer than INTERVAL."""
        if not self.is_closed:
            self._epoll.poll(max(0.0, min(timeout, INTERVAL)))

    def close(self) -> None:
        """Close the map; its complete records stay readable."""
        if self.is_closed:
            return
        kept, self._before = self.ring.copy(), self.received
        self.ring.release()
        self.ring = kept
        _ = self.dropped
        self._give_back()
        for mapping in (self._own, self._theirs):
            try:
                mapping.close()
            except BufferError:  # an array on it is in use, and unmaps it when it goes
                continue
        self.fd.close()

    def _give_back(self) -> None:
        self._epoll.close()
        self._lost.close()
