"""A verifier's refusal in the words of the program: which Python line, what the kernel objects to, what may help.

Knows the form of the verifier's log (kernel/bpf/verifier.c, log.c); must not know how programs are loaded.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from multiprobe.errors import VerifierError
from multiprobe.syscalls.bpf import LOG_CUT

if TYPE_CHECKING:
    from multiprobe.compiler.code import Code
    from multiprobe.compiler.program import Program

_MEANINGS = (
    (
        r"program is too large|too many instructions|sequence of .* jumps|too complex|limit of \d+ insns",
        "the verifier walks every path through a program and gives up after a million steps: fewer rounds, or fewer "
        "branches inside of loops",
    ),
    (r"infinite loop|back-edge", "the verifier can't see that the loop ends: count with `for … in range(…)`"),
    (
        r"unknown func|func unknown|cannot use helper|helper call is not allowed|calling kernel function"
        r"|kernel function .* not|kernel btf_id",
        "this kernel lacks what the line asks for, in programs of this kind",
    ),
    (r"combined stack size|stack frame|invalid .*stack", "the program has too many locals: a stack holds 512 bytes"),
    (
        r"invalid mem access|dereference of modified|R\d+ type=\w+ expected",
        "the verifier can't tell that there is memory at the address that the line uses",
    ),
    (
        r"invalid access to map value|outside of the allowed memory range|unbounded memory access"
        r"|min value is negative",
        "the verifier can't tell that the line stays inside of the map's memory",
    ),
    (r"misaligned", "the line uses a number in memory whose address is not a multiple of its size"),
    (r"invalid bpf_context access", "a program of this kind may not look there"),
    (r"!read_ok|invalid read from stack", "the line uses a value that isn't set on every path to it"),
    (r"unreachable insn", "a part of the program is never reached"),
    (r"At program exit|R0 has", "the kernel allows programs of this kind only certain results"),
)
"""What the verifier says, and what it means."""
_INSTRUCTION = re.compile(r"\s*([0-9]{1,9}): \([0-9a-f]{2}\)")
_NAMED = re.compile(r"(?:from |at |unreachable )insn ([0-9]{1,9})\b")


def explain(error: VerifierError, code: Code, program: Program) -> VerifierError:
    """The same refusal with the Python line in its message, where it can be known, and what it means as hint."""
    location = location_of(error, code)
    meaning = _meaning(error.cause) or _reason(error.log)
    explained = VerifierError(
        error.operation,
        error.errno,
        subject=error.subject,
        cause=error.cause,
        log=error.log,
        hint=f"{meaning or 'the verifier tells more'} (its whole log: `error.log`, or --debug)",
    )
    if location is not None:
        explained.message = f"{explained.message}\n{_quote(program, code, *location)}"
    return explained


def location_of(error: VerifierError, code: Code) -> tuple[int, int] | None:
    """The (line, column) that the verifier objects to, as `Code.location_of` gives it; None if the log does not say."""
    named = _NAMED.search(error.cause)
    insn = int(named[1]) if named else last_instruction(error.log)
    return None if insn is None else code.location_of(insn)


def last_instruction(log: str) -> int | None:
    """The instruction that the verifier looked at last: the last line of the form "12: (85) call …"."""
    for line in reversed(log.splitlines()):
        if line == LOG_CUT:
            return None
        found = _INSTRUCTION.match(line)
        if found:
            return int(found[1])
    return None


def _meaning(cause: str) -> str:
    return next((meaning for pattern, meaning in _MEANINGS if re.search(pattern, cause, re.IGNORECASE)), "")


def _reason(log: str) -> str:
    """What newer kernels themselves say to explain a refusal, below "Reason:"."""
    found = re.search(r"^Reason:\n((?:  .*\n)+)", log, re.MULTILINE)
    return " ".join(found[1].split()).rstrip(".") if found else ""


def _quote(program: Program, code: Code, line: int, column: int) -> str:
    python = program.function.__code__
    where = f"  {python.co_filename}:{python.co_firstlineno + line}"
    text = code.text[line] if line < len(code.text) else ""
    stripped = text.lstrip()
    at = column - 1 - (len(text) - len(stripped))
    if not column or at < 0:  # what every program does before and after its lines
        return f"{where}: in {program.name}"
    return f"{where}:\n    {stripped}\n    {' ' * at}{'^' * _width(stripped[at:])}"


def _width(text: str) -> int:
    """How much of `text` to underline: an item or a call, as far as its brackets; a name; at least one character."""
    depth = 0
    for n, character in enumerate(text):
        if character in "([":
            depth += 1
        elif character in ")]":
            depth -= 1
        elif depth == 0 and not (character.isalnum() or character in "_."):
            return max(1, n)
        if depth < 0:
            return max(1, n)
    return max(1, len(text))
