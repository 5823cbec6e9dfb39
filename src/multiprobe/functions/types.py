"""Finds the functions whose prototypes fit: by a type they take or return, or by how many arguments they have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from multiprobe.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from multiprobe.functions.table import FunctionTable
    from multiprobe.kernel.btf.types import Btf

MAX_POSITION = 64


@dataclass(frozen=True, slots=True)
class TypeQuery:
    """What is asked of a prototype: a type of a parameter (at `position`), of the result, the number of arguments.

    Raises UsageError for numbers that no prototype can have.
    """

    takes: str | None = None
    position: int | None = None
    returns: str | None = None
    n_args: int | None = None

    def __post_init__(self) -> None:
        if self.position is not None and not 0 <= self.position < MAX_POSITION:
            raise UsageError(f"invalid position={self.position}: parameters are counted from 0 to {MAX_POSITION - 1}")
        if self.n_args is not None and self.n_args < 0:
            raise UsageError(f"invalid n_args={self.n_args}: it is a number of parameters, from 0")

    def fitting_ids(self, btf: Btf) -> NDArray[np.uint32]:
        """The type ids of an object's functions that fit."""
        functions = btf.functions
        fits = np.ones(len(functions), dtype=np.bool_)
        if self.takes is not None:
            fits &= btf.functions_taking(self.takes, position=self.position)
        if self.returns is not None:
            fits &= btf.functions_returning(self.returns)
        if self.n_args is not None:
            fits &= functions.n_params == self.n_args
        return functions.type_ids[fits]

    def is_known_to(self, btf: Btf) -> bool:
        """Does the object have any of the types asked for?"""
        spelled = [text for text in (self.takes, self.returns) if text is not None]
        return any(bool(btf.types_spelled(text).any()) for text in spelled)


def rows_with_types(table: FunctionTable, btf_of: Callable[[str], Btf | None], wanted: TypeQuery) -> set[int]:
    """The rows of all functions that fit; functions without BTF never do. `btf_of` gives the types of a module."""
    btf_ids = np.frombuffer(table.btf_ids, dtype=np.uint32)
    modules = np.frombuffer(table.modules, dtype=np.uint16)
    rows: set[int] = set()
    is_known = False
    for index, module in enumerate(table.module_names):
        btf = btf_of(module)
        own = np.flatnonzero((modules == index) & (btf_ids != 0))
        if btf is None or not len(own):
            continue
        is_known = is_known or wanted.is_known_to(btf)
        rows.update(own[np.isin(btf_ids[own], wanted.fitting_ids(btf))].tolist())
    named = wanted.takes or wanted.returns
    if not is_known and named is not None:
        meant = _meant(named, btf_of(""))
        hint = f"did you mean {meant!r}?" if meant else "write it as C does: 'struct sock *', 'unsigned int'"
        raise UsageError(f"this kernel has no type {named!r}", hint=hint)
    return rows


def _meant(named: str, btf: Btf | None) -> str:
    """The type with `struct`, `union` or `enum` in front, and as a pointer, if the kernel has one of that name."""
    bare = named.replace("*", "").strip()
    if not bare.isidentifier():
        return ""
    spelled = (f"struct {bare} *", f"union {bare} *", f"enum {bare}")
    return next((text for text in spelled if btf is not None and btf.types_spelled(text).any()), "")
