"""`ctx.args.NAME`: which of the names that a program uses are parameters of all functions it is attached to, and where.

Knows prototypes; must not know the language. Off the fast path: it reads BTF, but only for programs that ask.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from multiprobe.compiler.frontend.typed import Ref
from multiprobe.compiler.shape import Argument
from multiprobe.kernel.btf import format as fmt
from multiprobe.kernel.btf.layout import first_slot, is_record

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from multiprobe.compiler.frontend.typed import KernelTypes
    from multiprobe.compiler.program import Program
    from multiprobe.functions.sets import FunctionSet
    from multiprobe.kernel.btf.types import Btf

SLOT_SIZE = 8
REGISTERS = 6
MAX_LISTED = 5

Where = tuple[int, Ref]
"""The position of a parameter, in 8-byte slots, and its type."""
Labelled = tuple[str, Mapping[str, Where]]
"""A function's label, and its parameters."""


def find_arguments(program: Program, functions: Iterable[Labelled], types: KernelTypes) -> tuple[Argument, ...]:
    """What each name in the program means as a parameter; names that no function's parameter has are left out.

    functions: each with its label and its parameters, which `types` spells
    """
    names = {name for function in program.functions for name in function.__code__.co_names}
    answers: dict[str, dict[Where | None, list[str]]] = {name: {} for name in names}
    for label, found in functions:
        for name in names:
            answers[name].setdefault(found.get(name), []).append(label)
    return tuple(_argument(name, answers[name], types) for name in sorted(names) if set(answers[name]) - {None})


def kernel_parameters(functions: FunctionSet, types: KernelTypes) -> Iterator[Labelled]:
    """The labels of functions of the kernel, and their parameters."""
    known: dict[tuple[str, int], dict[str, Where]] = {}
    for module, btf_id, label in _identities(functions):
        found = known.get((module, btf_id)) if btf_id else {}
        if found is None:
            found = known[module, btf_id] = parameters(types, module, btf_id)
        yield label, found


def _identities(functions: FunctionSet) -> Iterable[tuple[str, int, str]]:
    """Each function's module, BTF id (0: none) and name."""
    table = functions.table
    for n, row in enumerate(functions.rows):
        yield table.module(row), table.btf_ids[row], functions.label(n)


def parameters(types: KernelTypes, module: str, btf_id: int) -> dict[str, Where]:
    """The parameters of one function that are in one slot, by name."""
    btf, found = types.btf(module), dict[str, Where]()
    slot = first_slot(btf, btf_id)
    for param in btf.parameters(btf_id):
        size = _size(btf, param.type_id)
        is_cut = slot < REGISTERS < slot + -(-size // SLOT_SIZE)
        if size > fmt.BIG_STRUCT or is_cut:  # on the stack as a whole: what follows is not where it was counted
            break
        if param.name and not is_record(btf, param.type_id) and size <= SLOT_SIZE:
            found[param.name] = (slot, types.ref(module, param.type_id))
        slot += max(1, -(-size // SLOT_SIZE))
    return found


def _size(btf: Btf, type_id: int) -> int:
    return btf.size(type_id) if type_id else 0


def _argument(name: str, answers: dict[Where | None, list[str]], types: KernelTypes) -> Argument:
    if len(answers) == 1 or _are_alike(answers, types):
        position, ref = next(iter(answers)) or (0, Ref(0))
        return Argument(name, position, ref.type_id, ref.stars, ref.module)
    most = max((where for where in answers if where), key=lambda where: len(answers[where]))
    odd = [
        f"{label} {_describe(where, types)}" for where, labels in answers.items() if where != most for label in labels
    ]
    listed = "; ".join(odd[:MAX_LISTED]) + (f" (and {len(odd) - MAX_LISTED} more)" if len(odd) > MAX_LISTED else "")
    n = len(answers[most])
    usual = f"{n} {'function has' if n == 1 else 'functions have'} it {_position(most, types)}"
    return Argument(name, problem=f"not all functions have the same argument {name!r}: {usual}, but {listed}")


def _are_alike(answers: dict[Where | None, list[str]], types: KernelTypes) -> bool:
    """Whether all are integers in one position, of one width and sign, under several names of the type."""
    if None in answers or len({where[0] for where in answers if where}) > 1:
        return False
    scalars = {types.scalar(where[1]) for where in answers if where}
    return len(scalars) == 1 and None not in scalars


def _describe(where: Where | None, types: KernelTypes) -> str:
    return "has none" if where is None else f"has it {_position(where, types)}"


def _position(where: Where, types: KernelTypes) -> str:
    return f"at {where[0]} as {types.spell(where[1])}"
