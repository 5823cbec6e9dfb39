"""Finds where a function's parameters are when it begins: in which argument register, or where on the stack. Pure.

A place is told only if it is certain: by the calling convention, if the compiler kept to it, or because DWARF names the
register at the entry. Where the two contradict each other, DWARF's word counts, and nothing else of that function.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from multiprobe.binaries.dwarf.functions import REFERENCE, UNSURE
from multiprobe.kernel.btf import format as fmt
from multiprobe.kernel.btf import layout

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from multiprobe.binaries.dwarf.functions import FunctionEvidence, ParameterEvidence
    from multiprobe.kernel.btf.types import Btf

MAX_POSITIONS = 12
"""Arguments that a program can read, those on the stack included."""
WORD = 8
NO_CLASS, INTEGER, VECTOR, X87, X87_UP = range(5)
_X87 = ("long double", "complex long double")
_CLONES = (".isra", ".constprop", ".part", ".cold")
"""What gcc appends to the name of a function whose parameters it changed, or of a part of one."""
_BEYOND = f"beyond the first {MAX_POSITIONS} arguments"
UNCERTAIN = "its place is not certain"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value is: the number of the argument, as in `ctx.arg`; None if it can't be read, for a reason.

    words: of a struct passed by value, where each 8 bytes of it are; None for those that can't be read
    """

    position: int | None
    reason: str = ""
    words: tuple[int | None, ...] = ()


@dataclass(frozen=True, slots=True)
class Convention:
    """A processor's calling convention, as far as it is used here.

    registers: the numbers in DWARF of the argument registers, in order; n_vectors: registers for numbers with a point
    has_structs: structs by value are placed, too, by the rules of System V for x86-64 (3.2.3)
    """

    registers: tuple[int, ...]
    n_vectors: int = 8
    has_structs: bool = False


CONVENTIONS: Mapping[str, Convention] = {
    "x86_64": Convention((5, 4, 1, 2, 8, 9), has_structs=True),
    "aarch64": Convention(tuple(range(8))),
}


class _LostError(Exception):
    """Where this and all later arguments are is not known."""


class _Walk:
    """Hands out registers and stack to one argument after the other."""

    def __init__(self, btf: Btf, convention: Convention) -> None:
        self.btf = btf
        self.convention = convention
        self.alignments: dict[int, int] = {}
        self.registers = 0
        self.vectors = 0
        self.stack = 0
        self.classes: Sequence[int] = ()

    def place(self, type_id: int, passing: str) -> tuple[int | None, tuple[int | None, ...]]:
        """The position of the next argument, which has this type, or None; and where the words of a struct are.

        Raises _LostError.
        """
        if passing == REFERENCE:
            return self._take(1, 0, WORD, WORD), ()
        if passing == UNSURE or not type_id:
            raise _LostError
        self.classes, begun = (), (self.registers, self.vectors)
        bare = self.btf.strip(type_id)
        integers, vectors, size, alignment = self._classify(bare)
        found = self._take(integers, vectors, size, alignment)
        if self.btf.kind(bare) not in layout.RECORDS:
            return found, ()
        return found, self._words(found, size, has_registers=begun != (self.registers, self.vectors))

    def _words(self, found: int | None, size: int, *, has_registers: bool) -> tuple[int | None, ...]:
        n = min(-(-size // WORD), MAX_POSITIONS)
        if not has_registers:
            return () if found is None else tuple(range(found, found + n))
        numbers = iter(range(found or 0, self.registers))
        return tuple(next(numbers) if one == INTEGER else None for one in self.classes[:n])

    def _take(self, integers: int, vectors: int, size: int, alignment: int) -> int | None:
        """`integers` and `vectors` registers if there are so many; if both are 0, or there are not, the stack."""
        if not size:
            return None
        fits = self.registers + integers <= len(self.convention.registers)
        fits = fits and self.vectors + vectors <= self.convention.n_vectors
        if (integers or vectors) and fits:
            found = self.registers if integers else None
            self.registers, self.vectors = self.registers + integers, self.vectors + vectors
            return found
        if not self.convention.has_structs and size > WORD:
            raise _LostError
        self.stack = -(-self.stack // alignment) * alignment
        found = len(self.convention.registers) + self.stack // WORD
        self.stack += -(-size // WORD) * WORD
        return found

    def _classify(self, bare: int) -> tuple[int, int, int, int]:
        """The integer and vector registers that a value needs (both 0: it is in memory), its size and alignment."""
        btf = self.btf
        kind, size = btf.kind(bare), btf.size(bare)
        if kind in (fmt.PTR, fmt.ENUM, fmt.ENUM64) or (kind == fmt.INT and size <= WORD):
            return 1, 0, WORD, WORD
        if kind == fmt.FLOAT and size <= WORD:
            return 0, 1, WORD, WORD
        if not self.convention.has_structs:
            raise _LostError
        if kind == fmt.INT:
            return 2, 0, 2 * WORD, 2 * WORD
        if kind == fmt.FLOAT:
            return self._wide(btf.name(bare), size)
        if kind not in layout.RECORDS:
            raise _LostError
        if not btf.members(bare):
            return 0, 0, 0, WORD
        alignment = _alignment(btf, bare, self.alignments)
        classes = _classes(btf, bare, self.alignments) if size <= 2 * WORD else None
        if classes is None or X87 in classes:
            return 0, 0, size, max(alignment, WORD)
        self.classes = classes
        return classes.count(INTEGER), classes.count(VECTOR), size, max(alignment, WORD)

    def _wide(self, name: str, size: int) -> tuple[int, int, int, int]:
        if name in _X87:
            return 0, 0, size, 2 * WORD
        if size > 2 * WORD:
            raise _LostError
        return 0, 2 if "complex" in name else 1, size, WORD if "complex" in name else size


def _classes(btf: Btf, record: int, alignments: dict[int, int]) -> list[int] | None:
    """The class of each 8 bytes of a struct of 16 at the most; None if it is passed in memory."""
    classes = [NO_CLASS, NO_CLASS]
    is_register = _merge(btf, record, 0, classes, _Seen(alignments))
    return classes if is_register and (classes[1] != X87_UP or classes[0] == X87) else None


class _Seen:
    """What was merged already, (type, offset) each, and alignments: hostile types are in each other without end."""

    def __init__(self, alignments: dict[int, int]) -> None:
        self.places: set[tuple[int, int]] = set()
        self.alignments = alignments


def _merge(btf: Btf, type_id: int, offset: int, classes: list[int], seen: _Seen, depth: int = 0) -> bool:
    """Add a value at an offset in bytes to the classes. False if that puts the whole struct into memory."""
    if depth > fmt.MAX_DEPTH or offset > 2 * WORD:
        raise _LostError
    bare = btf.strip(type_id)
    if (bare, offset) in seen.places:
        return True
    seen.places.add((bare, offset))
    kind, size = btf.kind(bare), btf.size(bare)
    if kind in layout.RECORDS:
        for field in layout.own_fields(btf, bare):
            if field.bits:
                for place in _eightbytes(8 * offset + field.bit_offset, field.bits):
                    classes[place] = INTEGER
            elif not _merge(btf, field.type_id, offset + field.offset, classes, seen, depth + 1):
                return False
        return True
    if kind == fmt.ARRAY:
        element, _ = btf.array(bare)
        step = btf.size(element)
        places = range(offset, min(offset + size, 2 * WORD + 1), step) if step else range(0)
        return all(_merge(btf, element, place, classes, seen, depth + 1) for place in places)
    if not size or offset + size > 2 * WORD:
        raise _LostError
    if offset % _alignment(btf, bare, seen.alignments):
        return False
    is_x87 = kind == fmt.FLOAT and btf.name(bare) in _X87
    found = (X87, X87_UP) if is_x87 else 2 * (VECTOR if kind == fmt.FLOAT else INTEGER,)
    for place in _eightbytes(8 * offset, 8 * size):
        known = classes[place]
        if known in (NO_CLASS, found[place]):
            classes[place] = found[place]
        elif INTEGER in (known, found[place]):
            classes[place] = INTEGER
        else:
            return False
    return True


def _eightbytes(first: int, bits: int) -> range:
    """Which of the two eight bytes some bits are in."""
    return range(first // 64, min((first + bits - 1) // 64, 1) + 1)


def _alignment(btf: Btf, type_id: int, known: dict[int, int], depth: int = 0) -> int:
    """The natural alignment of a type; `known` gets that of structs."""
    if depth > fmt.MAX_DEPTH:
        raise _LostError
    bare = btf.strip(type_id)
    kind = btf.kind(bare)
    if kind == fmt.ARRAY:
        return _alignment(btf, btf.array(bare)[0], known, depth + 1)
    if kind in layout.RECORDS:
        if bare not in known:
            known[bare] = 1
            members = btf.members(bare)
            known[bare] = max((_alignment(btf, one.type_id, known, depth + 1) for one in members), default=1)
        return known[bare]
    size = btf.size(bare)
    return max(size // 2 if kind == fmt.FLOAT and "complex" in btf.name(bare) else size, 1)


def returns_in_memory(btf: Btf, returned: int, passing: str) -> bool:
    """Whether the first argument register holds the address of the result. Raises _LostError if that is not certain."""
    if passing == UNSURE:
        raise _LostError
    if passing == REFERENCE:
        return True
    if not layout.is_record(btf, returned):
        return False
    bare = btf.strip(returned)
    if btf.size(bare) > fmt.BIG_STRUCT or not btf.members(bare):
        return btf.size(bare) > fmt.BIG_STRUCT
    classes = _classes(btf, bare, {})
    if classes is not None and X87 in classes and classes[1] != X87_UP:
        raise _LostError
    return classes is None


def find_places(
    btf: Btf, evidence: FunctionEvidence, convention: Convention, symbols: Sequence[str]
) -> tuple[tuple[Place, ...], Place]:
    """Where the parameters of a function are, and its result. `symbols`: its names."""
    types = [one.type_id for one in btf.parameters(evidence.type_id)]
    pairs = list(zip(types, evidence.parameters, strict=False))
    is_trusted = _is_trusted(evidence, symbols)
    by_rule = _by_rule(btf, evidence, convention, pairs) if is_trusted else []
    said = [_said(one, convention) for _, one in pairs]
    is_kept = all(
        place is None or rule is None or place == rule for place, (rule, _) in zip(said, by_rule, strict=False)
    )
    places = []
    for n, (type_id, one) in enumerate(pairs):
        position = said[n]
        if position is None and one.register is None and is_kept and n < len(by_rule):
            position = by_rule[n][0]
        words = by_rule[n][1] if is_kept and n < len(by_rule) else ()
        places.append(_with_words(_place(btf, type_id, one.passing, position), words))
    returned = btf.target(btf.target(evidence.type_id))
    unreadable = _unreadable(btf, returned, evidence.result) if returned else ""
    is_whole = bool(returned) and not unreadable and not (is_trusted and is_kept)
    return tuple(places), Place(None, UNCERTAIN if is_whole else unreadable)


def _is_trusted(evidence: FunctionEvidence, symbols: Sequence[str]) -> bool:
    """Whether the function is called by the usual convention.

    Compilers may change it for functions that no other file can call: gcc marks their names, LLVM does not always say
    so, but leaves code that is not optimised as it is.
    """
    if not evidence.is_regular or any(mark in symbol for symbol in symbols for mark in _CLONES):
        return False
    is_plain = all(one.is_stored or one.stack is not None for one in evidence.parameters)
    return evidence.is_external or evidence.is_gnu or is_plain


def _by_rule(
    btf: Btf, evidence: FunctionEvidence, convention: Convention, pairs: Sequence[tuple[int, ParameterEvidence]]
) -> list[tuple[int | None, tuple[int | None, ...]]]:
    """The position and words of each parameter by the convention, up to the first one that it does not tell."""
    walk, found = _Walk(btf, convention), list[tuple[int | None, tuple[int | None, ...]]]()
    returned = btf.target(btf.target(evidence.type_id))
    try:
        if returned and returns_in_memory(btf, returned, evidence.result):
            walk.registers = 1 if convention.has_structs else 0
        for type_id, one in pairs:
            found.append(walk.place(type_id, one.passing))
    except _LostError:
        pass
    return found


def _said(one: ParameterEvidence, convention: Convention) -> int | None:
    """The position that DWARF gives, None if it gives none."""
    if one.register is not None:
        return convention.registers.index(one.register) if one.register in convention.registers else None
    if one.stack is not None and one.stack % WORD == 0:
        return len(convention.registers) + one.stack // WORD
    return None


def _place(btf: Btf, type_id: int, passing: str, position: int | None) -> Place:
    reason = _unreadable(btf, type_id, passing)
    if reason:
        return Place(None, reason)
    if position is None:
        return Place(None, UNCERTAIN)
    return Place(position) if position < MAX_POSITIONS else Place(None, _BEYOND)


def _with_words(place: Place, words: tuple[int | None, ...]) -> Place:
    """The place of a struct, with its words as far as they can be read."""
    known = tuple(at if at is not None and at < MAX_POSITIONS else None for at in words)
    is_beyond = bool(words) and words[0] is not None and words[0] >= MAX_POSITIONS
    return Place(None, _BEYOND) if is_beyond else replace(place, words=known)


def _unreadable(btf: Btf, type_id: int, passing: str) -> str:
    """Why no register holds a value of this type; "" if one does."""
    bare = btf.strip(type_id)
    kind, size = btf.kind(bare), btf.size(bare)
    if kind == fmt.FLOAT:
        return btf.name(bare)
    if kind in layout.RECORDS:
        return f"{fmt.KIND_NAMES[kind]}, passed by reference" if passing == REFERENCE else f"{fmt.KIND_NAMES[kind]}"
    if kind in (fmt.PTR, fmt.ENUM, fmt.ENUM64, fmt.INT) and size <= WORD:
        return ""
    return "128 bits" if kind == fmt.INT else "of an unknown type"
