"""A Dask worker of a host of its own, whose multiprobe measures on a fake kernel: `fleet_worker.py SCHEDULER HOST`.

HOST is a JSON object: name, kernel, is_root, version (of multiprobe), patience (in seconds), and what
fleet_command.py reads.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

from distributed import Worker

import multiprobe
from multiprobe.hosts import worker
from multiprobe.runs.host import Host


async def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in a shell's background
    address, described = sys.argv[1:]
    host = json.loads(described)
    os.environ["FLEET_HOST"] = described
    multiprobe.__version__ = host.get("version", multiprobe.__version__)
    worker.PATIENCE = host.get("patience", worker.PATIENCE)
    worker.PROGRAM = (sys.executable, str(Path(__file__).with_name("fleet_command.py")))
    worker.this_host = lambda: Host(name=host["name"], kernel=host["kernel"], boot_id=host["name"])
    os.geteuid = lambda: 0 if host.get("is_root", True) else 1000
    async with Worker(address, nthreads=1, local_directory=os.environ["TMPDIR"]) as made:
        await made.finished()


if __name__ == "__main__":
    asyncio.run(main())
