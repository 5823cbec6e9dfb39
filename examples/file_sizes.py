"""Prints the sizes of files that are read: members of kernel structs, located through BTF."""

import os
from typing import Annotated

import multiprobe as mp


class Read(mp.Event):
    pid: mp.u32
    inode: mp.u64
    size: mp.i64
    parent: Annotated[str, mp.string(16)]


reads = mp.RingBuffer(Read)


@mp.program
def look(ctx: mp.Context) -> None:
    inode = ctx.arg(0, "struct file *").f_inode
    parent = ctx.task.real_parent
    reads.send(pid=ctx.pid, inode=inode.i_ino, size=inode.i_size, parent=mp.kernel_string(parent.comm))


with mp.attach(look, "vfs_read", pid=os.getpid()) as attachment:
    with open("/etc/passwd", "rb") as file:
        file.read(16)
    attachment.pause()
    for event in attachment.events(reads):
        if event.inode == os.stat("/etc/passwd").st_ino:
            print(event, os.stat("/etc/passwd").st_size)
