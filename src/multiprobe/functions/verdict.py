"""The kernel's rules for a function: which mechanisms can attach to it, and the reason why others can't. Pure.

A function is described by *facts*, bits found in symbols, ftrace's list and BTF. Each rule says which mechanisms one
fact excludes at the entry and at the return, the sentence for the user, and the kernel's check that it stands for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from multiprobe.arch import ALL
from multiprobe.functions.unsafe import unsafe_reason
from multiprobe.kernel.mechanism import Mechanism, mechanism_names

NOT_TRACEABLE = 1 << 0
UNSAFE = 1 << 1
NO_BTF = 1 << 2
TOO_MANY_ARGUMENTS = 1 << 3
VARIADIC = 1 << 4
BIG_STRUCT = 1 << 5
VOID_ARGUMENT = 1 << 6
STRUCT_RETURN = 1 << 7
RETURN_TOO_LARGE = 1 << 8
DUPLICATE_NAME = 1 << 9
DENY_LISTED = 1 << 10
NORETURN = 1 << 11
INIT_SECTION = 1 << 12
NO_KPROBE = 1 << 13
ALIAS = 1 << 14
INSTANCE_UNKNOWN = 1 << 15
LIST_UNREADABLE = 1 << 16
ADDRESS_HIDDEN = 1 << 17
AMBIGUOUS_TYPE = 1 << 18

BY_BTF = Mechanism.TRACING_MULTI | Mechanism.TRAMPOLINE
BY_FTRACE = BY_BTF | Mechanism.KPROBE_MULTI
BY_ADDRESS = Mechanism.KPROBE_MULTI | Mechanism.KPROBE

DENIED_NAMES = frozenset(
    (
        b"migrate_disable",
        b"migrate_enable",
        b"___migrate_enable",
        b"rcu_read_unlock_strict",
        b"__rcu_read_lock",
        b"__rcu_read_unlock",
        b"preempt_count_add",
        b"preempt_count_sub",
    )
)
NORETURN_NAMES = frozenset(
    (
        b"do_exit",
        b"do_group_exit",
        b"kthread_complete_and_exit",
        b"kthread_exit",
        b"make_task_dead",
        b"__module_put_and_kthread_exit",
        *(f"{prefix}{call}".encode() for arch in ALL for prefix in arch.wrappers for call in ("exit", "exit_group")),
        b"__kunit_abort",
        b"kunit_try_catch_throw",
    )
)


class Rule(NamedTuple):
    """The mechanisms that one fact excludes at entry and return.

    code: the reason in a word; sentence: follows the function's name; kernel: the check in the kernel
    """

    fact: int
    code: str
    entry: int
    exit: int
    sentence: str
    kernel: str


def _both(fact: int, code: str, mask: int, sentence: str, kernel: str) -> Rule:
    return Rule(fact, code, mask, mask, sentence, kernel)


_PROTO = "btf_distill_func_proto: EINVAL"

RULES: tuple[Rule, ...] = (
    _both(
        INIT_SECTION,
        "init_section",
        Mechanism.KERNEL,
        "is in the init section, whose memory was freed after boot",
        "ftrace_free_init_mem drops its call sites; kprobes refuse freed text: EINVAL",
    ),
    _both(
        LIST_UNREADABLE,
        "list_unreadable",
        BY_FTRACE | Mechanism.KPROBE,
        "may or may not be traceable: the list of traceable functions could not be read",
        "tracefs/available_filter_functions",
    ),
    _both(
        NOT_TRACEABLE,
        "not_traceable",
        BY_FTRACE,
        "is not traceable: it has no ftrace call site (notrace, noinstr, assembly, or written for the tracer itself)",
        "not an ftrace_location: ENOENT (kprobe_multi, tracing_multi), EBUSY or EINVAL (trampoline)",
    ),
    _both(UNSAFE, "unsafe", Mechanism.KERNEL, "is unsafe to trace", "this tool's own rule; unsafe=True lifts it"),
    _both(
        INSTANCE_UNKNOWN,
        "instance_unknown",
        BY_FTRACE | Mechanism.KPROBE,
        "has the same name as other functions, and this kernel lists traceable functions by name only: "
        "which of them is traceable is unknown",
        "available_filter_functions without available_filter_functions_addrs",
    ),
    _both(
        ADDRESS_HIDDEN,
        "address_hidden",
        BY_ADDRESS,
        "has an address that the kernel hides from this user: run as root, or with CAP_SYSLOG and kptr_restrict=1",
        "kallsyms_show_value",
    ),
    _both(
        DENY_LISTED,
        "deny_listed",
        BY_BTF,
        "is on the kernel's deny list for trampolines",
        "bpf_check_attach_target, btf_id_deny: EINVAL",
    ),
    _both(
        DUPLICATE_NAME,
        "duplicate_name",
        BY_BTF,
        "has the same name as another symbol, and the kernel finds the function of a trampoline by name: it would use "
        "the first",
        "kallsyms_lookup_name: ENOENT, or another instance in silence",
    ),
    _both(
        NO_BTF,
        "no_btf",
        BY_BTF,
        "has no type information (BTF), as when the compiler changed its arguments (.isra, .constprop, .part)",
        "bpf_check_attach_target needs a BTF FUNC: EINVAL",
    ),
    _both(
        AMBIGUOUS_TYPE,
        "ambiguous_type",
        BY_BTF,
        "has several types in BTF, for functions of the same name in different source files: its arguments and its "
        "result are unknown, and a trampoline made for the wrong type overwrites arguments",
        "btf_find_by_name_kind: the first FUNC of that name, whichever function has the address",
    ),
    _both(VARIADIC, "variadic", BY_BTF, "takes a variable number of arguments", _PROTO),
    _both(
        TOO_MANY_ARGUMENTS,
        "too_many_arguments",
        BY_BTF,
        "takes more arguments than a trampoline can save (12, each 8 bytes wide)",
        "btf_distill_func_proto: EINVAL; arch_prepare_bpf_trampoline: ENOTSUPP",
    ),
    _both(BIG_STRUCT, "big_struct", BY_BTF, "takes a struct of more than 16 bytes by value", _PROTO),
    _both(
        VOID_ARGUMENT,
        "void_argument",
        BY_BTF,
        "takes an argument without a size (void, a function, an array, or a type only declared)",
        _PROTO,
    ),
    _both(STRUCT_RETURN, "struct_return", BY_BTF, "returns a struct by value", _PROTO),
    Rule(
        NORETURN,
        "noreturn",
        0,
        BY_BTF,
        "never returns, so that a trampoline that waits for its return never ends",
        "noreturn_deny: EINVAL for fexit and fsession; kernels before that list never free the trampoline",
    ),
    Rule(
        RETURN_TOO_LARGE,
        "return_too_large",
        0,
        BY_BTF,
        "returns more than 8 bytes",
        "bpf_check_attach_btf_id_multi: EOPNOTSUPP for fexit and fsession",
    ),
    _both(
        NO_KPROBE,
        "no_kprobe",
        Mechanism.KPROBE,
        "can't have a single kprobe: it is on the kprobe blacklist, or it has no ftrace call site and the kernel was "
        "built without CONFIG_KPROBE_EVENTS_ON_NOTRACE",
        "within_kprobe_blacklist, within_notrace_func: EINVAL",
    ),
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Which mechanisms can attach to a function, and the main reason why others can't.

    mechanisms, return_mechanisms: masks of `Mechanism` bits, at the entry and at the return
    code, reason: the cause, as one word and as a sentence; "" if every mechanism can. With a mask other than 0 the
        function is attachable even so.
    facts: bits of what is known of the function, from kallsyms, tracefs and BTF (constants of `functions.verdict`)
    """

    mechanisms: int
    return_mechanisms: int
    code: str
    reason: str
    facts: int

    @property
    def is_attachable(self) -> bool:
        """Whether some mechanism can attach at the entry."""
        return self.mechanisms != 0

    @property
    def names(self) -> list[str]:
        """The names of the mechanisms that can attach at the entry."""
        return mechanism_names(self.mechanisms)


def mask_of(facts: int, *, when: str = "entry", unsafe: bool = False) -> int:
    """The mechanisms that can attach to a function with these facts. A session needs both sides."""
    entry = leave = Mechanism.KERNEL
    for rule in RULES:
        if facts & rule.fact and not (unsafe and rule.fact == UNSAFE):
            entry &= ~rule.entry
            leave &= ~rule.exit
    return {"entry": entry, "return": leave, "session": entry & leave}[when]


def main_rule(facts: int, *, mask: int, when: str = "entry", unsafe: bool = False) -> Rule | None:
    """The main rule that excludes mechanisms of `mask` for a function with these facts; None if none does.

    A rule that excludes all of `mask` goes before those that exclude a part.
    """
    part: Rule | None = None
    for rule in RULES:
        if not facts & rule.fact or (unsafe and rule.fact == UNSAFE):
            continue
        refused = (rule.entry if when == "entry" else rule.exit | (rule.entry if when == "session" else 0)) & mask
        if refused == mask:
            return rule
        if refused and part is None:
            part = rule
    return part


def refusal_of(facts: int, name: str, *, mask: int, when: str = "entry", unsafe: bool = False) -> tuple[str, str]:
    """(code, sentence) of the main rule against `mask`; ("", "") if there is none."""
    rule = main_rule(facts, mask=mask, when=when, unsafe=unsafe)
    return (rule.code, sentence_of(rule, name)) if rule is not None else ("", "")


def sentence_of(rule: Rule, name: str) -> str:
    """The reason of `rule` for the function called `name`."""
    if rule.fact == UNSAFE:
        return f"{name} {unsafe_reason(name) or rule.sentence}; unsafe=True (--unsafe) attaches it nevertheless"
    return f"{name} {rule.sentence}"


def judge(facts: int, name: str, *, unsafe: bool = False) -> Verdict:
    """The verdict on a function with these facts."""
    entry = mask_of(facts, unsafe=unsafe)
    code, reason = refusal_of(facts, name, mask=Mechanism.KERNEL, unsafe=unsafe)
    if not code:
        code, reason = refusal_of(facts, name, mask=Mechanism.KERNEL, when="return", unsafe=unsafe)
    return Verdict(entry, mask_of(facts, when="return", unsafe=unsafe), code, reason, facts)


def explain(facts: int, name: str, *, unsafe: bool = False) -> list[tuple[str, str, list[tuple[str, str, str]]]]:
    """For each mechanism and side: their names, and every rule against it as (code, sentence, source)."""
    answers = []
    for bit in Mechanism.KERNEL:
        for side in ("entry", "return"):
            against = [
                (rule.code, sentence_of(rule, name), rule.kernel)
                for rule in RULES
                if facts & rule.fact
                and (rule.entry if side == "entry" else rule.exit) & bit
                and not (unsafe and rule.fact == UNSAFE)
            ]
            answers.append((bit.label, side, against))
    return answers
