"""Attaches one program to functions given by symbol and by address, each with its own 64-bit cookie."""

import os

import multiprobe as mp

READ, WRITE = 0xFEED_0000_0000_0001, 0xFEED_0000_0000_0002
hits = mp.Hash(mp.u64, mp.u64)


@mp.program
def note(ctx: mp.Context) -> None:
    hits[ctx.cookie] += 1


kernel = mp.Kernel()
addresses = [kernel.function(name).address for name in ("vfs_read", "vfs_write")]
for functions in (["vfs_read", "vfs_write"], addresses):
    with mp.attach(note, functions, cookies=[READ, WRITE], pid=os.getpid()) as attachment:
        os.write(os.open("/dev/null", os.O_WRONLY), b"x")
        print({hex(cookie): n for cookie, n in attachment.map(hits).as_dict().items()})
