"""Failures from the events of `errors_probe`: each from its first function to where it ended, and groups of equal ones.

Pure; functions are indices here. Must not know maps, programs or what is shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from multiprobe.errors import errno_name

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    Kind = tuple[int, tuple[int | None, ...], bool, int | None, int]

NULL = 4096
"""What a null pointer counts as, one beyond the largest errno."""


@dataclass(frozen=True, slots=True)
class Failure:
    """One failure. `path` leads from the outermost traced call to the one that failed first; None is a call that is not
    known any more, and `is_cut` says that the outer end is missing.

    `error`: its errno, or NULL. `end`: the call that the failure ended in, None when that is not known. It returned
    `end_error` there, to a caller that is not traced; 0: it went on as if nothing had happened.
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
        """Whether some traced call took it, and did not fail itself."""
        return self.end is not None and not self.end_error

    @property
    def kind(self) -> Kind:
        """What it has in common with others of its group: first error, path, whether that is cut, end, last error."""
        return (self.error, self.path, self.is_cut, self.end, self.end_error)

    @property
    def errors(self) -> frozenset[str]:
        """The names of the first and the last error."""
        return frozenset(error_name(number) for number in (self.error, self.end_error) if number)


def error_name(number: int) -> str:
    """An errno by name, or "NULL"."""
    return "NULL" if number == NULL else errno_name(number)


class Joiner:
    """Puts beginnings and ends together. `n_open` failures have not ended yet."""

    def __init__(self) -> None:
        self._open: dict[int, Failure] = {}

    @property
    def n_open(self) -> int:
        return len(self._open)

    def begin(self, identity: int, failure: Failure) -> Iterator[Failure]:
        """A call fails; yields it if that is its end too (the outermost call)."""
        if failure.end is not None:
            yield failure
        else:
            self._open[identity] = failure

    def end(self, identity: int, function: int | None, error: int) -> Iterator[Failure]:
        """A failure ends in `function`, with the error that it returned (0: it was handled)."""
        failure = self._open.pop(identity, None)
        if failure is not None:
            yield _ended(failure, function, error)

    def rest(self) -> Iterator[Failure]:
        """Those whose end was not seen."""
        rest, self._open = self._open, {}
        yield from rest.values()


def _ended(f: Failure, function: int | None, error: int) -> Failure:
    return Failure(f.time, f.pid, f.tid, f.name, f.error, f.path, f.is_cut, f.arguments, function, error)


@dataclass(frozen=True, slots=True)
class Group:
    """Failures alike: same error, same first function, same path, same end."""

    count: int
    example: Failure


class Groups:
    """Counts failures by error, path and end. `allow`, `deny`: names of errors; of a failure's first and last error one
    must be allowed (where any is named), and not all of them denied. `unhandled`: only those that no call took."""

    def __init__(self, *, allow: Collection[str] = (), deny: Collection[str] = (), unhandled: bool = False) -> None:
        self.allow = frozenset(allow)
        self.deny = frozenset(deny)
        self.unhandled = unhandled
        self.n_left_out = 0
        self._counts: dict[Kind, int] = {}
        self._examples: dict[Kind, Failure] = {}

    def add(self, failure: Failure) -> bool:
        """Count a failure; False if it is left out."""
        if not self.wants(failure):
            self.n_left_out += 1
            return False
        key = failure.kind
        self._counts[key] = self._counts.get(key, 0) + 1
        self._examples.setdefault(key, failure)
        return True

    def wants(self, failure: Failure) -> bool:
        """Whether it is among those asked for."""
        errors = failure.errors
        if self.unhandled and failure.is_handled:
            return False
        return (not self.allow or bool(errors & self.allow)) and not errors <= self.deny

    def ranked(self, *, top: int = 0) -> list[Group]:
        """The largest first; `top` of them, or all."""
        order = sorted(self._counts, key=lambda key: -self._counts[key])
        return [Group(self._counts[key], self._examples[key]) for key in (order[:top] if top else order)]

    @property
    def n_groups(self) -> int:
        return len(self._counts)

    @property
    def n_failures(self) -> int:
        return sum(self._counts.values())


def path_of(frames: Sequence[int], depth: int) -> tuple[tuple[int | None, ...], bool]:
    """The path from what the program sends: indices + 1 of the call that failed, its caller, …; 0 is unknown.

    depth: how many calls lie above the failed one. Returns the path, outermost first, and whether it is cut.
    """
    n = min(depth + 1, len(frames))
    return tuple(frame - 1 if frame else None for frame in reversed(frames[:n])), depth + 1 > len(frames)


def parse_errors(words: Iterable[str]) -> frozenset[str]:
    """Names of errors from words separated by commas. Raises ValueError for one that no errno has."""
    known = {error_name(number) for number in range(1, NULL + 1)}
    names = frozenset(name.strip().upper() for word in words for name in word.split(",") if name.strip())
    for name in sorted(names):
        if name not in known:
            raise ValueError(name)
    return names
