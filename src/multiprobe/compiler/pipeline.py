"""From a Program to a Code: front end, code generator, LLVM.

Knows the order of the steps; each of them lives in a module of its own.
"""

from __future__ import annotations

from struct import pack, unpack_from
from typing import TYPE_CHECKING

from multiprobe.arch import native
from multiprobe.compiler.backend import stack
from multiprobe.compiler.backend.backedges import separate_back_edges
from multiprobe.compiler.backend.codegen import generate
from multiprobe.compiler.backend.constants import fold, shorten
from multiprobe.compiler.backend.emitter import HOLE, KFUNC_CALL, LOW_HALF_CALL
from multiprobe.compiler.backend.llvm import compile_ir
from multiprobe.compiler.code import (
    CONSTANT,
    CONSTANT_SOURCE,
    INSN_SIZE,
    KFUNC,
    LD_IMM64,
    Code,
    Relocation,
)
from multiprobe.compiler.frontend.statements import build
from multiprobe.errors import CompileError
from multiprobe.uapi.bpf import CALL

if TYPE_CHECKING:
    from multiprobe.compiler.frontend.typed import KernelTypes
    from multiprobe.compiler.ir import Routine
    from multiprobe.compiler.program import Program
    from multiprobe.compiler.shape import Shape

_WITH_IMMEDIATE = (4, 5, 6, 7)  # arithmetic and jumps, of 32 and of 64 bits
_LOW_HALF_CALL = pack("<BBhi", CALL, 0, 0, LOW_HALF_CALL)
_LOW_HALF_MOVE = pack("<BBhi", 0xBC, 1 << 4, 0, 0)  # w0 = w1


def compile_now(program: Program, *, context: str, when: str, shape: Shape, types: KernelTypes | None = None) -> Code:
    """Compile. Raises CompileError (the language), NotSupportedError (the hook can't answer what the program asks)."""
    routine = build(program, types, arguments=shape.arguments, is_session=when == "session")
    specs = [program.maps[name] for name in routine.maps]
    target = native().target
    emitter = generate(routine, specs, context=context, when=when, shape=shape, target=target)
    insns, lines = shorten(*compile_ir(emitter.text(), target=target))
    insns, lines = separate_back_edges(*fold(insns, lines, emitter.n_arguments))
    insns = _with_moves(insns)
    _check_stack(insns, routine)
    return Code(
        insns=insns,
        relocations=tuple(_relocations(insns, emitter.holes)),
        maps=routine.maps,
        needs=routine.needs,
        lines=tuple((insn, location - (1 << 10)) for insn, location in lines),
        text=routine.text,
    )


def _with_moves(insns: bytes) -> bytes:
    """`insns` with a move in place of each call that stands for one."""
    each = (insns[start : start + INSN_SIZE] for start in range(0, len(insns), INSN_SIZE))
    return b"".join(_LOW_HALF_MOVE if insn == _LOW_HALF_CALL else insn for insn in each)


def _check_stack(insns: bytes, routine: Routine) -> None:
    needed, _ = stack.depth(insns)
    if needed > stack.STACK_SIZE:
        raise CompileError(
            f"{routine.name!r} needs {needed} bytes of stack, and a BPF program has {stack.STACK_SIZE}",
            file=routine.file,
            line=routine.first_line,
            source=f"def {routine.name}",
            end_column=4 + len(routine.name),
            hint="keep fewer values at a time, shorter strings, or keep some in an Array",
        )


def _relocations(insns: bytes, holes: list[tuple[str, str]]) -> list[Relocation]:
    kinds = {source: kind for kind, source in HOLE.items()}
    found, insn, n = [], 0, len(insns) // INSN_SIZE
    while insn < n:
        opcode, registers, _, immediate = unpack_from("<BBhi", insns, insn * INSN_SIZE)
        if opcode == LD_IMM64 and registers >> 4 in kinds:
            kind, key = holes[immediate - 1]
            assert kind == kinds[registers >> 4]
            found.append(Relocation(insn, kind, key))
        elif opcode & 7 in _WITH_IMMEDIATE and not opcode & 8 and registers >> 4 == CONSTANT_SOURCE:
            found.append(Relocation(insn, CONSTANT, holes[immediate - 1][1]))
        elif opcode == CALL and immediate >= KFUNC_CALL:
            kind, key = holes[immediate - KFUNC_CALL - 1]
            found.append(Relocation(insn, KFUNC, key))
        insn += 2 if opcode == LD_IMM64 else 1
    return found
