"""Receives events in asyncio, concurrently with other tasks."""

import asyncio
from typing import Annotated

import multiprobe as mp


class Exit(mp.Event):
    pid: mp.u32
    comm: Annotated[str, mp.string(16)]


exits = mp.RingBuffer(Exit)


@mp.program
def watch(ctx: mp.Context) -> None:
    exits.send(pid=ctx.pid, comm=ctx.comm)


async def main() -> None:
    with mp.attach(watch, "do_exit") as attachment:
        process = await asyncio.create_subprocess_exec("true")
        await process.wait()
        async for event in attachment.events(exits, timeout=10):
            print(event.pid, event.comm)
            if event.pid == process.pid:
                break
        else:
            raise SystemExit("its end was not seen")


if __name__ == "__main__":
    asyncio.run(main())
