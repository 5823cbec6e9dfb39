"""Derives from a machine's state which mechanisms work, the reason why others don't, and what to do about it.

Pure: takes a `State`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multiprobe.kernel.examine import ListState, State
    from multiprobe.kernel.features import Answer
    from multiprobe.kernel.limits import KernelLimits

MECHANISMS = ("tracing_multi", "kprobe_multi", "trampoline", "kprobe")
UPROBES = "uprobe_multi"
RIGHTS = ("CAP_BPF", "CAP_PERFMON")
#: What a kernel needs for each mechanism; the options are looked up in its configuration.
NEEDS = {
    "tracing_multi": "Linux 7.2 or newer with BPF trampolines",
    "kprobe_multi": "Linux 5.18 or newer with CONFIG_FPROBE=y",
    "trampoline": "a kernel with CONFIG_DEBUG_INFO_BTF=y and CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS=y",
    "uprobe_multi": "Linux 6.6 or newer with CONFIG_UPROBES=y",
    "kprobe": "a kernel with CONFIG_KPROBES=y, CONFIG_KPROBE_EVENTS=y and CONFIG_PERF_EVENTS=y",
}
OPTIONS = {
    "tracing_multi": ("CONFIG_BPF_JIT", "CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS", "CONFIG_DEBUG_INFO_BTF"),
    "kprobe_multi": ("CONFIG_BPF_SYSCALL", "CONFIG_BPF_EVENTS", "CONFIG_FPROBE"),
    "trampoline": ("CONFIG_BPF_JIT", "CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS", "CONFIG_DEBUG_INFO_BTF"),
    "uprobe_multi": ("CONFIG_BPF_EVENTS", "CONFIG_UPROBES", "CONFIG_UPROBE_EVENTS"),
    "kprobe": ("CONFIG_BPF_EVENTS", "CONFIG_PERF_EVENTS", "CONFIG_KPROBES", "CONFIG_KPROBE_EVENTS"),
}
#: Mechanisms that name a function by its type's number, and need no address.
BY_NAME = ("tracing_multi", "trampoline")
#: A series of kernels that has each mechanism, for `--vm`.
VM_SERIES = {
    "tracing_multi": "7.3",
    "kprobe_multi": "6.12",
    "trampoline": "6.12",
    "kprobe": "6.12",
    "uprobe_multi": "6.12",
}
ELSEWHERE = "use another kernel or machine"
AS_ROOT = "run as root"
UNLOCK = "boot it without lockdown"
FTRACE_ON = "as root: sysctl kernel.ftrace_enabled=1"
KPROBES_ON = "as root: echo 1 > /sys/kernel/debug/kprobes/enabled"
MOUNT = "mount -t tracefs tracefs /sys/kernel/tracing"
MOUNT_SYSFS = "mount -t sysfs sysfs /sys"
MOUNT_BOTH = f"{MOUNT_SYSFS} && {MOUNT}"
BIND = "-v /sys/kernel/tracing:/sys/kernel/tracing"
CONTAINER = "start the container with --privileged"
NO_FILTER = "without a seccomp filter"
UNCONFINED = "start the container with --security-opt seccomp=unconfined"
#: From this value of kernel.perf_event_paranoid on, Debian's kernels keep all perf events to CAP_SYS_ADMIN.
PARANOID = 3
CONFIDENTIALITY = "confidentiality"


@dataclass(frozen=True, slots=True)
class Finding:
    """Whether something can be used on this kernel by this user.

    subject: a mechanism, or something that several need; usable: None if it could not be found out
    why: what the kernel answered; advice: what to do, or ""
    remedy: the part of the advice that changes this machine or user, "" if nothing here helps
    is_forbidden: a right is missing, or a setting of the machine forbids it
    """

    subject: str
    usable: bool | None
    why: str
    advice: str
    remedy: str = ""
    is_forbidden: bool = False


@dataclass(frozen=True, slots=True)
class _Obstacle:
    """What prevents the use of a mechanism that the kernel has, and what removes it ("": nothing known)."""

    why: str
    remedy: str
    is_forbidden: bool = True


def diagnose_mechanisms(state: State) -> list[Finding]:
    """One finding for each of `MECHANISMS`, in order of preference, and one for functions of programs."""
    found = [diagnose_mechanism(state, name) for name in MECHANISMS]
    usable = [finding.subject for finding in found if finding.usable]
    found = [finding if finding.usable or not usable else _with_substitute(finding, usable[0]) for finding in found]
    return [*found, diagnose_uprobes(state)]


def _with_substitute(finding: Finding, other: str) -> Finding:
    return replace(finding, advice=f"{other} is used instead; to have it: {finding.advice}")


def diagnose_uprobes(state: State) -> Finding:
    """The finding for functions of programs and libraries."""
    name, answer = UPROBES, state.answers[UPROBES]
    if answer.is_yes:
        return Finding(name, True, answer.evidence, "")
    if answer.is_no:
        why = _join(f"this kernel lacks it: {answer.evidence}", _unset(state, name))
        return Finding(name, False, why, _lacking(state, name))
    return _unasked(state, name, answer)


def diagnose_mechanism(state: State, name: str) -> Finding:
    """The finding for one mechanism, whether others can be used or not."""
    answer = state.answers[name]
    if answer.is_no:
        why = _join(f"this kernel lacks it: {answer.evidence}", _unset(state, name))
        return Finding(name, False, why, _lacking(state, name))
    if not answer.is_yes:
        return _unasked(state, name, answer)
    for obstacle in (
        _ftrace_off(state),
        _kprobes_off(state, name),
        _no_list(state),
        _no_addresses(state, name),
        _no_types(state, name),
    ):
        if obstacle:
            advice = _either(obstacle.remedy or "use another kernel", _vm(state, name))
            return Finding(name, False, obstacle.why, advice, obstacle.remedy, obstacle.is_forbidden)
    return Finding(name, True, answer.evidence, "")


def _unasked(state: State, name: str, answer: Answer) -> Finding:
    """The kernel didn't answer: for want of rights, or for another reason."""
    if not state.has_sysfs and not answer.is_forbidden:
        remedy = _mounting(state.limits, MOUNT_BOTH)
        why = f"sysfs is not mounted: {answer.evidence}"
        return Finding(name, None, why, _either(remedy, _vm(state, name), "; or "), remedy)
    if not answer.is_forbidden:
        vm = _vm(state, name)
        return Finding(name, None, answer.evidence, f"{vm} if it doesn't work here" if vm else ELSEWHERE)
    built_in = {
        True: "the kernel itself seems to have it",
        False: f"and the kernel seems to lack it: {_unset(state, name)}",
    }
    seems = built_in[answer.is_built_in].removesuffix(": ") if answer.is_built_in is not None else ""
    obstacle = _forbidden(state.limits, uses_perf_events=name == "kprobe")
    remedy = "" if answer.is_built_in is False else obstacle.remedy
    advice = _either(remedy, _vm(state, name)) or ELSEWHERE
    if answer.is_built_in is False:
        advice = _lacking(state, name)
    return Finding(name, False, _join(f"{obstacle.why} ({answer.evidence})", seems), advice, remedy, True)


def _forbidden(limits: KernelLimits, *, uses_perf_events: bool = False) -> _Obstacle:
    """Why the kernel refused, as far as this process can tell, and what may help against it."""
    if limits.is_initial_user_namespace is False:
        return _Obstacle("not permitted: capabilities of a user namespace don't reach the kernel", _as_root(limits))
    lacking = limits.lacks(*RIGHTS)
    paranoid = limits.sysctls.get("perf_event_paranoid") or 0
    is_paranoid = uses_perf_events and paranoid >= PARANOID and bool(limits.lacks("CAP_SYS_ADMIN"))
    relax = f"as root: sysctl kernel.perf_event_paranoid={PARANOID - 1}" if is_paranoid else ""
    if lacking:
        place = f"in this container ({limits.container})" if limits.container else f"as user {limits.uid}"
        why = f"not permitted: this process lacks {' and '.join(lacking)} {place}"
        if relax and limits.uid and not limits.container:
            return _Obstacle(why, AS_ROOT)
        return _Obstacle(why, _join(_as_root(limits, *lacking), relax))
    if is_paranoid:
        why = f"not permitted: kernel.perf_event_paranoid = {paranoid} keeps perf events to CAP_SYS_ADMIN"
        return _Obstacle(why, relax)
    why = f"refused although this process has {' and '.join(RIGHTS)}: by {' or '.join(_suspects(limits))}"
    return _Obstacle(why, UNLOCK if _is_confidential(limits) else _unfiltered(limits))


def _unfiltered(limits: KernelLimits) -> str:
    """How to get rid of a seccomp filter, "" without one."""
    if not limits.has_seccomp_filter:
        return ""
    return UNCONFINED if limits.container else f"run {NO_FILTER}"


def _as_root(limits: KernelLimits, *capabilities: str) -> str:
    """How to get capabilities, or root's access to files, for a process like this one."""
    if limits.is_initial_user_namespace is False:
        return "run outside of the user namespace, as root"
    if limits.container:
        return f"{CONTAINER}, or with {' and '.join(capabilities)}" if capabilities else CONTAINER
    if not capabilities:
        return AS_ROOT
    names = " and ".join(capabilities)
    return f"run with {names}" if limits.uid == 0 else f"{AS_ROOT}, or with {names}"


def _is_confidential(limits: KernelLimits) -> bool:
    return bool(limits.lockdown and limits.lockdown.level == CONFIDENTIALITY)


def _suspects(limits: KernelLimits) -> list[str]:
    """Who may have refused a process that has all rights, the likeliest first."""
    suspects = ["a seccomp filter"] if limits.has_seccomp_filter else []
    suspects.append("a security module")
    if limits.container:
        suspects.append(f"the container ({limits.container})")
    lockdown = limits.lockdown
    if lockdown and lockdown.level != "none":
        # Lockdown for integrity alone leaves probes alone, except on kernels that were patched.
        place = 0 if _is_confidential(limits) else len(suspects)
        suspects.insert(place, f"kernel lockdown ({lockdown.level}, says {lockdown.source})")
    return suspects


def _ftrace_off(state: State) -> _Obstacle | None:
    if state.limits.sysctls.get("ftrace_enabled") == 0:
        why = "ftrace is switched off (kernel.ftrace_enabled = 0): what is attached never runs"
        return _Obstacle(why, FTRACE_ON, is_forbidden=False)
    return None


def _kprobes_off(state: State, name: str) -> _Obstacle | None:
    if name == "kprobe" and state.limits.kprobes_enabled is False:
        return _Obstacle("kprobes are switched off: what is attached never runs", KPROBES_ON, is_forbidden=False)
    return None


def _no_list(state: State) -> _Obstacle | None:
    """Nothing is attached unless the kernel says which functions can be."""
    return _as_obstacle(diagnose_list(state.traceable, state.limits))


def _no_addresses(state: State, name: str) -> _Obstacle | None:
    if name in BY_NAME:
        return None
    return _as_obstacle(diagnose_addresses(state.hides_addresses, state.limits))


def _no_types(state: State, name: str) -> _Obstacle | None:
    return _as_obstacle(_types(state)) if name in BY_NAME else None


def _as_obstacle(need: Finding) -> _Obstacle | None:
    if need.usable is not False:
        return None
    return _Obstacle(f"the kernel has it, but {need.why}", need.remedy, need.is_forbidden)


def diagnose_needs(state: State) -> list[Finding]:
    """What several mechanisms or instruments need: the list of functions, addresses, types, reading memory."""
    return [
        diagnose_list(state.traceable, state.limits),
        diagnose_addresses(state.hides_addresses, state.limits),
        _types(state),
        _memory(state),
        _events(state),
    ]


def diagnose_list(found: ListState, limits: KernelLimits) -> Finding:
    """The list of traceable functions, in tracefs."""
    subject = "traceable functions"
    if not found.errno_name:
        return Finding(subject, True, f"listed in {found.path}", "")
    where = f"the list of traceable functions in {found.path}" if found.path else "the list of traceable functions"
    why = f"{where} can't be read: {found.errno_name}"
    if found.errno_name == "EPERM" or _is_confidential(limits):
        # Locked down at boot, tracefs has no files at all; locked down later, opening them is EPERM.
        level = limits.lockdown.level if limits.lockdown else "lockdown or a security module"
        return _closed(subject, f"{why}; the kernel is locked down ({level})", UNLOCK)
    if not found.path:
        if found.is_built_in is False:
            return Finding(subject, False, "this kernel has no tracefs (CONFIG_FTRACE)", "use another kernel")
        remedy = _mounting(limits, MOUNT if found.has_sysfs else MOUNT_BOTH)
        return Finding(subject, False, "tracefs, which lists the traceable functions, is not mounted", remedy, remedy)
    if found.errno_name == "ENOENT":
        why = f"{why}; this kernel traces no functions (CONFIG_DYNAMIC_FTRACE)"
        return Finding(subject, False, why, "use another kernel")
    return _closed(subject, why, _as_root(limits, "CAP_DAC_READ_SEARCH"))


def _mounting(limits: KernelLimits, command: str) -> str:
    """How a file system gets mounted where this process sees it: root of a container may not mount it itself."""
    if limits.is_initial_user_namespace is False or (limits.container and limits.lacks("CAP_SYS_ADMIN")):
        remedy = _as_root(limits)
        return f"{remedy}, or with {BIND}" if remedy == CONTAINER and command == MOUNT else remedy
    return f"as root: {command}"


def _closed(subject: str, why: str, remedy: str) -> Finding:
    return Finding(subject, False, why, remedy, remedy, is_forbidden=True)


def diagnose_addresses(hides_addresses: bool | None, limits: KernelLimits) -> Finding:
    """The addresses of functions, in kallsyms."""
    subject = "addresses"
    if hides_addresses is None:
        return Finding(subject, None, "/proc/kallsyms can't be read", "mount /proc; the kernel needs CONFIG_KALLSYMS=y")
    if not hides_addresses:
        return Finding(subject, True, "/proc/kallsyms shows them", "")
    lacks = "CAP_SYSLOG" not in limits.capabilities or limits.is_initial_user_namespace is False
    right = _as_root(limits, "CAP_SYSLOG") if lacks or limits.sysctls.get("kptr_restrict") != 2 else ""
    if limits.sysctls.get("kptr_restrict") == 2:
        why = "/proc/kallsyms hides all addresses, even from root (kernel.kptr_restrict = 2)"
        return _closed(subject, why, "; ".join(filter(None, ("as root: sysctl kernel.kptr_restrict=1", right))))
    return _closed(subject, "/proc/kallsyms hides all addresses from this user, who lacks CAP_SYSLOG", right)


def _types(state: State) -> Finding:
    answer = state.answers["btf"]
    if answer.is_yes:
        return Finding("types", True, answer.evidence, "")
    if answer.is_forbidden:
        return _closed("types", answer.evidence, _as_root(state.limits, "CAP_DAC_READ_SEARCH"))
    remedy = "" if state.has_sysfs else _mounting(state.limits, MOUNT_SYSFS)
    advice = remedy or "the kernel needs CONFIG_DEBUG_INFO_BTF=y"
    return Finding("types", False if answer.is_no else None, answer.evidence, advice, remedy)


def _memory(state: State) -> Finding:
    return _helper(state, "reading kernel memory", "read_kernel")


def _events(state: State) -> Finding:
    return _helper(state, "events", "ring_buffer")


def _helper(state: State, subject: str, feature: str) -> Finding:
    answer = state.answers[feature]
    if answer.is_yes:
        return Finding(subject, True, answer.evidence, "")
    if answer.is_forbidden:
        obstacle = _forbidden(state.limits)
        advice = obstacle.remedy or state.vm_advice or ELSEWHERE
        return Finding(subject, False, obstacle.why, advice, obstacle.remedy, is_forbidden=True)
    if answer.is_no and _is_confidential(state.limits):
        return _closed(subject, f"{answer.evidence}; the kernel is locked down (confidentiality)", UNLOCK)
    return Finding(subject, False if answer.is_no else None, answer.evidence, state.vm_advice or ELSEWHERE)


def _unset(state: State, name: str) -> str:
    """The options of the kernel's configuration that are missing for a mechanism, as far as it can be read."""
    if state.config is None:
        return ""
    return ", ".join(state.config.describe(option) for option in OPTIONS[name] if not state.config.has(option))


def _lacking(state: State, name: str) -> str:
    return _either(f"boot {NEEDS[name]}", _vm(state, name))


def _vm(state: State, name: str) -> str:
    advice = state.vm_advice
    return advice and f"{advice.replace('--vm', f'--vm={VM_SERIES[name]}')}, where it works"


def _either(first: str, second: str, separator: str = ", or ") -> str:
    return separator.join(filter(None, (first, second)))


def _join(first: str, second: str) -> str:
    return f"{first}; {second}" if second else first
