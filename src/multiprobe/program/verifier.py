"""A verifier's refusal in the words of the program: which Python line, what the kernel objects to, what may help.

Knows the form of the verifier's log (kernel/bpf/verifier.c, log.c); must not know how programs are loaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from multiprobe.errors import VerifierError

if TYPE_CHECKING:
    from multiprobe.program.code import Code
    from multiprobe.program.programs import Program

_HELP = (
    (
        ("program is too large", "too many instructions", "sequence of", "too complex"),
        "the verifier walks every path through a program and gives up after a million steps: fewer rounds, or fewer "
        "branches inside of loops",
    ),
    (("infinite loop", "back-edge"), "the verifier can't see that the loop ends: count with `for … in range(…)`"),
    (
        ("unknown func", "cannot use helper", "program of this type cannot"),
        "this kernel lacks what the program asks for",
    ),
    (("combined stack size", "stack frame"), "the program has too many locals: a stack holds 512 bytes"),
)


def explain(error: VerifierError, code: Code, program: Program) -> VerifierError:
    """The same refusal with the Python line in its message, where it can be known, and a hint."""
    insn = last_instruction(error.log)
    line = None if insn is None else code.line_of(insn)
    explained = VerifierError(
        error.operation,
        error.errno,
        subject=error.subject,
        cause=error.cause,
        log=error.log,
        hint=_hint(error.cause) or "the verifier's whole log is in the error's `log`",
    )
    if line is not None:
        explained.message = f"{explained.message}\n{_quote(program, line)}"
    return explained


def last_instruction(log: str) -> int | None:
    """The instruction that the verifier looked at last: the last line of the form "12: (85) call …"."""
    for line in reversed(log.splitlines()):
        number, colon, rest = line.lstrip().partition(": (")
        if colon and number.isdigit() and rest[2:3] == ")":
            return int(number)
    return None


def _hint(cause: str) -> str:
    lowered = cause.lower()
    return next((hint for words, hint in _HELP if any(word in lowered for word in words)), "")


def _quote(program: Program, line: int) -> str:
    import linecache

    code = program.function.__code__
    number = code.co_firstlineno + line
    text = linecache.getline(code.co_filename, number).strip()
    return f"  {code.co_filename}:{number}: {text}" if text else f"  {code.co_filename}:{number}"
