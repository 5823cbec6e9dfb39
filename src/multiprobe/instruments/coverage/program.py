"""The BPF programs of coverage: one notes the first call of each function, one the capabilities that are asked for.

After the first call of a function on a CPU, its probe reads a flag of that CPU and leaves.
"""

from __future__ import annotations

from typing import Annotated

import multiprobe as mp

CAPABILITY_CHECK = "security_capable"
"""The function through which the kernel asks for every capability: capable, ns_capable, file_ns_capable call it."""
MAX_CAPABILITIES = 64


class Hit(mp.Event):
    """The first call of a function on one CPU. process, thread: negative outside of the pid namespace, as ctx.ns_tid"""

    time: mp.u64
    function: mp.u32
    process: mp.i32
    thread: mp.i32
    name: Annotated[str, mp.string(16)]


seen = mp.PerFunction(mp.u8)
hits = mp.RingBuffer(Hit, size=1 << 23)

granted = mp.Array(mp.u64, MAX_CAPABILITIES, per_cpu=True)
denied = mp.Array(mp.u64, MAX_CAPABILITIES, per_cpu=True)


@mp.program
def cover(ctx: mp.Context) -> None:
    """Set the function's flag, and tell who was the first to call it."""
    if not seen[ctx.function]:
        seen[ctx.function] = 1
        hits.send(time=ctx.time, function=ctx.function, process=ctx.ns_pid, thread=ctx.ns_tid, name=ctx.comm)


@mp.program(when="session")
def check(ctx: mp.Context) -> None:
    """Count the answers of security_capable(cred, namespace, capability, options), by capability."""
    if not ctx.is_return:
        ctx.session = mp.u32(ctx.arg(2)) + 1
        return
    asked = ctx.session
    if not asked:
        return
    if ctx.ret == 0:
        granted[asked - 1] += 1
    else:
        denied[asked - 1] += 1
