"""Functions that the kernel lets users trace, and that hang, crash or blind a machine when all their calls are traced.

They are refused unless `unsafe=True`. The names are from the kernel's own tests (`is_unsafe_function` in
tools/testing/selftests/bpf) and from guests that hung; a trampoline, unlike fprobe, does not check that RCU is watching
before it runs a program.
"""

from __future__ import annotations

_IDLE = "runs in the idle loop while RCU is not watching: a trampoline there hangs the machine"
_RCU = "is part of RCU, which every BPF program relies on: a program here would run inside its own protection"
_MIGRATE = "is called on the way into every BPF program: a program here calls itself"
_PREEMPT = "is called on the way into every probe handler: a program here calls itself"
# ftrace_get_symaddr() calls it, seen on 7.3: tests/kernel/test_own_calls.py looks for more such functions.
_HANDLER = "is called by the handler of kprobe.multi at each hit, before it checks for recursion: half of all calls"

EXACT = {
    "arch_cpu_idle": _IDLE,
    "default_idle": _IDLE,
    "bpf_dispatcher_xdp_func": "is rewritten by the kernel, under the probe, when an XDP program comes or goes",
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
    "__ftrace_invalid_address__": "is not a function: the linker replaced it, and ftrace disabled its entry",
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
