"""Which functions of a binary can be attached to, and the reason why others can't. Pure.

A function is described by *facts*, bits found in its symbol and the segments of its file.
"""

from __future__ import annotations

from dataclasses import dataclass

IFUNC = 1 << 0
STUB = 1 << 1
NO_CODE = 1 << 2
GO = 1 << 3
THROWS = 1 << 4
AT_RETURN = GO | THROWS
"""Facts that only forbid probes at the return."""
NO_SYMBOLS = "no_symbols"
SYMBOLS_HINT = "install its debug symbols, which name its functions: in Debian, the package …-dbgsym"
"""The code of a refusal for a file without symbols, and what to do about it."""


@dataclass(frozen=True, slots=True)
class UserVerdict:
    """Whether a function of a binary can be attached to.

    code, reason: why not, as one word and as a sentence; "" if it can
    """

    code: str
    reason: str

    @property
    def is_attachable(self) -> bool:
        """Whether it can be attached to."""
        return not self.code


#: (fact, code, sentence that follows the function's name); the first that holds is the reason.
RULES = (
    (
        STUB,
        "plt",
        "is a stub of the procedure linkage table, which jumps to another file: ask for the function in the library "
        "that has it",
    ),
    (
        NO_CODE,
        "no_code",
        "is outside of the executable segments of the file: there is no code that a process could run",
    ),
    (
        IFUNC,
        "ifunc",
        "is an indirect function (IFUNC): its symbol is that of the resolver, which runs once when a program is loaded "
        "and returns the function that is called; ask for that one, whose name ends in the processor's feature",
    ),
    (
        GO,
        "go_return",
        "is in a program written in Go, whose stacks move: a probe at the return would crash it; probe its entry",
    ),
    (
        THROWS,
        "exceptions",
        "is in a file that throws or catches exceptions (C++, Rust): one that passes through a function with a probe "
        "at the return ends the program; probe its entry, or allow it as unsafe where none passes",
    ),
)
ATTACHABLE = UserVerdict("", "")


def forbidding(*, when: str) -> int:
    """Mask of the facts that forbid a probe at this side: "entry", "return" or "session"."""
    mask = sum(fact for fact, _, _ in RULES)
    return mask & ~AT_RETURN if when == "entry" else mask


def judge_user(facts: int, name: str, *, when: str = "entry", offset: int = 0) -> UserVerdict:
    """The verdict on a probe at a function with these facts, `offset` bytes behind its entry."""
    mask = forbidding(when=when)
    for fact, code, sentence in RULES:
        if facts & fact & mask:
            return UserVerdict(code, f"{name} {sentence}")
    if offset and when != "entry":
        reason = f"{name} would be probed inside: a probe at the return must begin at the function's entry"
        return UserVerdict("offset", reason)
    return ATTACHABLE
