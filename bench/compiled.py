"""The process that `compile.py` starts: compiles one program with the smallest set of imports.

python bench/compiled.py NAME now|cached      prints the compile time in nanoseconds, once for each repetition
"""

import sys
import time

import multiprobe as mp

calls = mp.PerFunction(mp.u64)
reads = mp.Hash((mp.u64, mp.u32), mp.u64)
sizes = mp.Histogram()


@mp.program
def count(ctx):
    calls[ctx.function] += 1


@mp.program
def histogram(ctx):
    if ctx.pid > 1:
        sizes.add(ctx.arg(2))


@mp.program
def walk(ctx):
    inode = ctx.arg(0, "struct file *").f_inode
    if inode.i_mode & 0o170000 == 0o100000:
        reads[inode.i_ino, inode.i_sb.s_dev] += ctx.arg(2)


if __name__ == "__main__":
    name, way = sys.argv[1:]
    kernel = mp.Kernel() if name == "walk" else None  # which types there are; it reads nothing yet
    for _ in range(21 if way == "cached" else 1):
        began = time.perf_counter_ns()
        from multiprobe.compiler.compiling import compile_program

        compile_program(globals()[name], context="kprobe_multi", when="entry", is_cached=way == "cached", kernel=kernel)
        print(time.perf_counter_ns() - began)
