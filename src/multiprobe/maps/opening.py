"""Creates the kernel map that a spec describes."""

from __future__ import annotations

from typing import Any

from multiprobe.errors import UsageError
from multiprobe.maps.events import RingBuffer
from multiprobe.maps.histogram import Histogram, HistogramMap
from multiprobe.maps.layout import Layout
from multiprobe.maps.maps import ArrayMap, HashMap, RowArrayMap
from multiprobe.maps.ringbuf import RingBufferMap
from multiprobe.maps.specs import Hash, MapSpec, RowArray
from multiprobe.maps.stacks import StackTraces, StackTracesMap
from multiprobe.maps.tasks import PerTask, PerTaskMap

Map = ArrayMap | HashMap | RingBufferMap[Any] | StackTracesMap | PerTaskMap


def open_map(spec: MapSpec, made: Layout, *, name: str = "") -> Map:
    """Create the map in the kernel. The caller closes it."""
    label = name or spec.kind
    if isinstance(spec, RingBuffer):
        return RingBufferMap(spec, made, name=label)
    if isinstance(spec, StackTraces):
        return StackTracesMap(spec, made, name=label)
    if isinstance(spec, PerTask):
        return PerTaskMap(spec, made, name=label)
    if isinstance(spec, Hash):
        return HashMap(spec, made, name=label)
    if not made.is_mapped:
        raise UsageError(f"{spec!r} and its layout don't go together")
    if isinstance(spec, RowArray):
        return RowArrayMap(spec, made, name=label)
    return HistogramMap(spec, made, name=label) if isinstance(spec, Histogram) else ArrayMap(spec, made, name=label)
