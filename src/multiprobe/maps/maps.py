"""Reads the kernel's maps: arrays as shared memory, hash tables by system calls in batches.

NumPy is imported only by methods that return its arrays.
"""

from __future__ import annotations

from array import array
from operator import itemgetter
from typing import TYPE_CHECKING

from multiprobe.errors import KernelError, UsageError
from multiprobe.maps.layout import Layout
from multiprobe.maps.records import make_record, numpy_of
from multiprobe.maps.specs import Hash, LruHash, MapSpec, PerFunction, RowArray
from multiprobe.maps.types import LETTERS, NUMPY, Integer, i64, u64
from multiprobe.syscalls import bpf
from multiprobe.table import Table
from multiprobe.uapi.bpf import F_MMAPABLE, F_NO_PREALLOC, MapType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    import numpy as np
    import pandas
    import pyarrow
    from numpy.typing import NDArray

    from multiprobe.syscalls.fd import FileDescriptor
    from multiprobe.table import Table

_BATCH = 4096
_MASK = (1 << 64) - 1


class SharedArray:
    """A single-entry array map and its value as memory of this process. The base of whatever is laid out in it."""

    def __init__(self, size: int, *, name: str, fd: FileDescriptor | None = None) -> None:
        """Create the map, or take over `fd`."""
        self.size = size
        self.fd = fd or bpf.map_create(MapType.ARRAY, 4, size, 1, name=name, flags=F_MMAPABLE)
        try:
            self._mapping = bpf.map_memory(self.fd, size)
        except BaseException:
            self.fd.close()
            raise
        self.memory = memoryview(self._mapping)[:size]

    def close(self) -> None:
        """Unmap, and give the map back to the kernel. What was read before stays valid."""
        if not self.fd.is_closed:
            self.memory.release()
            self._mapping.close()
            self.fd.close()


class Tabular:
    """What can be read as a table of records."""

    def records(self) -> Table:
        """The contents as a Table."""
        raise NotImplementedError

    def to_pandas(self) -> pandas.DataFrame:
        """`records` as a DataFrame. Raises NotSupportedError without pandas."""
        return self.records().to_pandas()

    def to_arrow(self) -> pyarrow.Table:
        """`records` as an Arrow table. Raises NotSupportedError without pyarrow (`multiprobe[arrow]`)."""
        return self.records().to_arrow()


class ArrayMap(SharedArray, Tabular):
    """The open map of a PerFunction or Array; indices are those of functions, or of slots.

    Reads the map's memory, which it shares with the kernel: no system call, and no update is lost.
    """

    def __init__(self, spec: MapSpec, made: Layout, *, name: str, fd: FileDescriptor | None = None) -> None:
        super().__init__(made.value_size, name=name, fd=fd)
        self.spec = spec
        self.layout = made
        self._taken: Any = None

    @property
    def _first(self) -> int:
        return 1 if isinstance(self.spec, PerFunction) else 0

    def _rows(self) -> list[memoryview[int]]:
        made, size = self.layout, self.spec.value.size
        starts = [row * made.row_size for row in range(made.rows)]
        return [
            as_integers(self.memory[start + self._first * size : start + made.slots * size], self.spec.value)
            for start in starts
        ]

    def fill(self, values: array[int]) -> None:
        """Set every slot, on every CPU; `values`: one for each slot, an array of the map's own type."""
        for row in self._rows():
            row[:] = memoryview(values)

    def per_cpu(self) -> list[array[int]]:
        """A copy of the slots for each CPU, as array("Q") (for mp.u64; else the type's own code). Needs no NumPy.

        Where CPUs share rows, one for each row.
        """
        return [array(row.format, row.tobytes()) for row in self._rows()]

    def copies(self) -> list[bytes]:
        """The slots of each CPU as bytes, as they lie in memory; the fastest copy."""
        return [row.tobytes() for row in self._rows()]

    def totals(self) -> array[int]:
        """The values summed over CPUs, wrapped to 64 bits: array("Q"), or array("q") for signed types.

        Needs no NumPy.
        """
        rows = self._rows()
        letter = "q" if self.spec.value.is_signed else "Q"
        if len(rows) == 1:
            return array(letter, rows[0].tolist())
        try:
            return array(letter, map(sum, zip(*rows, strict=True)))
        except OverflowError:
            return array("Q", (sum(slot) & _MASK for slot in zip(*rows, strict=True)))

    def read(self, *, per_cpu: bool = False) -> NDArray[np.generic]:
        """A copy of the values: shape (slots,), summed over CPUs, or (CPUs, slots) with `per_cpu`.

        Where CPUs share rows, the first axis is as long as there are rows.
        """
        import numpy as np

        made, size = self.layout, self.spec.value.size
        flat: Any = np.frombuffer(
            self.memory, dtype=NUMPY[self.spec.value.name], count=made.rows * (made.row_size // size)
        )
        table = flat.reshape(made.rows, -1)[:, self._first : made.slots]
        if per_cpu:
            return np.array(table)
        if made.rows == 1:
            return np.array(table[0])
        return np.array(table.sum(axis=0, dtype=np.int64 if self.spec.value.is_signed else np.uint64))

    def take(self) -> NDArray[np.generic]:
        """What was added since the last `take` (or since attaching): shape (slots,), summed over CPUs.

        The counters are not reset: it returns differences, so that no update is lost or counted twice. For values that
        programs only add to.
        """
        import numpy as np

        now: Any = self.read(per_cpu=True)
        before, self._taken = self._taken, now
        added = now if before is None else now - before  # wraps, as the counters do
        return np.array(added.sum(axis=0, dtype=np.int64 if self.spec.value.is_signed else np.uint64))

    def unknown(self) -> int:
        """Counts that belong to no attached function: more than 0 is a defect."""
        if not self._first:
            return 0
        made, size = self.layout, self._first * self.spec.value.size
        starts = range(0, made.rows * made.row_size, made.row_size)
        return sum(sum(as_integers(self.memory[start:][:size], self.spec.value)) for start in starts)

    def records(self) -> Table:
        """A record for each slot: "index" (for PerFunction, of the function in the attachment) and "value"."""
        return Table({"index": place, "value": number} for place, number in enumerate(self.totals()))

    def clear(self) -> None:
        """Set everything to 0. Updates at the same moment may be lost."""
        self.memory[:] = bytes(self.size)


class RowArrayMap(ArrayMap):
    """The open map of a RowArray."""

    spec: RowArray

    def rows(self, first: int, stop: int) -> NDArray[np.uint64]:
        """A copy of some rows, shape (rows, width)."""
        return self._all()[first:stop].copy()

    def used_rows(self, place: int) -> NDArray[np.uint64]:
        """A copy of the rows whose value at `place` isn't 0, shape (rows, width)."""
        every = self._all()
        used: NDArray[np.uint64] = every[every[:, place] != 0]
        return used

    def _all(self) -> NDArray[np.uint64]:
        """The rows themselves: not to be kept."""
        import numpy as np

        n_rows, width = self.spec.n_rows, self.spec.width
        return np.frombuffer(self.memory, NUMPY[self.spec.value.name], count=n_rows * width).reshape(n_rows, width)


class HashMap(Tabular):
    """The open map of a Hash or LruHash. Reads in batches (BPF_MAP_LOOKUP_BATCH): thousands of keys a system call.

    All methods raise KernelError. While programs run, what is read is not from a single moment.
    """

    def __init__(self, spec: Hash, made: Layout, *, name: str, fd: FileDescriptor | None = None) -> None:
        self.spec = spec
        self.layout = made
        if isinstance(spec, LruHash):
            kind = MapType.LRU_PERCPU_HASH if spec.per_cpu else MapType.LRU_HASH
        else:
            kind = MapType.PERCPU_HASH if spec.per_cpu else MapType.HASH
        flags = 0 if spec.preallocated else F_NO_PREALLOC
        self.fd = fd or bpf.map_create(kind, made.key_size, made.value_size, made.max_entries, name=name, flags=flags)
        self._taken: dict[Any, int] = {}

    def as_dict(self) -> dict[Any, int]:
        """All keys (integers, strings, or tuples of them) with their values, summed over CPUs for `per_cpu` maps."""
        keys, values = self._all()
        return dict(zip(self._split(keys), self._sums(values), strict=True))

    def per_cpu(self) -> dict[Any, list[int]]:
        """All keys with their values for each CPU (one value for maps that CPUs share)."""
        keys, values = self._all()
        return dict(zip(self._split(keys), map(list, zip(*self._by_cpu(values), strict=True)), strict=True))

    def read(self) -> NDArray[np.void]:
        """`as_dict` as a structured array, shape (keys,): fields "key" (or "key0", "key1", …) and "value"."""
        import numpy as np

        keys, values = self._all()
        spec, names = self.spec, self._names()
        formats = [numpy_of(key) for key in spec.keys]
        layout = {"names": names, "formats": formats, "offsets": spec.key_offsets(), "itemsize": spec.key_size}
        source: Any = np.frombuffer(keys, dtype=np.dtype(layout))  # type: ignore[call-overload]
        number = ("i8" if spec.value.is_signed else "u8") if spec.per_cpu else NUMPY[spec.value.name]
        made = np.empty(len(source), dtype=[*zip(names, formats, strict=True), ("value", number)])
        for name in names:
            made[name] = source[name]
        made["value"] = self._sums(values)
        return made

    def take(self) -> dict[Any, int]:
        """What was added at each key since the last `take` (or since attaching), without keys where nothing was.

        It returns differences: no update is lost or counted twice. For values that programs only add to, at keys that
            no
        program deletes. Raises UsageError for an LruHash, whose keys the kernel removes.
        """
        if isinstance(self.spec, LruHash):
            raise UsageError(f"{self.spec!r} drops keys, and what they counted", hint="take from a Hash")
        now = self.as_dict()
        before, self._taken = self._taken, self._taken | now
        added = ((key, self.spec.value(number - before.get(key, 0))) for key, number in now.items())  # wraps as they do
        return {key: number for key, number in added if number}

    def clear(self) -> dict[Any, int]:
        """Remove all keys; returns them with their values.

        Updates that arrive meanwhile stay in the map, but one to a key that is being removed may be lost: `take` loses
            none.
        """
        keys, values = self._all(delete=True)
        self._taken = {}
        return dict(zip(self._split(keys), self._sums(values), strict=True))

    def records(self) -> Table:
        """A record for each key: "key" (or "key0", "key1", …) and "value"."""
        names = self._names()
        rows = ((key if self.spec.is_tuple else (key,), number) for key, number in self.as_dict().items())
        return Table(dict(zip(names, key, strict=True)) | {"value": number} for key, number in rows)

    def close(self) -> None:
        """Close the map's descriptor."""
        self.fd.close()

    def _names(self) -> list[str]:
        return [f"key{n}" for n in range(len(self.spec.keys))] if self.spec.is_tuple else ["key"]

    def _by_cpu(self, values: bytes) -> list[memoryview[int]]:
        """For each CPU the values of all keys."""
        numbers, step = as_integers(values, self.spec.value), self.layout.row_size // self.spec.value.size
        return [numbers[place::step] for place in range(0, step, step // self.layout.rows)]

    def _sums(self, values: bytes) -> list[int]:
        by_cpu = self._by_cpu(values)
        if not self.spec.per_cpu:
            return by_cpu[0].tolist()
        wrap = i64 if self.spec.value.is_signed else u64
        return [wrap(sum(numbers)) for numbers in zip(*by_cpu, strict=True)]

    def _split(self, keys: bytes) -> list[Any]:
        spec = self.spec
        if not spec.is_tuple and isinstance(spec.keys[0], Integer):
            return list(as_integers(keys, spec.keys[0]))
        record = make_record({f"key{n}": type_ for n, type_ in enumerate(spec.keys)})
        unpacked = record.form().iter_unpack(keys)
        make: Callable[[Iterable[Any]], Any] = tuple if spec.is_tuple else itemgetter(0)  # type: ignore[assignment]
        return list(record.decoder(make)(unpacked))

    def _all(self, *, delete: bool = False) -> tuple[bytes, bytes]:
        keys, values, position, count = [], [], None, min(_BATCH, self.layout.max_entries)
        while True:
            try:
                some, found, position = bpf.map_lookup_batch(
                    self.fd,
                    key_size=self.layout.key_size,
                    value_size=self.layout.row_size,
                    count=count,
                    position=position,
                    delete=delete,
                )
            except KernelError as error:
                if error.errno_name != "ENOSPC" or count >= 1 << 24:
                    raise
                count *= 2  # a bucket holds more than that
                continue
            keys.append(some)
            values.append(found)
            if position is None:
                return b"".join(keys), b"".join(values)


def as_integers(memory: bytes | memoryview, type_: Integer) -> memoryview[int]:
    """Memory as a sequence of integers."""
    letter: Any = LETTERS[type_.name]
    return memoryview(memory).cast(letter)


class OwnMap:
    """Base of the maps that lay out their memory themselves: created from their specs, closed as all others."""

    spec: MapSpec
    layout: Layout
    fd: FileDescriptor
    is_active = True
    """Whether programs may still add to it."""

    def constants(self, key: str) -> dict[str, int]:
        """Numbers to link a program with, by name, besides the descriptor. `key`: the map's name in the program."""
        return {}

    def losses(self) -> dict[str, int]:
        """Updates that were lost, by cause."""
        return {}

    def close(self) -> None:
        """Close the map's descriptor."""
        self.fd.close()
