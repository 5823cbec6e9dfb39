"""Counts calls of VFS functions while a directory is listed."""

import os

import multiprobe as mp

calls = mp.PerFunction(mp.u64)


@mp.program
def count(ctx: mp.Context) -> None:
    calls[ctx.function] += 1


with mp.attach(count, "vfs_*") as attachment:
    for entry in os.scandir("/etc"):
        entry.stat()
    for function, n in attachment.top(calls, 5):
        print(f"{n:8,}  {function}")
print(attachment.report)
