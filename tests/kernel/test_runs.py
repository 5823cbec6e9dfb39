"""Saved runs of a real kernel: counted twice, loaded, merged and compared."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from slow_fuse import mounted

import forked
import multiprobe as mp

pytestmark = pytest.mark.once("6.12")

N = 1234
REPEATS, DELAY = 4, 0.2
CALLS = "import os\nfor _ in range({}): os.getppid()"
FUNCTIONS = ["__x64_sys_getppid", "vfs_*", "migrate_disable"]


def save(path: Path, n: int, *command: str) -> None:
    """A run of a command that calls getppid so often."""
    words = [*(command or ("count",)), *FUNCTIONS, "--command-only", "--save", str(path)]
    ended = forked.run([*words, "--", sys.executable, "-c", CALLS.format(n)])
    assert ended.returncode == 0, ended.stderr


def calls_of(rows: mp.Table, name: str) -> int:
    return sum(row["calls"] for row in rows if row["function"] == name)


def test_counted_twice_loaded_merged_and_compared(tmp_path: Path) -> None:
    for n, name in ((N, "before0"), (N, "before1"), (2 * N, "after0"), (2 * N, "after1")):
        save(tmp_path / f"{name}.jsonl.gz", n)
    run = mp.Run.load(tmp_path / "before0.jsonl.gz")
    assert calls_of(run.rows, "__x64_sys_getppid") == N
    assert run.report is not None
    assert run.report.attached == len(run.attached) > 10
    assert ("", "__x64_sys_getppid") in run.attached
    assert "migrate_disable" in [one.request for one in run.report.skipped]
    assert run.host.kernel == os.uname().release
    assert run.host.build_id
    assert run.end.monotonic_ns - run.start.monotonic_ns >= 1e9 * run.seconds * 0.5

    merged = mp.merge(sorted(tmp_path.iterdir()))
    assert calls_of(merged.rows, "__x64_sys_getppid") == 6 * N
    assert merged.n_hosts == 1
    assert all(row["attached_hosts"] == 1 for row in merged.rows)

    found = mp.diff(sorted(tmp_path.glob("before*")), sorted(tmp_path.glob("after*")))
    assert [(row["function"], row["change"], row["factor"]) for row in found.claims] == [
        ("__x64_sys_getppid", "more", 2)
    ]
    ended = forked.run(["diff", *map(str, sorted(tmp_path.glob("before*"))), "--", *map(str, tmp_path.glob("after*"))])
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[1].split()[:4] == ["more", f"{N:,}", f"{2 * N:,}", "2.00"]


def test_times_are_saved_and_added_up(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save(tmp_path / name, N, "latency")
    runs = [mp.Run.load(tmp_path / name) for name in ("a", "b")]
    rows = [next(row for row in run.rows if row["function"] == "__x64_sys_getppid") for run in runs]
    merged = next(row for row in mp.merge(runs).rows if row["function"] == "__x64_sys_getppid")
    assert merged["calls"] == 2 * N
    assert merged["total_ns"] == sum(row["total_ns"] for row in rows)
    assert sum(n for _, _, n in merged["histogram"]) == 2 * N
    assert merged["max_ns"] == max(row["max_ns"] for row in rows)


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A file of 4 kB in memory."""
    directory = tmp_path / "memory"
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", str(directory)], check=True)
    (directory / "file").write_bytes(bytes(4096))
    yield directory / "file"
    subprocess.run(["umount", str(directory)], check=True)


def test_a_file_system_that_delays_is_found_and_nothing_else(tmp_path: Path, memory: Path) -> None:
    (tmp_path / "fuse").mkdir()
    words = ["latency", "fuse_direct_io", "shmem_file_read_iter", "--command-only", "--save"]
    for turn in range(REPEATS):
        for side, delay in (("before", 0.0), ("after", DELAY)):
            with mounted(tmp_path / "fuse", delay) as slow:
                reads = f"dd if={slow} of=/dev/null bs=4k count=10; dd if={memory} of=/dev/null bs=8"
                ended = forked.run([*words, str(tmp_path / f"{side}{turn}"), "--", "sh", "-c", reads])
            assert ended.returncode == 0, ended.stderr
    found = mp.diff(sorted(tmp_path.glob("before*")), sorted(tmp_path.glob("after*")), least=1.0)
    assert {(row["function"], row["change"]) for row in found.claims} == {("fuse_direct_io", "slower")}, [*found.rows]
