"""Call trees as a Perfetto trace (https://ui.perfetto.dev), in its native format: a file of TracePackets.

The numbers of the messages' fields are those of Perfetto's protos/perfetto/trace/trace_packet.proto and
track_event/*.proto, and never change. Its readers expect one track per thread, begin and end of each slice in order,
and names interned. Times are CLOCK_MONOTONIC's ns, and the file says so. A slice whose end wasn't seen carries the
argument `end_seen` = false: it stays open at the end of its track, or ends where the next thing seen shows that it must
have.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from multiprobe.output.protobuf import message, number, text
from multiprobe.output.slices import Slice, TraceThread, Track, walk

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import BinaryIO

    from multiprobe.output.slices import Argument

_PACKET = 1  # of Trace
_CLOCKS, _TIMESTAMP, _SEQUENCE, _EVENT, _INTERNED, _FLAGS, _DEFAULTS, _DESCRIPTOR = 6, 8, 10, 11, 12, 13, 59, 60
_STATE_CLEARED, _NEEDS_STATE = 1, 2
_BEGIN, _END = 1, 2
_MONOTONIC, _BOOTTIME = 3, 6  # builtin clocks
_CATEGORY = 1  # its interned id
_ONE_SEQUENCE = number(_SEQUENCE, 1)
_UUID_BITS = 32


def write_perfetto(tracks: Iterable[Track], file: BinaryIO, *, category: str = "kernel", boottime: int = 0) -> None:
    """Write a trace of these threads.

    category: of all slices
    boottime: how many ns CLOCK_BOOTTIME is ahead of CLOCK_MONOTONIC (the time that the machine was suspended)
    """
    file.writelines(message(_PACKET, packet) for packet in _packets(tracks, category, boottime))


def _packets(tracks: Iterable[Track], category: str, boottime: int) -> Iterator[bytes]:
    names = _InternedNames()
    yield _clock_packet(boottime)
    yield (
        _ONE_SEQUENCE
        + number(_FLAGS, _STATE_CLEARED)
        + message(_DEFAULTS, number(58, _MONOTONIC))
        + message(_INTERNED, message(1, number(1, _CATEGORY), text(2, category)))
    )
    processes: set[int] = set()
    for track in tracks:
        thread = track.thread
        if thread.cpu < 0 and thread.pid not in processes:
            processes.add(thread.pid)
            yield _ONE_SEQUENCE + message(_DESCRIPTOR, *_process(thread))
        yield _ONE_SEQUENCE + message(_DESCRIPTOR, *_thread(thread))
        yield from _slices(track, names)


def _clock_packet(boottime: int) -> bytes:
    """Two clocks at one moment, so that the trace can be laid beside others; the trace itself counts in MONOTONIC."""
    clocks = (_MONOTONIC, 1 << 40), (_BOOTTIME, (1 << 40) + boottime)
    snapshot = [message(1, number(1, clock), number(2, time)) for clock, time in clocks]
    return _ONE_SEQUENCE + message(_CLOCKS, *snapshot, number(2, _MONOTONIC))


def _process(thread: TraceThread) -> tuple[bytes, ...]:
    name = thread.process or thread.name
    return number(1, _process_uuid(thread.pid)), message(3, number(1, thread.pid), text(6, name))


def _thread(thread: TraceThread) -> tuple[bytes, ...]:
    uuid = number(1, _thread_uuid(thread))
    if thread.cpu >= 0:  # an idle task: Perfetto takes all of id 0 for one thread
        return uuid, text(2, thread.name)
    described = number(1, thread.pid), number(2, thread.tid), text(5, thread.name)
    return uuid, number(5, _process_uuid(thread.pid)), message(4, *described)


def _process_uuid(pid: int) -> int:
    return 1 << _UUID_BITS | pid & 0xFFFFFFFF


def _thread_uuid(thread: TraceThread) -> int:
    if thread.cpu >= 0:
        return 3 << _UUID_BITS | thread.cpu
    return 2 << _UUID_BITS | thread.tid & 0xFFFFFFFF


def _slices(track: Track, names: _InternedNames) -> Iterator[bytes]:
    uuid = number(11, _thread_uuid(track.thread))
    head = _ONE_SEQUENCE + number(_FLAGS, _NEEDS_STATE)
    end = message(_EVENT, uuid, number(9, _END))
    now = unended = 0
    for begins, ends in walk(track.slices):
        seen = begins.begin if begins is not None else ends.end if ends is not None else None
        if seen is None:
            unended += 1
            continue
        now = max(now, seen)
        yield from [head + number(_TIMESTAMP, now) + end] * unended  # an end ends the innermost: those come first
        unended = 0
        if begins is None:
            yield head + number(_TIMESTAMP, now) + end
        else:
            event = _begin(begins, names)
            yield head + names.take_new() + number(_TIMESTAMP, now) + message(_EVENT, uuid, event)


def _begin(slice_: Slice, names: _InternedNames) -> bytes:
    """The fields of a TrackEvent that begins a slice."""
    known = slice_.arguments if slice_.end is not None else {**slice_.arguments, "end_seen": False}
    arguments = b"".join(_annotations(known, names))
    return number(9, _BEGIN) + number(3, _CATEGORY) + number(10, names.event(slice_.name)) + arguments


def _annotations(arguments: Mapping[str, Argument], names: _InternedNames) -> Iterator[bytes]:
    for name, item in arguments.items():
        key = number(1, names.annotation(name))
        if isinstance(item, bool):
            yield message(4, key, number(2, item))
        elif isinstance(item, int):
            yield message(4, key, number(4, item) if item < 1 << 63 else number(3, item))
        else:
            yield message(4, key, text(6, item))


class _InternedNames:
    """Names by number: each is written once, with the first packet that uses it."""

    def __init__(self) -> None:
        self._events: dict[str, int] = {}
        self._annotations: dict[str, int] = {}
        self._new: list[bytes] = []

    def event(self, name: str) -> int:
        return self._number(self._events, name, 2)

    def annotation(self, name: str) -> int:
        return self._number(self._annotations, name, 3)

    def _number(self, known: dict[str, int], name: str, field: int) -> int:
        found = known.get(name)
        if found is None:
            found = known[name] = len(known) + 1
            self._new.append(message(field, number(1, found), text(2, name)))
        return found

    def take_new(self) -> bytes:
        """Those not written yet, as a field of a packet."""
        if not self._new:
            return b""
        made = message(_INTERNED, *self._new)
        self._new.clear()
        return made
