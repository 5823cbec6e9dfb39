"""What depends on the processor: where a function's arguments and return value are in `struct pt_regs`.

Offsets are those of the kernel's ptrace.h; tests compare them with the BTF of every kernel tested on. Must not know
anything but the machine.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Arch:
    """`arguments`: offsets of the registers that carry them, in order; the rest lies on the stack, the first
    `stack_offset` bytes above the stack pointer at the function's entry. `target` is LLVM's name for BPF of its byte
    order."""

    name: str
    arguments: tuple[int, ...]
    argument_names: tuple[str, ...]
    returned: int
    stack_pointer: int
    stack_offset: int
    target: str


X86_64 = Arch(
    name="x86_64",
    arguments=(112, 104, 96, 88, 72, 64),
    argument_names=("di", "si", "dx", "cx", "r8", "r9"),
    returned=80,
    stack_pointer=152,
    stack_offset=8,  # the return address lies between
    target="bpfel",
)


def native() -> Arch:
    """The architecture that programs are compiled for: the only one there is, so far."""
    return X86_64
