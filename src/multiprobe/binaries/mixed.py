"""`MixedFunctionSet`: functions of several targets, the kernel and binaries, as one sequence."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from itertools import accumulate, chain, groupby
from typing import TYPE_CHECKING, TypeAlias

from multiprobe.binaries.sets import UserFunction, UserFunctionSet
from multiprobe.errors import NotSupportedError
from multiprobe.functions.kernel import Kernel
from multiprobe.functions.sets import FunctionSet
from multiprobe.kernel.mechanism import Mechanism
from multiprobe.plurals import plural_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from multiprobe.functions.sets import Function, Refusal

    Target: TypeAlias = FunctionSet | UserFunctionSet
    AnyFunction: TypeAlias = Function | UserFunction
    AnyFunctionSet: TypeAlias = "Target | MixedFunctionSet"


class MixedFunctionSet:
    """Functions of several targets, one after the other: of the kernel, and of binaries. Supports iteration.

    parts: tuple of a FunctionSet or UserFunctionSet for each target, none twice; the functions of the first part come
        first

    Columns, verdicts and refusals are those of the parts.
    """

    __slots__ = ("_ends", "parts")

    positions = None
    """As `FunctionSet.positions`: cookies go with the functions of the set."""

    def __init__(self, parts: Iterable[Target]) -> None:
        self.parts = tuple(parts)
        self._ends = list(accumulate(map(len, self.parts)))

    @property
    def unresolved(self) -> tuple[Refusal, ...]:
        """A Refusal for each request that no function answers."""
        return tuple(chain.from_iterable(part.unresolved for part in self.parts))

    # -- columns of the chosen functions ---------------------------------------------------------------------------

    def addresses(self) -> array[int]:
        """The address of each function's symbol plus its offset: array("Q")."""
        return array("Q", chain.from_iterable(part.addresses() for part in self.parts))

    def slots(self) -> bytes:
        """How many 8-byte arguments each function takes, 255 where that is unknown, one byte each."""
        return b"".join(part.slots() for part in self.parts)

    def argument_limits(self) -> bytes:
        """How many 8-byte arguments a probe finds at most, 255 where that is unknown, one byte each."""
        return b"".join(part.argument_limits() for part in self.parts)

    def returns(self) -> bytes:
        """What the return register holds after each function, coded as in `kernel.btf.format`, one byte each."""
        return b"".join(part.returns() for part in self.parts)

    def mechanisms(self, *, when: str = "entry") -> bytes:
        """The mask of mechanisms that can attach to each function, on a kernel that has all; one byte each."""
        return b"".join(part.mechanisms(when=when) for part in self.parts)

    # -- verdicts --------------------------------------------------------------------------------------------------

    def n_attachable(self, mask: int = Mechanism.ALL, *, when: str = "entry") -> int:
        """The number of functions that a mechanism of `mask` can attach to; `when`: "entry", "return" or "session"."""
        return sum(part.n_attachable(mask, when=when) for part in self.parts)

    def refusals(self, mask: int = Mechanism.ALL, *, when: str = "entry") -> list[Refusal]:
        """A Refusal for each function that no mechanism of `mask` can attach to at `when`, and for each request."""
        return list(chain.from_iterable(part.refusals(mask, when=when) for part in self.parts))

    def take(self, places: Sequence[int]) -> AnyFunctionSet:
        """The functions at these positions, in this order; of one target, a set of its own kind.

        Those of one target must stand together.
        """
        found = groupby(map(self._find, places), key=lambda pair: pair[0])
        return joined([self.parts[part].take([place for _, place in pairs]) for part, pairs in found])

    # -- a sequence ------------------------------------------------------------------------------------------------

    def _find(self, place: int) -> tuple[int, int]:
        """The part in which a position is, and its position there."""
        part = bisect_right(self._ends, place)
        return part, place - (self._ends[part - 1] if part else 0)

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, place: int) -> AnyFunction:
        """The function at a position."""
        if place < 0:
            place += len(self)
        if not 0 <= place < len(self):
            raise IndexError(place)
        part, own = self._find(place)
        return self.parts[part][own]

    def __iter__(self) -> Iterator[AnyFunction]:
        return chain.from_iterable(self.parts)

    def __contains__(self, item: object) -> bool:
        """Whether a function or a name is in one of the parts."""
        return any(item in part for part in self.parts)

    def label(self, place: int) -> str:
        """The function at a position as it is printed."""
        part, own = self._find(place)
        return self.parts[part].label(own)

    def __repr__(self) -> str:
        return f"<MixedFunctionSet of {plural_text(len(self), 'function')} of {plural_text(len(self.parts), 'target')}>"


def joined(sets: Iterable[AnyFunctionSet]) -> AnyFunctionSet:
    """One set of all functions: those of the same target are united, and stand where the first of them stood.

    A set of the target's own kind, if there is only one. Raises UsageError for sets of two readings of the kernel.
    """
    found: dict[tuple[object, ...], Target] = {}
    for part in chain.from_iterable(map(parts_of, sets)):
        key = part.table.identity if isinstance(part, UserFunctionSet) else ()
        known = found.get(key)
        found[key] = part if known is None else known | part  # type: ignore[operator]
    return MixedFunctionSet(found.values()) if len(found) != 1 else next(iter(found.values()))


def parts_of(functions: AnyFunctionSet) -> tuple[Target, ...]:
    """The functions of each target, in order."""
    return functions.parts if isinstance(functions, MixedFunctionSet) else (functions,)


def kernel_part(functions: AnyFunctionSet) -> tuple[int, FunctionSet | None]:
    """The functions of the kernel, or None, and the position of the first one."""
    return next(
        ((first, part) for first, part in _placed(functions) if not isinstance(part, UserFunctionSet)), (0, None)
    )


def has_kernel_types(functions: AnyFunctionSet) -> bool:
    """Whether functions of a kernel with BTF are among them."""
    _, part = kernel_part(functions)
    return part is not None and any(part.btf_ids())


def only_of_kernel(functions: AnyFunctionSet, what: str) -> FunctionSet:
    """The functions, if all are the kernel's. Raises NotSupportedError, which says `what` takes no others."""
    if isinstance(functions, UserFunctionSet | MixedFunctionSet):
        raise NotSupportedError(f"{what} takes functions of the kernel only, not those of programs and libraries")
    return functions


def kernel_of(functions: AnyFunctionSet) -> Kernel | None:
    """The kernel that the functions are chosen from; None if all are of binaries."""
    _, part = kernel_part(functions)
    return None if part is None else Kernel.of(part.table)


def name_fields(function: AnyFunction) -> dict[str, str]:
    """The function as `--json` names it; with its symbol, if the name was demangled."""
    found = {"function": function.name, "module": function.module}
    if isinstance(function, UserFunction) and function.symbol != function.name:
        found["symbol"] = function.symbol
    return found


def owners(functions: AnyFunctionSet) -> list[object]:
    """What each function belongs to: the number of its kernel module, or what tells its binary from others."""
    return list(chain.from_iterable(map(_owners, parts_of(functions))))


def _owners(part: Target) -> Iterable[object]:
    if isinstance(part, UserFunctionSet):
        return [part.table.key] * len(part)
    return map(part.table.modules.__getitem__, part.rows)


def identities(functions: AnyFunctionSet) -> list[object]:
    """What tells each probe from all others: its address in the kernel, or its binary and its place there."""
    return list(chain.from_iterable(map(_identities, parts_of(functions))))


def _identities(part: Target) -> Iterable[object]:
    if isinstance(part, UserFunctionSet):
        return ((part.table.identity, offset) for offset in part.file_offsets())
    return part.addresses()


def binary_parts(functions: AnyFunctionSet) -> list[tuple[int, UserFunctionSet]]:
    """The functions of each binary, and the position of the first one."""
    return [(first, part) for first, part in _placed(functions) if isinstance(part, UserFunctionSet)]


def _placed(functions: AnyFunctionSet) -> Iterator[tuple[int, Target]]:
    first = 0
    for part in parts_of(functions):
        yield first, part
        first += len(part)
