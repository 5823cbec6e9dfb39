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
USDT = 1 << 5
SEMAPHORE = 1 << 6
NOT_CALLED = 1 << 7
KEEPS_RETURN = 1 << 8
AT_RETURN = GO | THROWS
"""Facts that only forbid probes at the return, unless they are allowed as unsafe."""
_ONLY_AT_RETURN = AT_RETURN | USDT | NOT_CALLED | KEEPS_RETURN
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


_KEEPING = ("setjmp", "sigsetjmp", "getcontext", "swapcontext", "dlsym", "dlvsym", "mcount")
_JUMPED_TO = ("start", "dl_start_user", "start_context", "restore", "restore_rt")
_RESOLVING = [
    f"_dl_runtime_{what}{how}"
    for what in ("resolve", "resolve_shstk", "profile")
    for how in ("", "_fxsave", "_xsave", "_xsavec", "_sse", "_avx", "_avx512")
]
#: Facts of functions of the C library and the loader, which their names tell: their return address is not one, or is
#: read. Programs came to harm by _start, _setjmp, getcontext, swapcontext and __start_context; the others do the same.
FACTS_OF_NAMES = {
    **{f"{'_' * n}{name}": KEEPS_RETURN for name in _KEEPING for n in range(4)},
    **{f"{'_' * n}{name}": NOT_CALLED for name in _JUMPED_TO for n in range(1, 4)},
    "__fentry__": KEEPS_RETURN,
    **dict.fromkeys(_RESOLVING, NOT_CALLED),
}


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
        SEMAPHORE,
        "semaphore",
        "is guarded by a counter outside of the file's writable data, or by two of them: no process would come to it",
    ),
    (
        USDT,
        "usdt_return",
        "is a USDT probe, a site inside a function: it has no return; probe its entry (trace --entry)",
    ),
    (
        NOT_CALLED,
        "not_called",
        "is not called: a program begins there, or code jumps to it. A probe at the return would overwrite what is on "
        "the stack in place of a return address; probe its entry",
    ),
    (
        KEEPS_RETURN,
        "keeps_return",
        "keeps its return address for later, as setjmp does: with a probe at the return that is the probe's, and the "
        "program that jumps there is killed; probe its entry",
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
    return mask & ~_ONLY_AT_RETURN if when == "entry" else mask


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


SITE_FACTS = {"no_code": NO_CODE, "semaphore": SEMAPHORE}
"""The facts of a USDT probe, none of whose sites can be attached to, by the code of a site's verdict."""


def judge_site(name: str, *, has_code: bool, has_counter: bool, is_only: bool) -> UserVerdict:
    """The verdict on a site of a USDT probe.

    has_code: it is in an executable segment; has_counter: it has no semaphore, or one in the file's writable data;
    is_only: no other semaphore guards the same instruction
    """
    facts = (0 if has_code else NO_CODE) | (0 if has_counter and is_only else SEMAPHORE)
    return judge_user(facts, name)
