"""Histograms, for each function on request: the spec and the map."""

from __future__ import annotations

from math import isinf
from typing import TYPE_CHECKING

from multiprobe.errors import UsageError
from multiprobe.maps.buckets import Buckets, Linear, Log2, Percentile, percentiles
from multiprobe.maps.layout import Layout, hot_layout, rows_layout
from multiprobe.maps.maps import ArrayMap, as_integers
from multiprobe.maps.rows import TABLE, hot_rows
from multiprobe.maps.specs import MapSpec
from multiprobe.maps.types import NUMPY, u32, u64
from multiprobe.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    from numpy.typing import NDArray

    from multiprobe.maps.types import IntegerType
    from multiprobe.syscalls.fd import FileDescriptor
    from multiprobe.table import Table


class Histogram(MapSpec):
    """Counts of numbers by bucket, exact: each CPU has its own counters, or adds atomically to those it shares.

    >>> sizes = Histogram()
    >>> times = Histogram(log2(bits=3), per_function=True)

    buckets: `mp.log2()` (powers of two) or `mp.linear(low, high, step)`
    per_function: a histogram for each function; in a program, `times.add(ctx.function, number)`
    counter: the type of the counters, mp.u64 or mp.u32

    Raises UsageError for others.
    """

    __slots__ = ("buckets", "per_function")
    kind = "histogram"

    def __init__(
        self, buckets: Buckets | None = None, *, per_function: bool = False, counter: IntegerType = u64
    ) -> None:
        super().__init__(counter)
        if counter not in (u64, u32):
            raise UsageError(f"invalid counter={counter!r}: expected mp.u64 or mp.u32")
        if buckets is not None and not isinstance(buckets, Log2 | Linear):
            raise UsageError(f"invalid buckets={buckets!r}: expected mp.log2() or mp.linear(low, high, step)")
        self.buckets: Buckets = buckets or Log2()
        self.per_function = bool(per_function)

    def shape(self) -> tuple[object, ...]:
        return (self.kind, self.value.name, repr(self.buckets), self.per_function)

    def layout(self, n_functions: int, n_cpus: int) -> Layout:
        n, size = self.buckets.n_buckets, self.buckets.n_buckets * self.value.size
        if not self.per_function:
            return rows_layout(self, n, n_functions, n_cpus)
        slots = (n_functions + 1) * n  # the first histogram: a function that isn't known
        hot = hot_rows(size, n_functions, n_cpus)
        if hot is not None:
            return hot_layout(self, slots, n_functions, hot)
        return rows_layout(self, slots, n_functions, n_cpus)

    def add(self, *values: int) -> None:
        """In a program: count a number, `h.add(number)`, or `h.add(ctx.function, number)`.

        In Python it raises UsageError.
        """
        raise UsageError("histograms are filled by programs", hint="attach one that calls add(…)")

    def percentiles(self, counts: Iterable[int], percents: Iterable[float] = (50, 90, 99)) -> list[Percentile]:
        """The numbers below which `percents` (0 to 100) of all lie, from the `counts` of one histogram's buckets.

        A Percentile for each: the bounds of its bucket, and an estimate inside. Empty if all counts are 0. Raises
            UsageError.
        """
        return percentiles(self.buckets, counts, percents)

    def __repr__(self) -> str:
        more = (", per_function=True" if self.per_function else "") + (", counter=u32" if self.value.size == 4 else "")
        return f"Histogram({self.buckets!r}{more})"


class HistogramMap(ArrayMap):
    """The open map of a Histogram. Reads the map's memory: no system call."""

    spec: Histogram

    def __init__(self, spec: Histogram, made: Layout, *, name: str, fd: FileDescriptor | None = None) -> None:
        super().__init__(spec, made, name=name, fd=fd)

    @property
    def _first(self) -> int:
        return self.spec.buckets.n_buckets if self.spec.per_function else 0

    def _rows(self) -> list[memoryview[int]]:
        if self.layout.hot_rows is None:
            return super()._rows()
        return [as_integers(self._totals()[self._first :].tobytes(), u64)]  # type: ignore[arg-type]

    def _totals(self) -> NDArray[np.uint64]:
        """With hot rows: what all CPUs counted, by function (the unknown one first) and bucket, in one dimension."""
        import numpy as np

        hot, n, name = self.layout.hot_rows, self.spec.buckets.n_buckets, NUMPY[self.spec.value.name]
        assert hot is not None
        n_all = self.layout.slots // n
        numbers = np.frombuffer(self.memory, dtype=np.uint32, count=n_all, offset=TABLE).astype(np.int64)
        cold = np.frombuffer(self.memory, dtype=name, count=n_all * n, offset=hot.cold).reshape(n_all, n)
        found: NDArray[np.uint64] = cold.astype(np.uint64)
        called = np.flatnonzero((numbers > 0) & (numbers <= hot.n))
        for row in range(hot.rows):
            start = hot.hot + row * hot.size
            counts = np.frombuffer(self.memory, dtype=name, count=hot.n * n, offset=start).reshape(hot.n, n)
            found[called] += counts[numbers[called] - 1]
        return found.reshape(-1)

    def read(self, *, per_cpu: bool = False) -> NDArray[np.generic]:
        """Counts, summed over CPUs: shape (buckets,), or (functions, buckets) for a histogram with `per_function`.

        With `per_cpu`, one axis more in front: (CPUs, …), of length 1 where CPUs share counters.
        """
        flat: NDArray[np.generic]
        if self.layout.hot_rows is None:
            flat = super().read(per_cpu=per_cpu)
        else:
            flat = self._totals()[self._first :]
            flat = flat.reshape(1, -1) if per_cpu else flat
        if not self.spec.per_function:
            return flat
        return flat.reshape(*flat.shape[:-1], -1, self.spec.buckets.n_buckets)

    def clear(self) -> None:
        """Set all counts to 0. Updates at the same moment may be lost."""
        hot = self.layout.hot_rows
        start = 0 if hot is None else hot.cold  # functions keep their hot rows
        self.memory[start:] = bytes(self.size - start)

    def bounds(self) -> NDArray[np.float64]:
        """The lowest number in each bucket, and the first one above it: shape (buckets, 2)."""
        import numpy as np

        return np.array(self.spec.buckets.bounds(), dtype=np.float64)

    def records(self) -> Table:
        """A record for each bucket with a count: "low", "high" (exclusive; None: no bound), "count".

        With `per_function`, the function's "index" comes first.
        """
        bounds = [
            (None if isinf(low) else low, None if isinf(high) else high) for low, high in self.spec.buckets.bounds()
        ]
        made = []
        for place, count in enumerate(self.totals()):
            if count:
                index, bucket = divmod(place, len(bounds))
                of = {"index": index} if self.spec.per_function else {}
                made.append(of | {"low": bounds[bucket][0], "high": bounds[bucket][1], "count": count})
        return Table(made)

    def unknown(self) -> int:
        """Counts that belong to no attached function: more than 0 is a defect."""
        return super().unknown() if self.layout.hot_rows is None else int(self._totals()[: self._first].sum())
