"""Collects failed calls of the attached functions, and groups equal ones: the instruments and their samples.

The program is in `errors.program`. Which return values are errors is derived from the kernel's types, and those of
programs. A function of a program whose types are not known is taken to return an int.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

import multiprobe as mp
from multiprobe.binaries.mixed import parts_of
from multiprobe.binaries.types import with_types
from multiprobe.functions.kernel import Kernel
from multiprobe.functions.sets import FunctionSet
from multiprobe.instruments.errors import kinds, program
from multiprobe.instruments.errors.failures import ErrorFilter, FailedCall, FailureGroup, Groups, Joiner, decoded
from multiprobe.instruments.errors.frames import PROGRAMS
from multiprobe.instruments.errors.kinds import Kinds
from multiprobe.instruments.instrument import AttachOptions, Instrument
from multiprobe.instruments.signatures import signatures
from multiprobe.kernel.btf.values import value_type

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
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

    def __init__(self, attachment: Attachment, wanted: ErrorFilter, *, n_untyped: int) -> None:
        super().__init__(attachment)
        self._filter = wanted
        self.n_untyped = n_untyped

    def _read(self) -> ErrorsSample:
        return self._summary(self._groups(is_last=False))

    def _read_last(self) -> ErrorsSample:
        return self._summary(self._groups(is_last=True))

    @abstractmethod
    def _groups(self, *, is_last: bool) -> Groups:
        """All failures so far. is_last: failures that have not ended are those whose end was not seen."""

    def _summary(self, groups: Groups) -> ErrorsSample:
        return ErrorsSample(self.seconds, groups.ranked(), groups.n_failures, groups.n_left_out)

    def _begun(self) -> Iterator[tuple[int, FailedCall]]:
        return decoded(self._attachment.events(program.begun).read())

    def _missed(self) -> dict[str, int]:
        too_deep, taken = self._attachment.totals(program.lost)
        return super()._missed() | {"deep_calls": too_deep, "evicted_calls": taken}

    def arguments(self, failure: FailedCall) -> dict[str, Spelled]:
        """The recorded arguments of the call that failed first, by name, decoded by their types."""
        if failure.first is None:
            return {}
        (found,) = signatures(self._attachment.functions.take([failure.first]))
        return found.arguments(failure.arguments)


class FailureCounter(FailureCollector):
    """Failures that are counted in the kernel by their kinds, each of which has its first failure as an example."""

    def __init__(self, attachment: Attachment, wanted: ErrorFilter, *, n_untyped: int) -> None:
        super().__init__(attachment, wanted, n_untyped=n_untyped)
        self._kinds = Kinds()

    def poll(self) -> bool:
        """Read the first failures of their kinds."""
        self._kinds.learn(self._begun())
        return False

    def _groups(self, *, is_last: bool) -> Groups:
        self.poll()
        found = Groups(self._filter)
        rows = self._attachment.map(kinds.kinds).rows(0, kinds.kinds.n_rows)
        for failure, n in self._kinds.failures(rows, is_last=is_last):
            found.add(failure, n)
        return found

    def _missed(self) -> dict[str, int]:
        missed = super()._missed()
        n_full = self._attachment.totals(kinds.full)[0]
        return missed | {"full_maps": missed.get("full_maps", 0) + n_full, "dropped_events": self._kinds.n_unknown}


class FailureStream(FailureCollector):
    """Failures of which each is read by itself, when it has ended."""

    def __init__(
        self, attachment: Attachment, wanted: ErrorFilter, *, n_untyped: int, on_failure: Callable[[FailedCall], None]
    ) -> None:
        super().__init__(attachment, wanted, n_untyped=n_untyped)
        self._found = Groups(wanted)
        self._on_failure = on_failure
        self._joiner = Joiner()

    def poll(self) -> bool:
        """Read the events that have arrived."""
        # An end is sent after its beginning. Reading ends first ensures that the beginning of each is read, too.
        ends = self._attachment.events(program.ended).read().tolist()
        for identity, failure in self._begun():
            self._add(self._joiner.begin(identity, failure))
        for identity, frame, error in ends:
            self._add(self._joiner.end(identity, frame - 1 if frame else None, error))
        return False

    def _groups(self, *, is_last: bool) -> Groups:
        self.poll()
        if is_last:
            self._add(self._joiner.rest())
        return self._found

    def _add(self, failures: Iterable[FailedCall]) -> None:
        for failure in failures:
            if self._found.add(failure):
                self._on_failure(failure)


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
    on_failure: called with each failure that has ended, from within `poll`, `sample` and `finish`. Without it,
        equal ones are counted in the kernel, and only the first of a kind is sent as an event
    """
    functions, problems = with_types(functions)
    returns = return_kinds(functions)
    of_kernel = [kind for kind in returns if kind == UNTYPED or not kind & PROGRAMS]
    made = program.make_program(
        n_arguments=n_arguments,
        has_types=of_kernel.count(UNTYPED) < len(of_kernel),
        has_programs=len(of_kernel) < len(returns),
        is_each=on_failure is not None,
    )
    attachment = mp.attach(made, functions, cookies=cookies_of(functions, returns), **options)
    wanted, n_untyped = ErrorFilter(allow=allow, deny=deny, unhandled=unhandled), returns.count(UNTYPED)
    found: FailureCollector
    if on_failure is None:
        found = FailureCounter(attachment, wanted, n_untyped=n_untyped)
    else:
        found = FailureStream(attachment, wanted, n_untyped=n_untyped, on_failure=on_failure)
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
