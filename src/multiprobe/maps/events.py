"""Declares event types and the ring buffers that carry them from programs to Python. No system calls."""

from __future__ import annotations

import sys
from operator import itemgetter
from typing import TYPE_CHECKING, Generic, TypeVar

from multiprobe.errors import UsageError
from multiprobe.maps.layout import Layout
from multiprobe.maps.records import RecordLayout, make_record
from multiprobe.maps.specs import MapSpec
from multiprobe.maps.types import FIELD_TYPES, u64

if TYPE_CHECKING:
    from types import FrameType
    from typing import Any, ClassVar, Self

HEADER_SIZE = 8
"""What the kernel puts in front of each record of a ring buffer (struct bpf_ringbuf_hdr)."""
MIN_SIZE, MAX_SIZE, DEFAULT_SIZE = 1 << 12, 1 << 30, 1 << 22


class Event(tuple["Any", ...]):
    """Base class of event types: annotations are the fields; an instance is an immutable named tuple.

    >>> class Open(Event):
    ...     pid: u32
    ...     name: Annotated[str, string(64)]

    Field types: mp.u8 … mp.u64, mp.i8 … mp.i64, mp.bool_, mp.string(size) (a str in Python), mp.bytes_(size) and
    mp.array_of(type, length) (bytes, and a tuple). Each is aligned to its size, as in C. `name: string(64)` is the
    same; type checkers want the type in Python first, with `Annotated` (of the module typing).
    """

    __slots__ = ()
    record_: ClassVar[RecordLayout]
    names_: ClassVar[tuple[str, ...]]

    def __init_subclass__(cls) -> None:
        inherited = {} if cls.__base__ is Event else {field.name: field.type for field in cls.record_.fields}
        fields = inherited | _annotations(cls, sys._getframe(1))
        for name in fields:
            if name.startswith("_") or name in ("record_", "names_", "as_dict"):
                raise UsageError(f"invalid field name {name!r}")
        cls.record_ = make_record(fields)
        for place, name in enumerate(fields):
            setattr(cls, name, property(itemgetter(place)))
        cls.names_ = tuple(fields)
        setattr(cls, "__match_args__", cls.names_)  # noqa: B010  (typing knows it for tuples of fixed length only)

    def __new__(cls, *values: object, **named: object) -> Self:
        """Fields in order, or by name."""
        names = cls.names_
        given = dict(zip(names, values, strict=False)) | named
        if len(values) > len(names) or len(values) + len(named) != len(given) or given.keys() != set(names):
            raise UsageError(f"{cls.__name__} takes {', '.join(names)}")
        return super().__new__(cls, [given[name] for name in names])

    def as_dict(self) -> dict[str, object]:
        """The fields by name."""
        return dict(zip(type(self).names_, self, strict=True))

    def __getnewargs__(self) -> tuple[Any, ...]:
        return tuple(self)

    def __repr__(self) -> str:
        fields = zip(type(self).names_, self, strict=True)
        return f"{type(self).__name__}({', '.join(f'{name}={item!r}' for name, item in fields)})"


def _annotations(cls: type, frame: FrameType) -> dict[str, object]:
    """The class's own annotations, evaluated where it stands when they are text (`from __future__ import …`)."""
    found = dict(cls.__dict__.get("__annotations__", {}))  # noqa: RUF063  (inspect is a slow import)
    for name, item in found.items():
        if isinstance(item, str):
            try:
                found[name] = eval(item, frame.f_globals, dict(frame.f_locals))
            except NameError as error:
                raise UsageError(f"field {name!r} of {cls.__name__}: {error}") from error
        for part in getattr(found[name], "__metadata__", ()):  # Annotated[str, string(16)]
            if isinstance(part, FIELD_TYPES):
                found[name] = part
    return found


EventT = TypeVar("EventT", bound=Event)


class RingBuffer(MapSpec, Generic[EventT]):
    """Events from programs to Python, in the order in which they were sent.

    >>> opens = RingBuffer(Open)

    event: a subclass of mp.Event; size: bytes, rounded up to a power of two. An event takes its size and 8 bytes more,
        rounded up to 8.

    In a program, `opens.send(pid=ctx.pid, name=…)`; an event that doesn't fit is counted as dropped. Raises UsageError
    for another class, and for a size that is too small or too large.
    """

    __slots__ = ("event", "size")
    kind = "ring_buffer"

    def __init__(self, event: type[EventT], *, size: int = DEFAULT_SIZE) -> None:
        super().__init__(u64)
        if not (isinstance(event, type) and issubclass(event, Event) and event is not Event):
            raise UsageError(
                f"{event!r} is not an event class", hint="class Open(mp.Event): …, then mp.RingBuffer(Open)"
            )
        if not isinstance(size, int) or isinstance(size, bool) or not 0 < size <= MAX_SIZE:
            raise UsageError(f"invalid size={size!r}: expected bytes, at most {MAX_SIZE >> 20} MB")
        self.event = event
        self.size = max(MIN_SIZE, 1 << (size - 1).bit_length())
        if self.stride > self.size // 2:
            raise UsageError(
                f"a record of {self.stride} bytes is too large for a ring buffer of {self.size}", hint="give it a size="
            )

    @property
    def record(self) -> RecordLayout:
        """The offset and type of each field."""
        return self.event.record_

    @property
    def stride(self) -> int:
        """Bytes from one event in the ring buffer to the next."""
        return HEADER_SIZE + -(-self.record.size // 8) * 8

    def shape(self) -> tuple[object, ...]:
        return (self.kind, self.record.shape(), self.size)

    def layout(self, n_functions: int, n_cpus: int) -> Layout:
        return Layout(0, 0, self.size, False)

    def send(self, **fields: object) -> bool:
        """In a program: send an event, `ring.send(field=…)`, with every field. In Python it raises UsageError."""
        raise UsageError("events are sent by programs", hint="attach one that calls send(…)")

    def __repr__(self) -> str:
        return f"RingBuffer({self.event.__name__}, size={self.size})"
