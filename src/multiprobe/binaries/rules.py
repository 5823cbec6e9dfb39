"""Which functions of a binary can be attached to, and the reason why others can't. Pure.

A function is described by *facts*, bits found in its symbol and the segments of its file.
"""

from __future__ import annotations

from dataclasses import dataclass

IFUNC = 1 << 0
STUB = 1 << 1
NO_CODE = 1 << 2


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
)
ATTACHABLE = UserVerdict("", "")


def judge_user(facts: int, name: str) -> UserVerdict:
    """The verdict on a function with these facts."""
    for fact, code, sentence in RULES:
        if facts & fact:
            return UserVerdict(code, f"{name} {sentence}")
    return ATTACHABLE
