"""Selects functions by type: parameter types, return type, number of arguments.

Maps functions in BTF to rows of the table. Requires BTF, and therefore NumPy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from multiprobe.errors import UsageError

if TYPE_CHECKING:
    from multiprobe.functions.kernel import Kernel
    from multiprobe.kernel.btf.types import Btf

MAX_POSITION = 64


def rows_with_types(
    kernel: Kernel, *, takes: str | None, position: int | None, returns: str | None, n_args: int | None
) -> set[int]:
    """The rows of all functions whose prototypes fit; functions without BTF never do."""
    if position is not None and not 0 <= position < MAX_POSITION:
        raise UsageError(f"{position} is no place of a parameter", hint="places count from 0")
    if n_args is not None and n_args < 0:
        raise UsageError(f"no function takes {n_args} arguments")
    table = kernel.table
    btf_ids = np.frombuffer(table.btf_ids, dtype=np.uint32)
    modules = np.frombuffer(table.modules, dtype=np.uint16)
    _ = kernel.btf  # a kernel without types says so, where an empty answer would mislead
    rows: set[int] = set()
    known = 0
    for index, module in enumerate(table.module_names):
        btf = kernel.btf_of(module)
        own = np.flatnonzero((modules == index) & (btf_ids != 0))
        if btf is None or not len(own):
            continue
        for spelling in (takes, returns):
            known |= spelling is not None and bool(btf.types_spelled(spelling).any())
        fitting = _fitting_ids(btf, takes=takes, position=position, returns=returns, n_args=n_args)
        rows.update(own[np.isin(btf_ids[own], fitting)].tolist())
    if not known and (takes is not None or returns is not None):
        raise UsageError(
            f"this kernel has no type {takes or returns!r}", hint="write it as C does: 'struct sock *', 'unsigned int'"
        )
    return rows


def _fitting_ids(
    btf: Btf, *, takes: str | None, position: int | None, returns: str | None, n_args: int | None
) -> np.ndarray[tuple[int], np.dtype[np.uint32]]:
    """The type ids of an object's functions that fit."""
    functions = btf.functions
    fits = np.ones(len(functions), dtype=np.bool_)
    if takes is not None:
        fits &= btf.functions_taking(takes, position=position)
    if returns is not None:
        fits &= btf.functions_returning(returns)
    if n_args is not None:
        fits &= functions.n_params == n_args
    return functions.type_ids[fits]
