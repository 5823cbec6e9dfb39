"""`multiprobe run` on a real kernel: what a script attaches is gone after its end, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import forked

SCRIPT = """\
import os, sys, time
import multiprobe as mp

reads = mp.Array(mp.u64, 1)

@mp.program
def count(ctx):
    reads[0] += 1

with mp.attach(count, sys.argv[1], pid=os.getpid()) as attachment:
    for _ in range(10):
        os.pread(os.open("/proc/self/stat", os.O_RDONLY), 64, 0)
    print(attachment.totals(reads)[0], flush=True)
    while sys.argv[2:]:
        time.sleep(0.1)  # a signal that comes just before a sleep is only seen after it
"""


def start(tmp_path: Path, *arguments: str) -> subprocess.Popen[str]:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    words = ["run", str(script), *arguments]
    return forked.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_script(tmp_path: Path) -> None:
    with start(tmp_path, "vfs_read") as process:
        out, err = process.communicate(timeout=800)
    assert (process.returncode, err) == (0, "")
    assert int(out) == 10


def test_nothing_matches(tmp_path: Path) -> None:
    with start(tmp_path, "no_such_function_*") as process:
        out, err = process.communicate(timeout=800)
    assert (process.returncode, out) == (3, "")
    assert f"from {tmp_path}/script.py:10" in err
    assert "Traceback" not in err


def test_ctrl_c_detaches(tmp_path: Path) -> None:
    with start(tmp_path, "vfs_read", "stay") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "10\n"
        os.kill(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=800)
    assert (process.returncode, out, err) == (130, "", "")
