"""What a user declares: maps as inert values, without any kernel object behind them.

A spec can serve several attachments at once; each opens maps of its own for it. Two specs are never equal, however
alike: they stand for different maps. Must not know programs, descriptors or system calls.
"""

from __future__ import annotations

from multiprobe.errors import UsageError
from multiprobe.maps.types import Integer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_VALUE_BYTES = 1 << 29
"""A program can reach at most this many bytes of one map value (BPF_MAX_VAR_OFF)."""


class MapSpec:
    """Base of all map specs. `value` is the type of what is stored."""

    __slots__ = ("value",)
    kind = ""

    def __init__(self, value: Integer) -> None:
        self.value = _checked_type(value)

    def shape(self) -> tuple[object, ...]:
        """All that the code of a program depends on."""
        return (self.kind, self.value.name)

    if TYPE_CHECKING:  # what programs write; here there is nothing to index

        def __getitem__(self, index: Any) -> Any: ...
        def __setitem__(self, index: Any, item: Any) -> None: ...


class PerFunction(MapSpec):
    """One slot per attached function and CPU, indexed by `ctx.function`; counters in it are exact.

    >>> calls = PerFunction(u64)
    """

    __slots__ = ()
    kind = "per_function"

    def __repr__(self) -> str:
        return f"PerFunction({self.value!r})"


class Array(MapSpec):
    """`size` slots shared by all CPUs, indexed from 0. Reading outside gives 0; writing outside is counted as lost."""

    __slots__ = ("size",)
    kind = "array"

    def __init__(self, value: Integer, size: int) -> None:
        super().__init__(value)
        self.size = _checked_count(size, "size")
        if self.size * value.size > MAX_VALUE_BYTES:
            raise UsageError(f"an array of {size} × {value!r} is larger than {MAX_VALUE_BYTES >> 20} MB")

    def shape(self) -> tuple[object, ...]:
        return (self.kind, self.value.name, self.size)

    def __repr__(self) -> str:
        return f"Array({self.value!r}, {self.size})"


class Hash(MapSpec):
    """A hash table from integers, or tuples of integers, to integers; at most `max_entries` keys.

    Reading a missing key gives 0; `h[k] += v` creates it. What finds no room is counted as lost.

    >>> seen = Hash((u32, u64), u64, max_entries=10_000)
    """

    __slots__ = ("is_tuple", "keys", "max_entries")
    kind = "hash"

    def __init__(self, key: Integer | tuple[Integer, ...], value: Integer, max_entries: int = 10_240) -> None:
        super().__init__(value)
        self.is_tuple = isinstance(key, tuple)
        self.keys = tuple(_checked_type(part) for part in (key if isinstance(key, tuple) else (key,)))
        if not self.keys:
            raise UsageError("a key needs at least one integer type")
        self.max_entries = _checked_count(max_entries, "max_entries")

    def shape(self) -> tuple[object, ...]:
        return (self.kind, self.value.name, self.is_tuple, tuple(key.name for key in self.keys))

    def key_offsets(self) -> tuple[int, ...]:
        """Where each part of the key lies: naturally aligned, in order."""
        offsets, end = [], 0
        for part in self.keys:
            end = -(-end // part.size) * part.size
            offsets.append(end)
            end += part.size
        return tuple(offsets)

    @property
    def key_size(self) -> int:
        """Bytes of a key, padded to its widest part (the padding is zero)."""
        widest = max(part.size for part in self.keys)
        return -(-(self.key_offsets()[-1] + self.keys[-1].size) // widest) * widest

    def __repr__(self) -> str:
        keys = f"({', '.join(map(repr, self.keys))},)" if self.is_tuple else repr(self.keys[0])
        return f"Hash({keys}, {self.value!r}, max_entries={self.max_entries})"


def _checked_type(candidate: object) -> Integer:
    if not isinstance(candidate, Integer):
        raise UsageError(f"{candidate!r} is not an integer type", hint="use mp.u8 … mp.u64, mp.i8 … mp.i64 or mp.bool_")
    return candidate


def _checked_count(number: object, name: str) -> int:
    if not isinstance(number, int) or isinstance(number, bool) or not 0 < number < 1 << 31:
        raise UsageError(f"{name} must be a positive integer, not {number!r}")
    return number
