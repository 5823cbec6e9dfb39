"""The types in which facts of a processor are stated: `Arch` and its parts, and `CallSite`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple


class RegisterLayout(NamedTuple):
    """Where a function's arguments and its return value are in `struct pt_regs`.

    arguments: byte offsets of the argument registers, in order; further arguments lie on the stack
    argument_names: the members of `struct pt_regs` at these offsets, as its BTF spells them; "" for an array's items
    returned: byte offset of the return value
    stack_pointer: byte offset of the stack pointer
    stack_offset: bytes between the stack pointer at the function's entry and its first argument on the stack
    stack_alignment: the stack pointer at a function's entry, as `context_offset` gives it, is a multiple of this
    context_offset: bytes between the end of the arguments in a session's trampoline's context and the stack pointer at
        the function's entry, at least, and before that is rounded down to `stack_alignment`
    entry: byte offsets of registers that tell entries from user space into the kernel apart: number and arguments of
        the system call, where it was made, and what callers keep in others; the kernel leaves them as they were
    has_result_argument: the address of a struct that is returned in memory comes in the first argument register
    """

    arguments: tuple[int, ...]
    argument_names: tuple[str, ...]
    returned: int
    stack_pointer: int
    stack_offset: int
    stack_alignment: int
    context_offset: int
    entry: tuple[int, ...]
    has_result_argument: bool


@dataclass(frozen=True, slots=True)
class CallSite:
    """The ftrace call site at the entry of a function.

    address: of the call site itself, which may lie behind a landing-pad instruction such as ENDBR
    code: the function's first bytes
    kind: "nop", "call", "jump", "breakpoint", or "none" (another instruction)
    target: the address that a call or jump leads to, else None
    size: bytes of the call site
    """

    address: int
    code: bytes
    kind: str
    target: int | None
    size: int

    @property
    def is_patched(self) -> bool:
        """Whether the entry leads away from the function."""
        return self.kind in ("call", "jump", "breakpoint")

    @property
    def resume(self) -> int:
        """The address of the first instruction behind the call site."""
        return self.address + self.size


class UprobeCall(NamedTuple):
    """A call that the kernel has put in the place of a nop: an optimized uprobe.

    target: the address that it leads to; is_nop: it is part of a nop again, since the uprobe was removed
    """

    target: int
    is_nop: bool


class GuestMachine(NamedTuple):
    """How a virtual machine of this architecture is made.

    debian: Debian's name of the architecture, also the last word of its kernels' flavours
    qemu: QEMU's program
    qemu_package: the Debian package of that program
    console: the kernel's name of the serial console
    image_marks: (offset, bytes) that a kernel image holds which QEMU can boot
    """

    debian: str
    qemu: str
    qemu_package: str
    console: str
    image_marks: tuple[tuple[int, bytes], ...]


class Arch(NamedTuple):
    """Everything in which one architecture differs from another.

    machine: the name in os.uname().machine
    target: LLVM's target for BPF in the architecture's byte order
    system_calls: numbers of the system calls that multiprobe makes, by name
    system_call_arguments: the members of `struct pt_regs` that hold the arguments of a system call, in order
    wrappers: prefixes of the functions that the system-call table points to, those of native calls first
    open_flags: the values of those O_ flags that differ between architectures
    breakpoint: the instruction that a uprobe puts over another one
    parse_site: decodes the entry of the function at an address from its first bytes; None where only the disassembler
        of x86-64 could go on from there
    parse_uprobe_call: decodes the call by which the kernel replaces a nop under a uprobe, from the bytes at an address,
        None for other bytes; None where the kernel doesn't do so
    """

    machine: str
    target: str
    registers: RegisterLayout
    system_calls: Mapping[str, int]
    system_call_arguments: tuple[str, ...]
    wrappers: tuple[str, ...]
    open_flags: Mapping[str, int]
    guest: GuestMachine
    breakpoint: bytes
    parse_site: Callable[[bytes, int], CallSite] | None = None
    parse_uprobe_call: Callable[[bytes, int], UprobeCall | None] | None = None
