"""`EventReader`: receives events as arrays, as objects, or asynchronously; returned by `attachment.events(…)`."""

from __future__ import annotations

from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Generic

from multiprobe.maps.events import EventT
from multiprobe.maps.ringbuf import INTERVAL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    import numpy as np
    from numpy.typing import NDArray

    from multiprobe.maps.ringbuf import RingBufferMap


class EventReader(Generic[EventT]):
    """The events of one RingBuffer of an attachment; from `attachment.events(spec)`.

    `for` and `async for` yield instances of its Event class, in the order in which programs sent them. Iteration ends
    when the attachment is paused or closed and everything is read, after `timeout` seconds, or when `stop` is called.
    All readers of a RingBuffer share it: each event is returned once.
    """

    def __init__(self, opened: RingBufferMap[EventT], *, timeout: float | None = None) -> None:
        self._map = opened
        self._timeout = timeout
        self._is_stopped = False

    @property
    def received(self) -> int:
        """Events read so far, by all readers."""
        return self._map.received

    @property
    def dropped(self) -> int:
        """Events that were lost because the ring buffer was full."""
        return self._map.dropped

    @property
    def sent(self) -> int:
        """Events that programs sent: received, dropped, and those still in the ring buffer."""
        return self._map.sent

    def read(self, *, timeout: float = 0) -> NDArray[np.void]:
        """New events, as a structured array of shape (n,); waits up to `timeout` seconds for the first one.

        Fields are as declared, strings as bytes. n is 0 if none came.
        """
        self._await_first(timeout)
        with self.view() as found:
            return found.copy()

    @contextmanager
    def view(self) -> Iterator[NDArray[np.void]]:
        """A context manager: new events, as a structured array of shape (n,) in the ring buffer's own memory.

        They are removed when the block is left; the array must not be used afterwards.
        """
        ring = self._map.ring
        n = ring.ready()
        yield ring.array(n)
        ring.advance(n)

    def take(self, *, timeout: float = 0) -> list[EventT]:
        """New events, as a list of Event instances; waits up to `timeout` seconds for the first one."""
        self._await_first(timeout)
        ring = self._map.ring
        n = ring.ready()
        found = list(ring.objects(n))
        ring.advance(n)
        return found

    def stop(self) -> None:
        """End iteration; events stay in the ring buffer. May be called by another thread or a signal handler."""
        self._is_stopped = True

    def _await_first(self, timeout: float) -> None:
        end = monotonic() + timeout
        while not self._map.ring.ready(1) and not self._is_final() and monotonic() < end:
            self._map.wait(end - monotonic())

    def _is_final(self) -> bool:
        """Whether nothing more will come than what is in the ring."""
        return self._map.is_closed or not self._map.is_active

    def __iter__(self) -> Iterator[EventT]:
        end = None if self._timeout is None else monotonic() + self._timeout
        while not self._is_stopped:
            left = 60.0 if end is None else end - monotonic()
            is_final = self._is_final()
            found = self.take()
            yield from found
            if left <= 0 or (is_final and not found):
                return
            if not is_final:
                self._map.wait(left)

    async def __aiter__(self) -> AsyncIterator[EventT]:
        end = None if self._timeout is None else monotonic() + self._timeout
        while not self._is_stopped:
            left = 60.0 if end is None else end - monotonic()
            is_final = self._is_final()
            found = self.take()
            for event in found:
                yield event
            if left <= 0 or (is_final and not found):
                return
            if not is_final:
                await self._sleep(left)

    async def _sleep(self, timeout: float) -> None:
        """`RingBufferMap.wait`, while other tasks run."""
        import asyncio

        if self._map.is_closed:
            return
        loop, woken = asyncio.get_running_loop(), asyncio.Event()
        descriptor = self._map.fileno()
        loop.add_reader(descriptor, woken.set)
        try:
            await asyncio.wait_for(woken.wait(), max(0.0, min(timeout, INTERVAL)))
        except TimeoutError:
            pass
        finally:
            loop.remove_reader(descriptor)
        self._map.wait(0)
