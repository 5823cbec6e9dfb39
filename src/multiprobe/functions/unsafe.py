"""Functions that the kernel would let us trace and that hang, crash or blind a machine when all calls are traced.

Knows names and the reason for each; must not know symbols, tables or mechanisms. Whoever means it passes
`unsafe=True`. The names come from the kernel's own tests (`is_unsafe_function` in tools/testing/selftests/bpf) and from
guests that hung; a trampoline, unlike fprobe, does not check that RCU is watching before it runs a program.
"""

from __future__ import annotations

_IDLE = "runs in the idle loop while RCU is not watching: a trampoline there hangs the machine"
_RCU = "is part of RCU, which every BPF program relies on: a program here runs inside what protects it"
_MIGRATE = "is called on the way into every BPF program: a program here calls itself"
_PREEMPT = "is called on the way into every probe handler: a program here calls itself"
# ftrace_get_symaddr() calls it, seen on 7.3: tests/kernel/test_own_calls.py looks for more such functions.
_HANDLER = "is called by the handler of kprobe.multi at each hit, before it checks for recursion: half of all calls"

EXACT = {
    "arch_cpu_idle": _IDLE,
    "default_idle": _IDLE,
    "bpf_dispatcher_xdp_func": "is rewritten by the kernel whenever an XDP program comes or goes, under the probe",
    "migrate_disable": _MIGRATE,
    "migrate_enable": _MIGRATE,
    "___migrate_enable": _MIGRATE,
    "rcu_read_unlock_strict": _RCU,
    "__rcu_read_lock": _RCU,
    "__rcu_read_unlock": _RCU,
    "preempt_count_add": _PREEMPT,
    "preempt_count_sub": _PREEMPT,
    "is_endbr": _HANDLER,
    "bpf_get_numa_node_id": "is a helper that programs call themselves: a program here may call itself",
}

PREFIXES = {
    "rcu_": _RCU,
    "__ftrace_invalid_address__": "is no function any more: the linker replaced it, and ftrace disabled its entry",
}


def unsafe_reason(name: str) -> str:
    """Why the function called `name` is not traced unless the user insists; "" if it may be traced."""
    reason = EXACT.get(name)
    if reason is not None:
        return reason
    for prefix, why in PREFIXES.items():
        if name.startswith(prefix):
            return why
    return ""
