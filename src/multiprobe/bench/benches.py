"""The kinds of measurements, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from multiprobe.bench import attaching, hitting, memory, receiving, starting
from multiprobe.bench.figures import Figure, Task

BENCHES: dict[str, Callable[[Task], Iterator[Figure]]] = {
    "attach": attaching.measure,
    "hit": hitting.measure,
    "events": receiving.measure,
    "start": starting.measure,
    "memory": memory.measure,
}
