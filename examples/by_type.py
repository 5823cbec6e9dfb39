"""Counts calls of all functions that take an inode, selected by parameter type, while files are listed."""

import subprocess

import multiprobe as mp

calls = mp.PerFunction(mp.u32)


@mp.program
def count(ctx: mp.Context) -> None:
    calls[ctx.function] += 1


kernel = mp.Kernel()
functions = kernel.functions(takes="struct inode *") - kernel.functions("/.*lock.*/")
functions = functions.attachable().take(range(min(400, functions.n_attachable())))
with mp.attach(count, functions) as attachment:
    subprocess.run(["ls", "-lR", "/etc/default"], stdout=subprocess.DEVNULL, check=True)
    for function, n in attachment.top(calls, 8):
        print(f"{n:8,}  {function}")
