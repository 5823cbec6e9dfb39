"""multiprobe's command line on a fake kernel, on which vfs_read is called as often as FLEET_HOST says (`calls`).

Its `action`: "exit" ends it with an error before it measures; "junk" saves what is no run; while it measures, "die"
kills and "hang" stops the worker that started it; "attach" does not come to an end of attaching,
and "deaf" notes that it is to end, and goes on.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from fake_kernel import LIKE_7_3, FakeKernel
from multiprobe.cli import measuring
from multiprobe.cli.main import run
from multiprobe.runs import this_run
from multiprobe.runs.host import Host

SIGNALS = {"die": signal.SIGKILL, "hang": signal.SIGSTOP}
HOST = json.loads(os.environ["FLEET_HOST"])
watch = measuring._watch_until


def main() -> int:
    action = HOST.get("action")
    if action == "exit":
        print("multiprobe: cannot attach: EPERM\n  hint: be root", file=sys.stderr)
        return 4
    if action == "deaf":
        Path(os.environ["TMPDIR"], "pid").write_text(str(os.getpid()))
        signal.signal(signal.SIGTERM, lambda *_: Path(os.environ["TMPDIR"], "deaf").touch())
    if action in ("attach", "deaf"):
        Path(os.environ["TMPDIR"], f"measuring-{HOST['name']}").touch()
        time.sleep(1000)  # which goes on after a signal
    if action == "junk":
        Path(sys.argv[sys.argv.index("--save") + 1]).write_bytes(b"junk")
        return 0
    with TemporaryDirectory() as directory, FakeKernel(Path(directory), LIKE_7_3) as fake:

        def watch_and_call(*arguments: object) -> None:
            for _ in range(HOST.get("calls", 1)):
                fake.fire("vfs_read", 1, 2, 3, 4)
            if action in SIGNALS:
                os.kill(os.getppid(), SIGNALS[action])
            Path(os.environ["TMPDIR"], f"measuring-{HOST['name']}").touch()
            watch(*arguments)
            Path(os.environ["TMPDIR"], f"ended-{HOST['name']}").touch()

        measuring._watch_until = watch_and_call
        this_run.this_host = lambda: Host(name=HOST["name"], kernel=HOST["kernel"], boot_id=HOST["name"])
        return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
