"""Probes that would change what a program computes, by the instruction that they are on.

- Five-byte nops. Linux kernel commit ba2bfc97b462 ("uprobes/x86: Add support to optimize uprobes") (in v6.18): a probe
  becomes a call, which pushes its return address into the 128 bytes below the stack pointer, the red zone, where a
  function that calls no other keeps variables. Since 554ba38456da (in v7.2) the red zone is stepped over first.
- A few that kernels do not step over as they must: xchg with r8, pushf, syscall, rep; pause in an emulator (`Kind`).
- Instructions with the prefix VEX or EVEX, of which the kernel's probes only look at the byte of the opcode: they do
  something else for those that share it with a jump, a call, a nop, popf or ret of one byte, and refuse those that
  share it with an instruction that can't be probed. Others are right.

Which of them this kernel does, a trial tells (`trial`): its version is never what decides.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from multiprobe.binaries.instructions import Kind
from multiprobe.binaries.mixed import binary_parts
from multiprobe.binaries.usdt import UsdtProbeSet
from multiprobe.errors import MultiprobeError, NotPermittedError
from multiprobe.links.mechanisms.trial import try_kinds
from multiprobe.links.mechanisms.uprobe_program import open_unchanged

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from multiprobe.binaries.mixed import AnyFunctionSet
    from multiprobe.binaries.sets import UserFunctionSet
    from multiprobe.links.mechanisms.trial import Outcome

_MACHINE = "x86_64"
_WHAT = {
    Kind.NOP5: "a five-byte nop",
    Kind.EXCHANGE: "an exchange with the register r8",
    Kind.PUSHF: "pushf",
    Kind.SYSCALL: "syscall",
    Kind.PAUSE: "pause",
    Kind.REPEAT: "a repeated instruction (rep)",
    Kind.GENERAL: "an instruction of BMI, which is encoded as those for vectors are",
    Kind.APX: "an instruction of APX",
}
_VECTOR = "an instruction for vectors (AVX)"
_HOW = {
    Kind.NOP5: "this kernel turns a probe on it into a call that overwrites the caller's red zone",
    Kind.PUSHF: "this kernel's probes change the flags that it saves",
    Kind.SYSCALL: "this kernel's probes lead the program astray behind it",
    Kind.PAUSE: "probes lead the program astray behind it here",
    Kind.REPEAT: "this kernel's probes run at each repetition",
}
_MISREAD = "this kernel's probes take it for another instruction"
_CODES = {
    Kind.NOP5: "red_zone",
    **dict.fromkeys((Kind.EXCHANGE, Kind.PUSHF, Kind.SYSCALL, Kind.PAUSE, Kind.REPEAT), "instruction"),
}
SetT = TypeVar("SetT", bound="AnyFunctionSet")


class Harm(NamedTuple):
    """Why a function is not probed, as one word and as a sentence."""

    code: str
    reason: str


def harmful_probes(functions: AnyFunctionSet) -> dict[int, Harm]:
    """The positions of functions of binaries whose results a probe would change here, each with the reason.

    Of USDT probes, those of which every site would. Runs a program, once for each kind of instruction in the life of
    this process, if functions begin with one that may be taken for another. Raises NotPermittedError without the right
    to attach.
    """
    found: dict[int, Harm] = {}
    parts = [(first, part, _kinds_at(part)) for first, part in binary_parts(functions)]
    why = why_harmful(frozenset(kind for _, _, kinds in parts for kind in kinds.values()))
    for first, part, kinds in parts:
        harmed = {place: kind for place, kind in kinds.items() if kind in why}
        for position, kind in _wholly(part, harmed).items():
            verb = "is" if isinstance(part, UsdtProbeSet) else "begins with"
            found[first + position] = _harm(kind, f"{part.label(position)} {verb}", why[kind])
    return found


def _wholly(part: UserFunctionSet, harmed: Mapping[int, Kind]) -> dict[int, Kind]:
    """The positions of functions all of whose sites are among those (by place), each with the kind of one of them."""
    if not isinstance(part, UsdtProbeSet):
        return dict(harmed)  # a function has one site
    positions = part.sites().positions
    right = {position for place, position in enumerate(positions) if place not in harmed}
    return {positions[place]: kind for place, kind in harmed.items() if positions[place] not in right}


def harmful_sites(probes: UsdtProbeSet) -> dict[int, Harm]:
    """The offsets in the file of the sites at which a probe would change results, each with the reason."""
    kinds = _kinds_at(probes)
    why = why_harmful(frozenset(kinds.values()))
    offsets = probes.sites().offsets
    return {offsets[place]: _harm(kind, "the site is", why[kind]) for place, kind in kinds.items() if kind in why}


def as_far_as_known(find: Callable[[SetT], dict[int, Harm]], functions: SetT) -> tuple[dict[int, Harm], list[str]]:
    """What `find` finds, for those who don't attach; without the right to try it nothing, and a note that says so."""
    try:
        return find(functions), []
    except NotPermittedError as error:
        return {}, [
            "functions that begin with certain instructions (a five-byte nop, those for vectors) may be refused: "
            f"whether this kernel's probes change what they compute could not be tried: {error}"
        ]


def _kinds_at(part: UserFunctionSet) -> dict[int, Kind]:
    """The sites, by their places, on whose instruction a probe may do harm."""
    if os.uname().machine != _MACHINE:
        return {}
    with open_unchanged(part) as file:
        return part.table.instruction_kinds(file, part.sites().offsets)


def _harm(kind: Kind, subject: str, why: str) -> Harm:
    return Harm(_CODES.get(kind, "vector"), f"{subject} {_WHAT.get(kind, _VECTOR)}, and {why}")


def why_harmful(kinds: frozenset[Kind]) -> dict[Kind, str]:
    """Why probes on these kinds of instructions are refused on this kernel; kinds that come to no harm are left out.

    Raises NotPermittedError without the right to attach.
    """
    try:
        outcomes = try_kinds(kinds)
    except NotPermittedError:
        raise
    except (MultiprobeError, OSError) as error:
        untried = f"whether this kernel's probes of those change results could not be tried: {error}"
        return dict.fromkeys(kinds, untried)
    return {kind: why for kind in kinds if (why := _why(kind, outcomes.get(kind)))}


def _why(kind: Kind, outcome: Outcome | None) -> str:
    """The same for one kind; "" if it comes to no harm."""
    if outcome is None:
        return "there is no trial of what this kernel's probes of those do"
    if outcome.is_right:
        return ""
    if outcome.cant_run:
        return (
            "this processor does not have those: no process can run it, and whether a probe would change results "
            "can't be tried"
        )
    if not outcome.n_hits:
        return f"this kernel's probes never run there: {outcome}"
    return f"{_HOW.get(kind, _MISREAD)}: {outcome}"
