"""Recorded calls as call trees, one for each thread. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from multiprobe.output.slices import Slice, TraceThread, Track

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from multiprobe.instruments.trace.instrument import TracedCall
    from multiprobe.output.slices import Argument


def tracks(calls: Iterable[TracedCall]) -> Iterator[Track]:
    """A track for each thread that made calls. Those without an end were in progress: later ones are inside of them."""
    threads: dict[tuple[int, int], list[TracedCall]] = {}
    for call in calls:
        threads.setdefault((call.tid, call.cpu if call.tid == 0 else -1), []).append(call)
    for (tid, cpu), made in sorted(threads.items()):
        last = made[-1]
        yield Track(TraceThread(last.pid, tid, last.comm, cpu=cpu), list(_slices(made)))


def _slices(calls: Iterable[TracedCall]) -> Iterator[Slice]:
    open_ends: list[int | None] = []
    for call in sorted(calls, key=lambda call: (call.begin, -(_end(call) or 1 << 64))):
        while open_ends and (end := open_ends[-1]) is not None and end <= call.begin:
            open_ends.pop()
        end = _end(call)
        yield Slice(str(call.function), call.begin, end, len(open_ends), _arguments(call))
        open_ends.append(end)


def _end(call: TracedCall) -> int | None:
    return None if call.duration is None else call.begin + call.duration


def _arguments(call: TracedCall) -> dict[str, Argument]:
    found: dict[str, Argument] = {name: _spelled(item) for name, item in call.arguments}
    return found if call.returned is None else found | {"=": _spelled(call.returned)}


def _spelled(item: object) -> Argument:
    return item if isinstance(item, int) and -(1 << 63) <= item < 1 << 64 else str(item)
