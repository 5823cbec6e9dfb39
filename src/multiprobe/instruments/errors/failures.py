"""A failure, from the events of `errors.program`; groups of equal ones. Pure; functions are indices."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING, NamedTuple

from multiprobe.errors import errno_name
from multiprobe.names import decode_name

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    Kind = tuple[int, tuple[int | None, ...], bool, int | None, int]

MAX_OPEN = 1 << 16
"""Failures that are kept until they end: beyond, the oldest count as failures whose end was not seen."""
MAX_KINDS = 100_000
"""Kinds of failures that are told apart by their paths: later ones are told apart by the first function only."""
NULL = 4096
"""The error number of a returned null pointer: one above the largest errno."""
OF_PROGRAM = 1 << 13
"""Added to the negative number that a function of a program returned, which need not be an errno."""


class FailedCall(NamedTuple):
    """One failure.

    error: the errno of the first failed call, or NULL
    path: functions from the outermost traced call to the one that failed first; None for a call that was evicted.
        `is_cut`: outer calls are missing
    arguments: those recorded of the first failed call
    end: the function where the failure ended, None if unknown. It returned `end_error` to an untraced caller, or 0 if
        it handled the failure.
    """

    time: int
    pid: int
    tid: int
    name: str
    error: int
    path: tuple[int | None, ...]
    is_cut: bool
    arguments: tuple[int, ...]
    end: int | None
    end_error: int

    @property
    def first(self) -> int | None:
        """The function that failed first."""
        return self.path[-1]

    @property
    def is_handled(self) -> bool:
        """Whether a traced call handled it, and did not fail itself."""
        return self.end is not None and not self.end_error

    @property
    def kind(self) -> Kind:
        """The key of its group: first error, path, whether that is cut, end, last error."""
        return (self.error, self.path, self.is_cut, self.end, self.end_error)

    @property
    def errors(self) -> frozenset[str]:
        """The names of the first and the last error."""
        return _error_names(self.error, self.end_error)


def error_name(number: int) -> str:
    """An errno by name, "NULL", or the number that a function of a program returned, as "-1"."""
    if number > OF_PROGRAM:
        return f"{OF_PROGRAM - number}"
    return "NULL" if number == NULL else errno_name(number)


@cache
def _error_names(error: int, end_error: int) -> frozenset[str]:
    return frozenset(error_name(number) for number in (error, end_error) if number)


def decoded(begun: NDArray[np.void]) -> Iterator[tuple[int, FailedCall]]:
    """The identity of each failure, and the failure, from events of `errors.program` that one began."""
    import numpy as np

    names = ("identity", "time", "pid", "tid", "error", "depth", "name", "arguments")
    frames = begun["frames"]
    paths = np.ascontiguousarray(frames).view(f"V{frames.shape[1] * frames.itemsize}").ravel().tolist()
    for identity, time, pid, tid, error, depth, name, arguments, raw in zip(
        *(begun[column].tolist() for column in names), paths, strict=True
    ):
        path, is_cut = _path_of(raw, depth)
        end, end_error = (path[-1], error) if depth == 0 else (None, 0)
        yield (
            identity,
            FailedCall(time, pid, tid, _name_of(name), error, path, is_cut, tuple(arguments), end, end_error),
        )


@lru_cache(1 << 16)
def _path_of(frames: bytes, depth: int) -> tuple[tuple[int | None, ...], bool]:
    return path_of(struct.unpack(f"<{len(frames) // 4}I", frames), depth)


_name_of = lru_cache(1 << 12)(decode_name)


class Joiner:
    """Joins beginnings and ends of failures. `n_open` failures have not ended yet."""

    def __init__(self) -> None:
        self._open: dict[int, FailedCall] = {}

    @property
    def n_open(self) -> int:
        return len(self._open)

    def begin(self, identity: int, failure: FailedCall) -> Iterator[FailedCall]:
        """Add a beginning; yields the failure if it has ended, too (in the outermost call)."""
        if failure.end is not None:
            yield failure
            return
        self._open[identity] = failure
        if len(self._open) > MAX_OPEN:
            yield self._open.pop(next(iter(self._open)))

    def end(self, identity: int, function: int | None, error: int) -> Iterator[FailedCall]:
        """Add an end: in `function`, which returned `error` (0: handled). Yields the failure."""
        failure = self._open.pop(identity, None)
        if failure is not None:
            yield ended(failure, function, error)

    def rest(self) -> Iterator[FailedCall]:
        """Failures whose end was not seen."""
        rest, self._open = self._open, {}
        yield from rest.values()


def ended(f: FailedCall, function: int | None, error: int) -> FailedCall:
    """The failure, once it has ended in `function`, which returned `error` (0: handled)."""
    return FailedCall(f.time, f.pid, f.tid, f.name, f.error, f.path, f.is_cut, f.arguments, function, error)


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """Equal failures: same error, path and end."""

    count: int
    example: FailedCall


@dataclass(slots=True)
class _GrowingGroup:
    """A group that still grows."""

    example: FailedCall
    count: int = 0


class ErrorFilter:
    """Which failures are wanted.

    allow, deny: names of errors. One of a failure's first and last error must be allowed (if any are named), and not
        both denied.
    unhandled: only failures that no traced function handled
    """

    def __init__(self, *, allow: Collection[str] = (), deny: Collection[str] = (), unhandled: bool = False) -> None:
        self.allow = frozenset(allow)
        self.deny = frozenset(deny)
        self.unhandled = unhandled
        self._wants_all = not (self.allow or self.deny or unhandled)

    def wants(self, failure: FailedCall) -> bool:
        """Whether it lets the failure pass."""
        if self._wants_all:
            return True
        errors = failure.errors
        if self.unhandled and failure.is_handled:
            return False
        return (not self.allow or bool(errors & self.allow)) and not errors <= self.deny


class Groups:
    """Counts failures by error, path and end: those that the filter wants."""

    def __init__(self, wanted: ErrorFilter) -> None:
        self.n_left_out = 0
        self._filter = wanted
        self._groups: dict[Kind, _GrowingGroup] = {}

    def add(self, failure: FailedCall, n: int = 1) -> bool:
        """Count `n` equal failures; False if they are filtered out."""
        if not self._filter.wants(failure):
            self.n_left_out += n
            return False
        group = self._groups.get(failure.kind)
        if group is None:
            if len(self._groups) >= MAX_KINDS:
                failure = failure._replace(path=failure.path[-1:], is_cut=True)
            group = self._groups.setdefault(failure.kind, _GrowingGroup(failure))
        group.count += n
        return True

    def ranked(self, *, top: int = 0) -> list[FailureGroup]:
        """The largest first; `top` of them, or all."""
        order = sorted(self._groups.values(), key=lambda group: -group.count)
        return [FailureGroup(group.count, group.example) for group in (order[:top] if top else order)]

    @property
    def n_groups(self) -> int:
        return len(self._groups)

    @property
    def n_failures(self) -> int:
        return sum(group.count for group in self._groups.values())


def path_of(frames: Sequence[int], depth: int) -> tuple[tuple[int | None, ...], bool]:
    """The path from an event's `frames`: index + 1 of the failed call, its caller, …; 0 if unknown.

    depth: the number of calls above the failed one. Returns the path, outermost first, and whether it is cut.
    """
    n = min(depth + 1, len(frames))
    return tuple(frame - 1 if frame else None for frame in reversed(frames[:n])), depth + 1 > len(frames)


def parse_errors(words: Iterable[str]) -> frozenset[str]:
    """Names of errors from comma-separated lists. Raises ValueError with the first unknown name."""
    known = {error_name(number) for first in (0, OF_PROGRAM) for number in range(first + 1, first + NULL + 1)}
    given = [name.strip().upper() for word in words for name in word.split(",") if name.strip()]
    names = frozenset(name if name in known else name.removeprefix("-") for name in given)
    for name in sorted(names):
        if name not in known:
            raise ValueError(name)
    return names
