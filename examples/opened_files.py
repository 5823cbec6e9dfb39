"""Prints opened files and the processes that open them: events with strings, received as they arrive."""

import subprocess
from typing import Annotated

import multiprobe as mp


class Open(mp.Event):
    pid: mp.u32
    comm: Annotated[str, mp.string(16)]
    name: Annotated[str, mp.string(128)]


opens = mp.RingBuffer(Open)


@mp.program
def watch(ctx: mp.Context) -> None:
    opens.send(pid=ctx.pid, comm=ctx.comm, name=mp.user_string(ctx.arg(1)))


with mp.attach(watch, "do_sys_openat2") as attachment:
    subprocess.run(["cat", "/etc/hostname"], stdout=subprocess.DEVNULL, check=True)
    attachment.pause()
    events = attachment.events(opens)
    for event in events:
        if event.comm == "cat":
            print(event.pid, event.name)
print(f"{events.sent} sent = {events.received} received + {events.dropped} dropped")
