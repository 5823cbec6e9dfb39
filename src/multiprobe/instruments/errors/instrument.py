"""Collects failed calls of the attached functions, and groups equal ones: the instrument and its samples.

The program is in `errors.program`; `errors.failures` joins its events to failures. Which return values are errors is
derived from the kernel's types, and those of programs. A function of a program whose types are not known is taken to
return an int.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import multiprobe as mp
from multiprobe.binaries.mixed import parts_of
from multiprobe.binaries.types import with_types
from multiprobe.functions.kernel import Kernel
from multiprobe.functions.sets import FunctionSet
from multiprobe.instruments.errors import program
from multiprobe.instruments.errors.failures import FailedCall, FailureGroup, Groups, Joiner, decoded
from multiprobe.instruments.errors.frames import PROGRAMS
from multiprobe.instruments.instrument import AttachOptions, Instrument
from multiprobe.instruments.signatures import signatures
from multiprobe.kernel.btf.values import value_type

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from typing import Unpack

    from multiprobe.binaries.mixed import AnyFunctionSet
    from multiprobe.binaries.prototypes import Prototype
    from multiprobe.binaries.sets import UserFunctionSet
    from multiprobe.kernel.btf.types import Btf
    from multiprobe.kernel.btf.values import Spelled
    from multiprobe.links.attachment import Attachment


@dataclass(frozen=True, slots=True)
class ErrorsSample:
    """All failures so far, in groups, the largest first. `n_left_out` failures were filtered out."""

    seconds: float
    groups: Sequence[FailureGroup]
    n_failures: int
    n_left_out: int


class FailureCollector(Instrument[ErrorsSample]):
    """A running collection of failures.

    `poll` or `sample` must be called often enough that the ring buffers don't fill up; dropped events are counted.
    `n_untyped` functions have no type information: they appear on paths, but never fail themselves.
    """

    def __init__(
        self, attachment: Attachment, groups: Groups, *, on_failure: Callable[[FailedCall], None] | None, n_untyped: int
    ) -> None:
        super().__init__(attachment)
        self._groups = groups
        self._on_failure = on_failure
        self._joiner = Joiner()
        self.n_untyped = n_untyped

    def poll(self) -> bool:
        """Read the events that have arrived."""
        for failure in self._collect():
            self._add(failure)
        return False

    def _read(self) -> ErrorsSample:
        self.poll()
        return self._summary()

    def _summary(self) -> ErrorsSample:
        groups = self._groups
        return ErrorsSample(self.seconds, groups.ranked(), groups.n_failures, groups.n_left_out)

    def _read_last(self) -> ErrorsSample:
        self.poll()
        for failure in self._joiner.rest():
            self._add(failure)
        return self._summary()

    def _missed(self) -> dict[str, int]:
        too_deep, taken = self._attachment.totals(program.lost)
        return super()._missed() | {"deep_calls": too_deep, "evicted_calls": taken}

    def _add(self, failure: FailedCall) -> None:
        if self._groups.add(failure) and self._on_failure is not None:
            self._on_failure(failure)

    def _collect(self) -> Iterator[FailedCall]:
        # An end is sent after its beginning. Reading ends first ensures that the beginning of each is read, too.
        ends = self._attachment.events(program.ended).read().tolist()
        for identity, failure in decoded(self._attachment.events(program.begun).read()):
            yield from self._joiner.begin(identity, failure)
        for identity, frame, error in ends:
            yield from self._joiner.end(identity, frame - 1 if frame else None, error)

    def arguments(self, failure: FailedCall) -> dict[str, Spelled]:
        """The recorded arguments of the call that failed first, by name, decoded by their types."""
        if failure.first is None:
            return {}
        (found,) = signatures(self._attachment.functions.take([failure.first]))
        return found.arguments(failure.arguments)


def start(
    functions: AnyFunctionSet,
    *,
    allow: Collection[str] = (),
    deny: Collection[str] = (),
    unhandled: bool = False,
    n_arguments: int = 0,
    on_failure: Callable[[FailedCall], None] | None = None,
    **options: Unpack[AttachOptions],
) -> FailureCollector:
    """Attach to `functions` and collect failures. The other options are those of `multiprobe.attach`.

    allow, deny: names of errors ("ENOENT", "NULL") that a failure must begin or end with, or must not
    unhandled: only failures that no traced function handled
    n_arguments: how many arguments of every call to record; each makes every call more expensive
    on_failure: called with each failure that has ended, from within `poll`, `sample` and `finish`
    """
    functions, problems = with_types(functions)
    kinds = return_kinds(functions)
    of_kernel = [kind for kind in kinds if kind == UNTYPED or not kind & PROGRAMS]
    made = program.make_program(
        n_arguments=n_arguments,
        has_types=of_kernel.count(UNTYPED) < len(of_kernel),
        has_programs=len(of_kernel) < len(kinds),
    )
    attachment = mp.attach(made, functions, cookies=cookies_of(functions, kinds), **options)
    groups = Groups(allow=allow, deny=deny, unhandled=unhandled)
    found = FailureCollector(attachment, groups, on_failure=on_failure, n_untyped=kinds.count(UNTYPED))
    for problem in problems:
        found.note(problem)
    return found


def cookies_of(functions: AnyFunctionSet, kinds: Sequence[int]) -> list[int]:
    """The kinds as cookies: one for each function, or, for functions requested by name, one for each request."""
    if functions.positions is None:
        return [max(0, kind) for kind in kinds]
    cookies = [program.NEVER] * (len(functions) + len(functions.unresolved))
    for position, kind in zip(functions.positions, kinds, strict=True):
        cookies[position] = max(0, kind)
    return cookies


UNTYPED = -1
"""The kind of functions without type information; the program treats them as never failing."""
OF_PROGRAMS = PROGRAMS | program.INT
"""The kind of functions of programs and libraries without types."""


def return_kinds(functions: AnyFunctionSet) -> list[int]:
    """For each function, how its return type reports errors: NEVER, INT, LONG or POINTER of `errors.program`, with
    PROGRAMS for those of programs and libraries.
    """
    return [
        kind
        for part in parts_of(functions)
        for kind in (_kinds(part) if isinstance(part, FunctionSet) else _kinds_of_binary(part))
    ]


def _kinds_of_binary(functions: UserFunctionSet) -> list[int]:
    types = functions.table.types
    if types is None:
        return [OF_PROGRAMS] * len(functions)
    return [OF_PROGRAMS if one is None else _kind_of(types.btf, one) for one in functions.prototypes()]


def _kind_of(btf: Btf, prototype: Prototype) -> int:
    kind = return_kind(btf, btf.target(btf.target(prototype.type_id))) if not prototype.result.reason else program.NEVER
    return PROGRAMS | kind


def _kinds(functions: FunctionSet) -> list[int]:
    table, known = functions.table, dict[tuple[int, int], int]()
    kinds = []
    for row, type_id in zip(functions.rows, functions.btf_ids(), strict=True):
        module = table.modules[row]
        btf = Kernel.of(functions.table).btf_of(table.module_names[module]) if type_id else None
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
    """How a return type reports errors."""
    found = value_type(btf, type_id)
    if found.kind == "pointer":
        return program.POINTER
    if found.may_be_errno:
        return program.LONG
    if found.kind == "int":
        return {32: program.INT, 64: program.LONG}.get(found.bits, program.NEVER)
    return program.NEVER
