"""multiprobe's command line on a fake kernel whose vfs_read is called until a file `quiet` is there."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from fake_kernel import LIKE_7_3, FakeKernel
from multiprobe.cli import measuring
from multiprobe.cli.main import run

watch = measuring._watch_until


def main() -> int:
    with TemporaryDirectory() as directory, FakeKernel(Path(directory), LIKE_7_3) as fake:

        def call() -> None:
            while not Path("quiet").exists():
                fake.fire("vfs_read", 1, 2, 3, 4)
                time.sleep(0.01)

        def watch_while_called(*arguments: object) -> None:
            threading.Thread(target=call).start()
            watch(*arguments)

        measuring._watch_until = watch_while_called
        return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
