"""Prints the kernel stacks that lead to a function, each distinct stack once, with symbols."""

import subprocess

import multiprobe as mp
from multiprobe.kernel.resolve import Resolver

stacks = mp.StackTraces()
counts = mp.Hash(mp.i64, mp.u64)


@mp.program
def note(ctx: mp.Context) -> None:
    counts[stacks.id(ctx)] += 1


resolver = Resolver.load()
with mp.attach(note, "vfs_getattr_nosec") as attachment:
    subprocess.run(["ls", "-l", "/etc/default"], stdout=subprocess.DEVNULL, check=True)
    for stack, n in attachment.map(counts).as_dict().items():
        places = [resolver.caller(address) for address in attachment.map(stacks).addresses(stack)]
        print(f"{n:5,}  {' < '.join(place.label for place in places if not place.is_generated)}")
