"""Measures time per function. A session keeps the entry time until the return."""

import subprocess

import multiprobe as mp

calls, total, longest = mp.PerFunction(mp.u64), mp.PerFunction(mp.u64), mp.PerFunction(mp.u64)


@mp.program(when="session")
def measure(ctx: mp.Context) -> None:
    if not ctx.is_return:
        ctx.session = ctx.time
        return
    took = ctx.time - ctx.session
    calls[ctx.function] += 1
    total[ctx.function] += took
    longest[ctx.function] = max(longest[ctx.function], took)


with mp.attach(measure, "vfs_*") as attachment:
    subprocess.run(["ls", "-l", "/etc"], stdout=subprocess.DEVNULL, check=True)
    attachment.pause()
    n, ns = attachment.totals(calls), attachment.totals(total)
    most = attachment.read(longest, per_cpu=True).max(axis=0)
for index in sorted(range(len(n)), key=ns.__getitem__, reverse=True)[:5]:
    if n[index]:
        print(
            f"{n[index]:6,} calls, {ns[index] / n[index] / 1000:9.1f} µs each, {most[index] / 1000:9.1f} µs at most",
            end="  ",
        )
        print(attachment.functions[index])
