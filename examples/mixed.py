"""Attaches to the same functions several times, by different mechanisms; each attachment sees every call."""

import os

import multiprobe as mp

calls = mp.PerFunction(mp.u64)


@mp.program
def count(ctx: mp.Context) -> None:
    calls[ctx.function] += 1


attachments = []
for mechanism in ("tracing_multi", "kprobe_multi", "trampoline", "kprobe"):
    try:
        made = mp.attach(count, ["__x64_sys_getppid"], mechanisms=mechanism, pid=os.getpid())
    except mp.NotSupportedError as error:
        print(f"{mechanism}: {error}")
    else:
        attachments.append((mechanism, made))
for _ in range(1000):
    os.getppid()
for mechanism, attachment in attachments:
    print(f"{mechanism}: {attachment.totals(calls)[0]:,}")
    attachment.close()
