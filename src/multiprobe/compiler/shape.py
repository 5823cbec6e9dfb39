"""In which surroundings a program is compiled: the kind of hook, the side of the function, what the link passes.

Knows the words and which of them go together; must not know code generation.
"""

from __future__ import annotations

from dataclasses import dataclass

from multiprobe.errors import UsageError
from multiprobe.kernel.btf.format import RETURNS_UNKNOWN

CONTEXTS = ("kprobe_multi", "kprobe", "tracing", "uprobe", "raw_tracepoint")
"""The kinds of hook: "kprobe" is a single kprobe by perf event, "tracing" every trampoline, single or multi, "uprobe" a
link on functions of a binary. A "raw_tracepoint" has only arguments, and can be run by BPF_PROG_TEST_RUN, without
attaching it."""
SLEEPABLE = ("tracing", "uprobe")
"""The kinds of hook whose programs may wait for pages of user memory."""
SIDES = ("entry", "return", "session")
PER_FUNCTION = -1
MAX_ARGUMENTS = 12
"""`ctx.arg(n)` takes n below this."""
ANY_NUMBER = 255
"""Of arguments: not known, or all that `ctx.arg` can ask for."""


@dataclass(frozen=True, slots=True)
class Argument:
    """A parameter's name: where and of which type (bare: `stars` pointers to `type_id` of `module`) all functions have
    one that is called so; or the `problem` why not all of them do."""

    name: str
    position: int = 0
    type_id: int = 0
    stars: int = 0
    module: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Shape:
    """What else the code depends on, beside context and side.

    `function_from`: where ctx.function comes from: "cookie" (the link's cookie is the function's index: trampolines
    and single kprobes without cookies of the user's) or "ip" (a table by address). `has_pid`: only one process is
    looked at (constant "pid"). `has_marks`: only processes with a mark are, a byte by process id in the map "marks" or,
    by the id in the pid namespace, in "named". `leaves_out_own`: calls of the processes in the control map's OWN are
    left out.
    `is_in_namespace`: process ids are those of a pid namespace (constants "namespace.…").
    `index_shift`: functions share no block of 1 << index_shift bytes of text.
    `session_side`: "" when the kernel itself runs both sides of a session; "entry" or "return" when this is one of
    the two programs that together make one. `has_gate`: it can be replaced while attached, and its hits are counted.
    `returns`: what the return register holds, as BTF tells it of all functions (`btf_format.RETURNS_BITS`), or
    PER_FUNCTION: a table by function says it. `arguments`: what the functions' parameters are called; None where the
    functions aren't known. `n_arguments`: the smallest and the largest number of arguments of the functions; beyond the
    largest `ctx.arg(n)` is 0, and between them a table by function says whether it is. `is_sleepable`: the program may
    wait for pages of user memory. `hot_maps`: names of the histograms with hot rows (`maps.rows`). `operands`: where
    the sites of USDT probes keep their arguments, as the notes of these say; None at functions.
    """

    function_from: str = "ip"
    has_pid: bool = False
    has_marks: bool = False
    leaves_out_own: bool = False
    is_in_namespace: bool = False
    index_shift: int = 4
    session_side: str = ""
    has_gate: bool = False
    returns: int = RETURNS_UNKNOWN
    arguments: tuple[Argument, ...] | None = None
    n_arguments: tuple[int, int] = (ANY_NUMBER, ANY_NUMBER)
    is_sleepable: bool = False
    hot_maps: tuple[str, ...] = ()
    operands: str | None = None


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
    if shape.is_sleepable and context not in SLEEPABLE:
        raise UsageError(f"a program at a {context} can't be sleepable", hint="use a tracing mechanism")
    if context == "uprobe" and shape.function_from == "ip":
        raise UsageError("functions of a binary have no fixed address", hint="use Shape(function_from='cookie')")
    if context == "kprobe_multi" and shape.function_from == "cookie":
        raise UsageError("under kprobe.multi a function is found by its address", hint="use Shape(function_from='ip')")
