"""Map specs: inert declarations of maps, without kernel objects.

Several attachments can use a spec; each creates its own maps for it. Two specs are never equal, because they represent
different maps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from multiprobe.errors import UsageError
from multiprobe.maps.types import Integer, StringType, alignment

if TYPE_CHECKING:
    from typing import TypeAlias

    from multiprobe.maps.types import IntegerType

    Part: TypeAlias = int | str
    Key: TypeAlias = Part | tuple[Part, ...]
    PartType: TypeAlias = IntegerType | type[str] | StringType

MAX_VALUE_BYTES = 1 << 29
"""A program can reach at most this many bytes of one map value (BPF_MAX_VAR_OFF)."""

MAX_KEY = 128
KeyType = Integer | StringType


class MapSpec:
    """Base of all map specs. `value` is the type of what is stored."""

    __slots__ = ("value",)
    kind = ""

    def __init__(self, value: IntegerType) -> None:
        self.value = _checked_type(value)

    def shape(self) -> tuple[object, ...]:
        """Everything of the spec that compiled code depends on."""
        return (self.kind, self.value.name)

    def layout(self, n_functions: int, n_cpus: int) -> object:
        """The `Layout` for `n_functions` functions and `n_cpus` CPUs; None where `maps.layout` computes it."""
        return None


class PerFunction(MapSpec):
    """One slot per attached function and CPU, indexed by `ctx.function`; counters in it are exact.

    >>> calls = PerFunction(u64)

    value: the type of the counters
    shared: on a machine with many CPUs, several of them may share a row of slots, which bounds the memory. Programs can
        add to such slots, and replace them by `m[f] = max(m[f], x)` or `min`, but not assign to them otherwise.

    Raises UsageError for another type.
    """

    __slots__ = ("shared",)
    kind = "per_function"

    if TYPE_CHECKING:  # what programs write; in Python there is nothing to index

        def __getitem__(self, index: int) -> int: ...
        def __setitem__(self, index: int, value: int) -> None: ...

    def __init__(self, value: IntegerType, *, shared: bool = False) -> None:
        super().__init__(value)
        self.shared = bool(shared)

    def shape(self) -> tuple[object, ...]:
        return (*super().shape(), *(("shared",) if self.shared else ()))

    def __repr__(self) -> str:
        return f"PerFunction({self.value!r}{', shared=True' * self.shared})"


class Array(MapSpec):
    """`size` slots of type `value`, indexed from 0. Reading outside gives 0; writing there is counted as out_of_range.

    per_cpu: one set of slots for each CPU, of which a program sees its own and readers the sum; else CPUs share one

    Raises UsageError for a wrong type or size.
    """

    __slots__ = ("per_cpu", "size")
    kind = "array"

    if TYPE_CHECKING:  # in programs

        def __getitem__(self, index: int) -> int: ...
        def __setitem__(self, index: int, value: int) -> None: ...

    def __init__(self, value: IntegerType, size: int, *, per_cpu: bool = False) -> None:
        super().__init__(value)
        self.size = _checked_count(size, "size")
        self.per_cpu = bool(per_cpu)
        if self.size * self.value.size > MAX_VALUE_BYTES:
            raise UsageError(f"an array of {size} × {value!r} is larger than {MAX_VALUE_BYTES >> 20} MB")

    def shape(self) -> tuple[object, ...]:
        return (self.kind, self.value.name, self.size, *(("per_cpu",) if self.per_cpu else ()))

    def __repr__(self) -> str:
        return f"Array({self.value!r}, {self.size}{', per_cpu=True' * self.per_cpu})"


class RowArray(Array):
    """`n_rows` rows of `width` values: `calls[row, place]`. One look-up finds all values of a row.

    >>> calls = RowArray(u64, 1000, width=3)

    In a program, a row that isn't there ends the program, which is counted as out_of_range.
    `calls[row, place] = ctx.comm` stores a string in the values from there on, which have 8 bytes; the place must be
    known when compiling. `fetch_add` and `compare_exchange` change a value of 4 or 8 bytes in one atomic step.
    """

    __slots__ = ("n_rows", "width")
    kind = "row_array"

    if TYPE_CHECKING:  # in programs

        def __getitem__(self, index: tuple[int, int]) -> int: ...  # type: ignore[override]
        def __setitem__(self, index: tuple[int, int], value: int | str) -> None: ...  # type: ignore[override]

    def __init__(self, value: IntegerType, n_rows: int, *, width: int) -> None:
        self.n_rows = _checked_count(n_rows, "n_rows")
        self.width = _checked_count(width, "width")
        super().__init__(value, self.n_rows * self.width)

    def fetch_add(self, key: tuple[int, int], n: int) -> int:
        """In a program: add to a value in one atomic step; yields what it was before.

        In Python it raises UsageError.
        """
        raise UsageError("values are changed by programs", hint="attach one that calls fetch_add(…)")

    def compare_exchange(self, key: tuple[int, int], before: int, after: int) -> int:
        """In a program: store `after` where `before` is, in one atomic step; yields what the value was before.

        In Python it raises UsageError.
        """
        raise UsageError("values are changed by programs", hint="attach one that calls compare_exchange(…)")

    def shape(self) -> tuple[object, ...]:
        return (*super().shape(), self.width)

    def __repr__(self) -> str:
        return f"RowArray({self.value!r}, {self.n_rows}, width={self.width})"


class Hash(MapSpec):
    """A hash table from integers or strings, or tuples of them, to integers.

    >>> seen = Hash((u32, u64), u64, max_entries=10_000)

    key, value: types (`mp.u64`, `mp.string(16)`); a tuple of types for keys of several parts
    max_entries: the largest number of keys; updates beyond are counted as full_maps
    per_cpu: each CPU has values of its own, of which a program sees its own and readers the sum
    preallocated: memory for all keys is taken at once; if False, that of a key when it is created

    In a program, a missing key reads as 0; `h[k] += v` creates it. Raises UsageError for a wrong type or size.
    """

    __slots__ = ("is_tuple", "keys", "max_entries", "per_cpu", "preallocated")
    kind = "hash"

    if TYPE_CHECKING:  # in programs

        def __getitem__(self, key: Key) -> int: ...
        def __setitem__(self, key: Key, value: int) -> None: ...
        def __delitem__(self, key: Key) -> None: ...
        def __contains__(self, key: Key) -> bool: ...

    def __init__(
        self,
        key: PartType | tuple[PartType, ...],
        value: IntegerType,
        max_entries: int = 10_240,
        *,
        per_cpu: bool = False,
        preallocated: bool = True,
    ) -> None:
        super().__init__(value)
        if not preallocated and self.kind == LruHash.kind:
            raise UsageError("an LruHash is always preallocated", hint="a Hash need not be")
        self.per_cpu = bool(per_cpu)
        self.preallocated = bool(preallocated)
        self.is_tuple = isinstance(key, tuple)
        self.keys = tuple(_checked_key(part) for part in (key if isinstance(key, tuple) else (key,)))
        if not self.keys:
            raise UsageError("a key needs at least one type")
        if self.key_size > MAX_KEY:
            raise UsageError(f"a key of {self.key_size} bytes is too large", hint=f"{MAX_KEY} bytes are the most")
        self.max_entries = _checked_count(max_entries, "max_entries")

    def shape(self) -> tuple[object, ...]:
        return (self.kind, self.value.name, self.is_tuple, tuple(map(repr, self.keys)))

    def key_offsets(self) -> tuple[int, ...]:
        """Bytes from the start of a key to each of its parts: in order, each aligned as in C."""
        offsets, end = [], 0
        for part in self.keys:
            end = -(-end // alignment(part)) * alignment(part)
            offsets.append(end)
            end += part.size
        return tuple(offsets)

    @property
    def key_size(self) -> int:
        """Bytes of a key, padded to its widest part (the padding is zero)."""
        widest = max(map(alignment, self.keys))
        return -(-(self.key_offsets()[-1] + self.keys[-1].size) // widest) * widest

    def __repr__(self) -> str:
        keys = f"({', '.join(map(repr, self.keys))},)" if self.is_tuple else repr(self.keys[0])
        options = ", per_cpu=True" * self.per_cpu + ", preallocated=False" * (not self.preallocated)
        return f"Hash({keys}, {self.value!r}, max_entries={self.max_entries}{options})"


class LruHash(Hash):
    """A Hash that never fills up: the kernel removes the keys least recently used (approximately, by CPU).

    Their values are lost, and the kernel does not report how many keys it removed. It is always preallocated.
    """

    __slots__ = ()
    kind = "lru_hash"

    def __repr__(self) -> str:
        return f"Lru{super().__repr__()}"


def _checked_type(candidate: object) -> Integer:
    if not isinstance(candidate, Integer):
        raise UsageError(f"{candidate!r} is not an integer type", hint="use mp.u8 … mp.u64, mp.i8 … mp.i64 or mp.bool_")
    return candidate


def _checked_key(candidate: object) -> KeyType:
    return candidate if isinstance(candidate, StringType) else _checked_type(candidate)


def _checked_count(number: object, name: str) -> int:
    if not isinstance(number, int) or isinstance(number, bool) or not 0 < number < 1 << 31:
        raise UsageError(f"{name} must be a positive integer, not {number!r}")
    return number
