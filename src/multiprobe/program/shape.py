"""In which surroundings a program is compiled: the kind of hook, the side of the function, what the link passes.

Knows the words and which of them go together; must not know code generation.
"""

from __future__ import annotations

from multiprobe.errors import UsageError
from multiprobe.values import value

CONTEXTS = ("kprobe_multi", "kprobe", "tracing", "raw_tracepoint")
"""The kinds of hook: "kprobe" is a single kprobe by perf event, "tracing" every trampoline, single or multi. A
"raw_tracepoint" has only arguments, and can be run by BPF_PROG_TEST_RUN, without attaching it."""
SIDES = ("entry", "return", "session")


@value
class Shape:
    """What else the code depends on, beside context and side.

    `function_from`: where ctx.function comes from: "cookie" (the link's cookie is the function's index: trampolines
    and single kprobes without cookies of the user's) or "ip" (a table by address). `has_pid`: only one process is
    looked at (constant "pid"). `index_shift`: functions share no block of 1 << index_shift bytes of text.
    `session_side`: "" when the kernel itself runs both sides of a session; "entry" or "return" when this is one of
    the two programs that together make one. `has_gate`: it can be replaced while attached, and its hits are counted.
    """

    function_from: str = "ip"
    has_pid: bool = False
    index_shift: int = 4
    session_side: str = ""
    has_gate: bool = False


def check(context: str, when: str, shape: Shape) -> None:
    """Raise UsageError for words that don't exist."""
    for word, known, what in (
        (context, CONTEXTS, "context"),
        (when, SIDES, "when"),
        (shape.function_from, ("ip", "cookie"), "function_from"),
        (shape.session_side, ("", "entry", "return"), "session_side"),
    ):
        if word not in known:
            raise UsageError(f"{what}={word!r} means nothing", hint=f"use one of {', '.join(map(repr, known))}")
    if shape.session_side and (when != "session" or context not in ("kprobe", "tracing")):
        raise UsageError(f"no session is made of two programs at when={when!r} under {context}")
    if context == "kprobe_multi" and shape.function_from == "cookie":
        raise UsageError("under kprobe.multi a function is found by its address", hint="use Shape(function_from='ip')")
