"""Which calls fail, who failed first, and along which path: attach, collect, group.

The program is in `errors_probe`, what is made of its events in `failures`. Knows the kernel's types as far as they say
what an error is; must not know terminals, signals or output formats.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import multiprobe as mp
from multiprobe.instruments.errors import program as errors_probe
from multiprobe.instruments.errors.failures import Failure, Group, Groups, Joiner, path_of
from multiprobe.instruments.running import Running
from multiprobe.kernel.btf.values import UNKNOWN, signature, value_type

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from typing import Any

    from multiprobe.functions.sets import FunctionSet
    from multiprobe.kernel.btf.types import Btf
    from multiprobe.kernel.btf.values import Signature, Spelled


@dataclass(frozen=True, slots=True)
class Sample:
    """All failures until one moment, in groups, the largest first. `n_left_out` were not asked for."""

    seconds: float
    groups: Sequence[Group]
    n_failures: int
    n_left_out: int


class Watching(Running):
    """A running measurement. Must be closed, which detaches.

    `sample` must be called often enough that the ring buffers don't fill up; what finds no room there is counted.
    """

    def __init__(
        self, attachment: Any, groups: Groups, *, on_failure: Callable[[Failure], None] | None, n_untyped: int
    ) -> None:
        super().__init__(attachment)
        self._groups = groups
        self._on_failure = on_failure
        self._joiner = Joiner()
        self._began = time.monotonic()
        self._last: Sample | None = None
        self.n_untyped = n_untyped

    def sample(self) -> Sample:
        """Take in what has come, and say how things stand now; after `stop`, how they stood then."""
        if self._last is not None:
            return self._last
        for failure in self._collect():
            self._add(failure)
        groups = self._groups
        return Sample(time.monotonic() - self._began, groups.ranked(), groups.n_failures, groups.n_left_out)

    def stop(self) -> Sample:
        """Watch no more, and note what was missed; the last sample."""
        if self._last is None:
            self._attachment.pause()
            self.sample()
            for failure in self._joiner.rest():
                self._add(failure)
            self._last = self.sample()
            missed = self._attachment.missed()
            missed["deep_calls"] = self._attachment.totals(errors_probe.lost)[0]
            self._attachment.set_missed(missed)
        return self._last

    def _add(self, failure: Failure) -> None:
        if self._groups.add(failure) and self._on_failure is not None:
            self._on_failure(failure)

    def _collect(self) -> Iterator[Failure]:
        # An end is sent after its beginning: read first, it finds the beginning when that is read second.
        ends = self._attachment.events(errors_probe.ended).read().tolist()
        for row in self._attachment.events(errors_probe.begun).read().tolist():
            identity, failure = _failure(row)
            yield from self._joiner.begin(identity, failure)
        for identity, frame, error in ends:
            yield from self._joiner.end(identity, frame - 1 if frame else None, error)

    def arguments(self, failure: Failure) -> dict[str, Spelled]:
        """The arguments that were kept of the call that failed first, by name, read as its types say."""
        if failure.first is None:
            return {}
        found = signature_of(self._attachment.functions, failure.first)
        return found.arguments(failure.arguments)


def _failure(row: tuple[Any, ...]) -> tuple[int, Failure]:
    identity, _ret, pid, tid, error, depth, frames, arguments, name = row
    path, is_cut = path_of([int(frame) for frame in frames], depth)
    end, end_error = (path[-1], error) if depth == 0 else (None, 0)
    text = name.partition(b"\0")[0].decode(errors="replace")
    kept = tuple(int(number) for number in arguments)
    return identity, Failure(identity >> 8, pid, tid, text, error, path, is_cut, kept, end, end_error)


def start(
    functions: FunctionSet,
    *,
    allow: Collection[str] = (),
    deny: Collection[str] = (),
    unhandled: bool = False,
    n_arguments: int = 0,
    on_failure: Callable[[Failure], None] | None = None,
    **options: Any,
) -> Watching:
    """Attach to `functions`; the other options are those of `multiprobe.attach`.

    allow, deny: names of errors ("ENOENT", "NULL") that a failure must begin or end with, or must not
    unhandled: only failures that no traced function took
    n_arguments: how many arguments to keep of every call; each makes it dearer
    on_failure: called with each failure once it has ended, from within `sample` and `stop`
    """
    kinds = return_kinds(functions)
    program = errors_probe.make_program(n_arguments=n_arguments)
    attachment = mp.attach(program, functions, cookies=cookies_of(functions, kinds), **options)
    groups = Groups(allow=allow, deny=deny, unhandled=unhandled)
    return Watching(attachment, groups, on_failure=on_failure, n_untyped=kinds.count(UNTYPED))


def cookies_of(functions: FunctionSet, kinds: Sequence[int]) -> list[int]:
    """The kinds as cookies: one for each function, or for each request where functions were asked for by name."""
    if functions.positions is None:
        return [max(0, kind) for kind in kinds]
    cookies = [errors_probe.NEVER] * (len(functions) + len(functions.unresolved))
    for position, kind in zip(functions.positions, kinds, strict=True):
        cookies[position] = max(0, kind)
    return cookies


UNTYPED = -1
"""What `return_kinds` says of functions without type information; to the program they never fail."""


def return_kinds(functions: FunctionSet) -> list[int]:
    """For each function what its return type says of errors: NEVER, INT, LONG or POINTER of `errors_probe`."""
    table, known = functions.table, dict[tuple[int, int], int]()
    kinds = []
    for row, type_id in zip(functions.rows, functions.btf_ids(), strict=True):
        module = table.modules[row]
        btf = functions.kernel.btf_of(table.module_names[module]) if type_id else None
        if btf is None:
            kinds.append(UNTYPED)
            continue
        returned = btf.target(btf.target(type_id))
        key = (module, returned)
        if key not in known:
            known[key] = return_kind(btf, returned)
        kinds.append(known[key])
    return kinds


def return_kind(btf: Btf, type_id: int) -> int:
    """The same for one type."""
    found = value_type(btf, type_id)
    if found.kind == "pointer":
        return errors_probe.POINTER
    if found.may_be_errno:
        return errors_probe.LONG
    if found.kind == "int":
        return {32: errors_probe.INT, 64: errors_probe.LONG}.get(found.bits, errors_probe.NEVER)
    return errors_probe.NEVER


def signature_of(functions: Any, index: int) -> Signature:
    """What the kernel's types say of one of a set's functions."""
    table, row = functions.table, functions.rows[index]
    type_id = table.btf_ids[row]
    btf = functions.kernel.btf_of(table.module(row)) if type_id else None
    return UNKNOWN if btf is None else signature(btf, type_id)
