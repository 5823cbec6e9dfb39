"""Decodes the image of a BPF trampoline: its programs, their order, side and cookies.

Based on the layout written by arch_prepare_bpf_trampoline (arch/x86/net/bpf_jit_comp.c). Pure: takes instructions and a
function that names addresses. Independent of link info, so that tests can compare the two.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from multiprobe.inspect.disassembly import Instruction

_ENTER, _EXIT = "__bpf_prog_enter", "__bpf_prog_exit"
_GLUE = ("__bpf_tramp_enter", "__bpf_tramp_exit")
_INDIRECT = "__x86_indirect_"
#: The first two arguments of a call, and where struct bpf_tramp_run_ctx has its bpf_cookie.
_FIRST, _SECOND = "rdi", "rsi"
_COOKIE_OFFSET = 0


@dataclass(frozen=True, slots=True)
class TrampolineCall:
    """A call that a trampoline makes, at `address`, to `target`, which has the name `name` ("" if unknown).

    kind: "enter" and "exit" (the glue before and after each program), "program", "function" (the original one), "glue"
    side: "entry" before the original function is called, "return" after
    cookie: what the program gets, for "enter" and "program"
    program: the kernel's address of the struct bpf_prog, for "enter" and "program"
    """

    address: int
    target: int
    name: str
    kind: str
    side: str
    cookie: int | None = None
    program: int | None = None


def read_calls(
    instructions: Iterable[Instruction], name_of: Callable[[int], str], *, resume: int | None = None
) -> tuple[TrampolineCall, ...]:
    """The calls of a trampoline's image, in its order; `resume` is where the original function goes on."""
    reader = _Reader(name_of, resume)
    for instruction in instructions:
        reader.step(instruction)
    return tuple(reader.calls)


def program_calls(calls: Sequence[TrampolineCall]) -> tuple[TrampolineCall, ...]:
    """The calls of programs, in the order in which they run."""
    return tuple(call for call in calls if call.kind == "program")


class _Reader:
    """Follows constants through registers and the frame, as far as the way from a cookie to its program goes."""

    def __init__(self, name_of: Callable[[int], str], resume: int | None) -> None:
        self.calls: list[TrampolineCall] = []
        self._name_of = name_of
        self._resume = resume
        self._side = "entry"
        self._constants: dict[str, int] = {}
        self._pointers: dict[str, int] = {}
        self._frame: dict[int, int | None] = {}
        self._entered: TrampolineCall | None = None

    def step(self, instruction: Instruction) -> None:
        """Take in one more instruction."""
        if instruction.is_call:
            self._call(instruction)
            return
        if instruction.stores is not None:
            register, place = instruction.stores
            self._frame[place] = self._constants.get(register)
        for register in instruction.writes:
            self._constants.pop(register, None)
            self._pointers.pop(register, None)
        if instruction.loads is not None:
            self._constants[instruction.loads[0]] = instruction.loads[1]
        if instruction.points is not None:
            self._pointers[instruction.points[0]] = instruction.points[1]

    def _call(self, instruction: Instruction) -> None:
        target = instruction.target
        name = self._name_of(target) if target is not None else ""
        if target is None or name.startswith(_INDIRECT):
            # Where others may redirect the function, its address is taken from the stack (BPF_TRAMP_F_ORIG_STACK).
            call = TrampolineCall(instruction.address, self._resume or 0, "", "function", self._side)
        else:
            call = self._classify(instruction.address, target, name)
        self.calls.append(call)
        if call.kind == "function":
            self._side = "return"
        self._constants.clear()
        self._pointers.clear()

    def _classify(self, address: int, target: int, name: str) -> TrampolineCall:
        if name.startswith(_ENTER):
            place = self._pointers.get(_SECOND)
            cookie = None if place is None else self._frame.get(place + _COOKIE_OFFSET)
            call = TrampolineCall(address, target, name, "enter", self._side, cookie, self._constants.get(_FIRST))
            self._entered = call
            return call
        if name.startswith(_EXIT):
            self._entered = None
            return TrampolineCall(address, target, name, "exit", self._side)
        if name.startswith(_GLUE):
            return TrampolineCall(address, target, name, "glue", self._side)
        if target == self._resume:
            return TrampolineCall(address, target, name, "function", self._side)
        entered = self._entered
        if entered is not None:
            return TrampolineCall(address, target, name, "program", self._side, entered.cookie, entered.program)
        return TrampolineCall(address, target, name, "glue", self._side)
