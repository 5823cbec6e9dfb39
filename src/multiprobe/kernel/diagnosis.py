"""Derives from a machine's state which mechanisms work, the reason why others don't, and what to do about it.

Pure: takes a `State`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multiprobe.kernel.examine import State
    from multiprobe.kernel.features import Answer
    from multiprobe.kernel.limits import KernelLimits

MECHANISMS = ("tracing_multi", "kprobe_multi", "trampoline", "kprobe")
RIGHTS = ("CAP_BPF", "CAP_PERFMON")
#: What a kernel needs for each mechanism; the options are looked up in its configuration.
NEEDS = {
    "tracing_multi": "Linux 7.2 or newer with BPF trampolines",
    "kprobe_multi": "Linux 5.18 or newer with CONFIG_FPROBE=y",
    "trampoline": "a kernel with CONFIG_DEBUG_INFO_BTF=y and CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS=y",
    "kprobe": "a kernel with CONFIG_KPROBES=y, CONFIG_KPROBE_EVENTS=y and CONFIG_PERF_EVENTS=y",
}
OPTIONS = {
    "tracing_multi": ("CONFIG_BPF_JIT", "CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS", "CONFIG_DEBUG_INFO_BTF"),
    "kprobe_multi": ("CONFIG_BPF_SYSCALL", "CONFIG_BPF_EVENTS", "CONFIG_FPROBE"),
    "trampoline": ("CONFIG_BPF_JIT", "CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS", "CONFIG_DEBUG_INFO_BTF"),
    "kprobe": ("CONFIG_BPF_EVENTS", "CONFIG_PERF_EVENTS", "CONFIG_KPROBES", "CONFIG_KPROBE_EVENTS"),
}
#: A series of kernels that has each mechanism, for `--vm`.
VM_SERIES = {"tracing_multi": "7.3", "kprobe_multi": "6.12", "trampoline": "6.12", "kprobe": "6.12"}
VM = "add --vm to run the same command in a virtual machine"
UNLOCK = "boot it without lockdown"
FTRACE_ON = "sysctl kernel.ftrace_enabled=1"
KPROBES_ON = "echo 1 > /sys/kernel/debug/kprobes/enabled"
MOUNT = "mount -t tracefs tracefs /sys/kernel/tracing"


@dataclass(frozen=True, slots=True)
class Finding:
    """Whether something can be used on this kernel by this user.

    subject: a mechanism, or something that several need; usable: None if it could not be found out
    why: what the kernel answered; advice: what to do, or ""
    """

    subject: str
    usable: bool | None
    why: str
    advice: str


def diagnose_mechanisms(state: State) -> list[Finding]:
    """One finding for each of `MECHANISMS`, in order of preference."""
    found = [_mechanism(state, name) for name in MECHANISMS]
    usable = [finding.subject for finding in found if finding.usable]
    return [finding if finding.usable or not usable else _with_substitute(finding, usable[0]) for finding in found]


def _with_substitute(finding: Finding, other: str) -> Finding:
    return Finding(
        finding.subject, finding.usable, finding.why, f"{other} is used instead; to have it: {finding.advice}"
    )


def _mechanism(state: State, name: str) -> Finding:
    answer = state.answers[name]
    if answer.is_no:
        return Finding(
            name, False, _join(f"this kernel lacks it: {answer.evidence}", _unset(state, name)), _lacking(name)
        )
    if not answer.is_yes:
        return _unasked(state, name, answer)
    for obstacle in (_ftrace_off(state), _kprobes_off(state, name), _no_list(state, name), _no_addresses(state, name)):
        if obstacle:
            why, advice = obstacle
            return Finding(name, False, why, advice)
    return Finding(name, True, answer.evidence, "")


def _unasked(state: State, name: str, answer: Answer) -> Finding:
    """The kernel didn't answer: for want of rights, or for another reason."""
    if not answer.is_forbidden:
        return Finding(name, None, answer.evidence, f"{_vm(name)} if it doesn't work here")
    built_in = {
        True: "the kernel itself seems to have it",
        False: f"and the kernel seems to lack it: {_unset(state, name)}",
    }
    seems = built_in[answer.is_built_in].removesuffix(": ") if answer.is_built_in is not None else ""
    why, advice = _forbidden(state)
    if answer.is_built_in is False:
        advice = _lacking(name)
    elif not advice:
        advice = _vm(name)
    else:
        advice = f"{advice}, or {_vm(name)}"
    return Finding(name, False, _join(f"{why} ({answer.evidence})", seems), advice)


def _forbidden(state: State) -> tuple[str, str]:
    """Why the kernel refused, as far as this process can tell, and what may help against it."""
    limits = state.limits
    lacking = limits.lacks(*RIGHTS)
    place = f"in this container ({limits.container})" if limits.container else f"as user {limits.uid}"
    if lacking:
        help_ = (
            "start the container with --privileged, or with these capabilities" if limits.container else "run as root"
        )
        return f"not permitted: this process lacks {' and '.join(lacking)} {place}", help_
    if limits.is_initial_user_namespace is False:
        return "not permitted: capabilities of a user namespace don't reach the kernel", "run outside of it, as root"
    return f"refused although this process has {' and '.join(RIGHTS)}: by {' or '.join(_suspects(limits))}", ""


def _suspects(limits: KernelLimits) -> list[str]:
    """Who may have refused a process that has all rights, the likeliest first."""
    suspects = ["a seccomp filter"] if limits.has_seccomp_filter else []
    suspects.append("a security module")
    if limits.container:
        suspects.append(f"the container ({limits.container})")
    lockdown = limits.lockdown
    if lockdown and lockdown.level != "none":
        # Lockdown for integrity alone leaves probes alone, except on kernels that were patched.
        place = 0 if lockdown.level == "confidentiality" else len(suspects)
        suspects.insert(place, f"kernel lockdown ({lockdown.level}, says {lockdown.source})")
    return suspects


def _ftrace_off(state: State) -> tuple[str, str] | None:
    if state.limits.sysctls.get("ftrace_enabled") == 0:
        return "ftrace is switched off (kernel.ftrace_enabled = 0): what is attached never runs", FTRACE_ON
    return None


def _kprobes_off(state: State, name: str) -> tuple[str, str] | None:
    if name == "kprobe" and state.limits.kprobes_enabled is False:
        return "kprobes are switched off: what is attached never runs", KPROBES_ON
    return None


def _no_list(state: State, name: str) -> tuple[str, str] | None:
    """Nothing is attached unless the kernel says which functions can be."""
    finding = diagnose_list(state)
    if finding.usable:
        return None
    return f"the kernel has it, but {finding.why}", f"{finding.advice}; or {_vm(name)}"


def _no_addresses(state: State, name: str) -> tuple[str, str] | None:
    finding = diagnose_addresses(state)
    if finding.usable is not False:
        return None
    return f"the kernel has it, but {finding.why}", f"{finding.advice}; or {_vm(name)}"


def diagnose_needs(state: State) -> list[Finding]:
    """What several mechanisms or instruments need: the list of functions, addresses, types, reading memory."""
    return [diagnose_list(state), diagnose_addresses(state), _types(state), _memory(state), _events(state)]


def diagnose_list(state: State) -> Finding:
    """The list of traceable functions, in tracefs."""
    subject, found = "traceable functions", state.traceable
    if not found.errno_name:
        return Finding(subject, True, f"listed in {found.path}", "")
    if not found.path:
        if found.is_built_in is False:
            return Finding(subject, False, "this kernel has no tracefs (CONFIG_FTRACE)", "use another kernel")
        return Finding(
            subject, False, "tracefs is not mounted, which lists the traceable functions", f"as root: {MOUNT}"
        )
    why = f"the list of traceable functions in {found.path} can't be read: {found.errno_name}"
    if found.errno_name == "EPERM":
        level = state.limits.lockdown.level if state.limits.lockdown else "lockdown or a security module"
        return Finding(subject, False, f"{why}; the kernel is locked down ({level})", UNLOCK)
    if found.errno_name == "ENOENT":
        return Finding(
            subject, False, f"{why}; this kernel traces no functions (CONFIG_DYNAMIC_FTRACE)", "use another kernel"
        )
    return Finding(subject, False, why, "run as root")


def diagnose_addresses(state: State) -> Finding:
    """The addresses of functions, in kallsyms."""
    subject = "addresses"
    if state.hides_addresses is None:
        return Finding(subject, None, "/proc/kallsyms can't be read", "mount /proc; the kernel needs CONFIG_KALLSYMS=y")
    if not state.hides_addresses:
        return Finding(subject, True, "/proc/kallsyms shows them", "")
    restrict = state.limits.sysctls.get("kptr_restrict")
    why = "/proc/kallsyms hides all addresses from this user"
    if restrict == 2:
        why = "/proc/kallsyms hides all addresses, even from root (kernel.kptr_restrict = 2)"
        return Finding(subject, False, why, "sysctl kernel.kptr_restrict=1")
    return Finding(subject, False, why, "run as root, or with CAP_SYSLOG")


def _types(state: State) -> Finding:
    answer = state.answers["btf"]
    if answer.is_yes:
        return Finding("types", True, answer.evidence, "")
    advice = "run as root" if answer.is_forbidden else "the kernel needs CONFIG_DEBUG_INFO_BTF=y"
    return Finding("types", False if answer.is_no or answer.is_forbidden else None, answer.evidence, advice)


def _memory(state: State) -> Finding:
    return _helper(state, "reading kernel memory", "read_kernel")


def _events(state: State) -> Finding:
    return _helper(state, "events", "ring_buffer")


def _helper(state: State, subject: str, feature: str) -> Finding:
    answer = state.answers[feature]
    if answer.is_yes:
        return Finding(subject, True, answer.evidence, "")
    if answer.is_forbidden:
        why, advice = _forbidden(state)
        return Finding(subject, False, why, advice or VM)
    lockdown = state.limits.lockdown
    if answer.is_no and lockdown and lockdown.level == "confidentiality":
        return Finding(subject, False, f"{answer.evidence}; the kernel is locked down (confidentiality)", UNLOCK)
    return Finding(subject, False if answer.is_no else None, answer.evidence, VM)


def _unset(state: State, name: str) -> str:
    """The options of the kernel's configuration that are missing for a mechanism, as far as it can be read."""
    if state.config is None:
        return ""
    return ", ".join(state.config.describe(option) for option in OPTIONS[name] if not state.config.has(option))


def _lacking(name: str) -> str:
    return f"boot {NEEDS[name]}, or {_vm(name)}"


def _vm(name: str) -> str:
    return f"add --vm={VM_SERIES[name]} to run the same command in a virtual machine, where it works"


def _join(first: str, second: str) -> str:
    return f"{first}; {second}" if second else first
