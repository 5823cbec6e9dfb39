"""Spells BTF types as C does: names of types, and declarations of functions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from multiprobe.errors import DataError
from multiprobe.kernel.btf import format as fmt
from multiprobe.kernel.btf.spelling import NAMED, integer_name

if TYPE_CHECKING:
    from multiprobe.kernel.btf.records import TypeRecords

MAX_STEPS = 2000  # of one declaration: far beyond any in a kernel, and a bound for hostile files
QUALIFIER_WORDS = {fmt.CONST: "const", fmt.VOLATILE: "volatile", fmt.RESTRICT: "restrict"}


def declare(btf: TypeRecords, type_id: int, declarator: str = "") -> str:
    """The declaration of `declarator` as having this type; without one, the type's name."""
    return _Speller(btf).declare(type_id, declarator)


class _Speller:
    """Spells one declaration, and gives up when a hostile file makes it endless."""

    def __init__(self, btf: TypeRecords) -> None:
        self._btf = btf
        self._steps = 0
        self._depth = 0

    def declare(self, type_id: int, inner: str) -> str:
        """Wrap `inner` in what the types on the way to the innermost one add."""
        btf = self._btf
        prefix = ""
        while True:
            self._steps += 1
            if self._steps > MAX_STEPS:
                raise DataError(f"BTF type {type_id}: a declaration without end")
            kind = btf.kind(type_id)
            if kind == fmt.PTR:
                inner = f"*{inner}"
                if self._binds_tighter(btf.target(type_id)):
                    inner = f"({inner})"
            elif kind in QUALIFIER_WORDS:
                if self._is_pointer(btf.target(type_id)):
                    inner = f"{QUALIFIER_WORDS[kind]} {inner}".rstrip()
                else:
                    prefix += f"{QUALIFIER_WORDS[kind]} "
            elif kind == fmt.ARRAY:
                element, count = btf.array(type_id)
                inner = f"{inner}[{count}]"
                type_id = element
                continue
            elif kind == fmt.FUNC_PROTO:
                inner = f"{inner}({self._parameters(type_id)})"
            elif kind != fmt.TYPE_TAG:
                return f"{prefix}{self._base(type_id, kind)} {inner}".rstrip()
            type_id = btf.target(type_id)

    def _parameters(self, type_id: int) -> str:
        self._depth += 1
        if self._depth > fmt.MAX_DEPTH:
            raise DataError(f"BTF type {type_id}: a declaration without end")
        params = self._btf.parameters(type_id)
        texts = [self.declare(param.type_id, param.name) for param in params]
        if params and params[-1].type_id == 0:
            texts[-1] = "..."
        self._depth -= 1
        return ", ".join(texts) or "void"

    def _base(self, type_id: int, kind: int) -> str:
        name = self._btf.name(type_id)
        if kind == fmt.VOID:
            return "void"
        if kind in NAMED:
            return integer_name(name)
        if kind == fmt.FWD:
            owner, row = self._btf.owner(type_id)
            return f"{'union' if owner.flags[row] else 'struct'} {name}"
        if kind in (fmt.STRUCT, fmt.UNION, fmt.ENUM, fmt.ENUM64):
            word = "enum" if kind == fmt.ENUM64 else fmt.KIND_NAMES[kind]
            return f"{word} {name}" if name else f"{word} {{...}}"
        raise DataError(f"BTF type {type_id} is a {fmt.KIND_NAMES[kind] if kind < 20 else kind}: no C type")

    def _binds_tighter(self, type_id: int) -> bool:
        return self._behind_qualifiers(type_id) in (fmt.ARRAY, fmt.FUNC_PROTO)

    def _is_pointer(self, type_id: int) -> bool:
        return self._behind_qualifiers(type_id) == fmt.PTR

    def _behind_qualifiers(self, type_id: int) -> int:
        """The kind of the type behind qualifiers and tags (not behind typedefs)."""
        for _ in range(MAX_STEPS):
            kind = self._btf.kind(type_id)
            if kind not in fmt.QUALIFIERS:
                return kind
            type_id = self._btf.target(type_id)
        raise DataError(f"BTF type {type_id}: a circle of qualifiers")
