"""LLVM, through llvmlite: IR text in, BPF instructions out. The only module that imports it."""

from __future__ import annotations

import re
from functools import cache

import llvmlite.binding as llvm

from multiprobe.compiler.backend.line_info import parse_line_info
from multiprobe.elf import contents
from multiprobe.errors import MultiprobeError

OPTIONS = ("-replexitval=never", "-bpf-stack-size=16384")
"""What LLVM ends the process for. It would calculate what a loop leaves from its number of rounds, in 128 bits, by a
function that BPF doesn't have; and it has an own idea of how much stack is too much (`stack` says that in words)."""
CPU = "v3"  # 32-bit arithmetic and all atomic operations; every kernel since 5.12
_EXTREME = re.compile(
    r"(?P<result>%\S+) = (?:\w+ )?call i(?P<bits>\d+) @llvm\.(?P<sign>[su])(?P<side>min|max)\.i\d+\("
    r"i\d+ (?P<left>[^,]+), i\d+ (?P<right>[^)]+)\)(?: #\d+)?"
)


@cache
def _set_options() -> None:
    """Once in a process: LLVM's options are the process's, and it ends it when it gets one twice."""
    for option in OPTIONS:
        llvm.set_option("multiprobe", option)


def compile_ir(text: str, *, target: str) -> tuple[bytes, tuple[tuple[int, int], ...]]:
    """The instructions of the module's only function, and pairs of (instruction, line as in the debug locations)."""
    _set_options()
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    try:
        module = llvm.parse_assembly(text)
        module.verify()
    except RuntimeError as error:
        raise MultiprobeError(
            f"the compiler made code that LLVM refuses: {error}", hint="please report this"
        ) from error
    machine = llvm.Target.from_triple(target).create_target_machine(cpu=CPU, opt=2)
    builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=2))
    builder.getModulePassManager().run(module, builder)
    if _EXTREME.search(text := str(module)):
        module = llvm.parse_assembly(_EXTREME.sub(_selected, text))
    found = contents(machine.emit_object(module))
    if ".rel.text" in found:
        raise MultiprobeError("LLVM made a table or a call of what the program does", hint="please report this")
    return found[".text"], parse_line_info(found.get(".BTF.ext", b""))


def _selected(call: re.Match[str]) -> str:
    """The minimum or maximum of two numbers as a comparison and a selection.

    LLVM moves the intrinsic functions for them into comparisons inside loops (BPFCheckAndAdjustIR), as if the sign of
    the comparison were theirs: seen in LLVM 22, with a signed maximum that is compared as unsigned.
    """
    result, type_, left, right = call["result"], f"i{call['bits']}", call["left"], call["right"]
    test = f"%left.{result[1:]}"
    predicate = call["sign"] + ("gt" if call["side"] == "max" else "lt")
    compared = f"{test} = icmp {predicate} {type_} {left}, {right}"
    return f"{compared}\n  {result} = select i1 {test}, {type_} {left}, {type_} {right}"
