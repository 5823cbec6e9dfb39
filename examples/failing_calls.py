"""Counts calls that return errors, by function and command. `ctx.ret` has the sign of each function's return type."""

import errno
import subprocess

import multiprobe as mp

failures = mp.Hash((mp.u32, mp.i32, mp.string(16)), mp.u64)


@mp.program(when="return")
def note(ctx: mp.Context) -> None:
    if -4096 < ctx.ret < 0:
        failures[ctx.function, ctx.ret, ctx.comm] += 1


with mp.attach(note, ["do_filp_open", "vfs_statx", "do_sys_openat2"]) as attachment:
    subprocess.run(["ls", "/no/such/place"], stderr=subprocess.DEVNULL, check=False)
    found = attachment.map(failures).as_dict()
for (function, number, command), n in sorted(found.items(), key=lambda item: -item[1]):
    print(f"{n:5,}  {attachment.functions[function]}  {errno.errorcode[-number]}  {command}")
