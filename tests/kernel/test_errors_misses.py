"""`errors` after returns that it didn't see: the calls that a task makes later have their true callers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from turns import at_home

import multiprobe as mp
from multiprobe.instruments.errors import instrument as errors
from multiprobe.instruments.errors.failures import FailedCall

MECHANISMS = ("kprobe_multi", "tracing_multi", "trampoline", "kprobe")
#: What a read of a pipe goes through, and a refused dup2.
READING = ["__x64_sys_read", "ksys_read", "vfs_read"]
FAILING = ["__x64_sys_dup2", "ksys_dup3"]
READING_INPUT = "0 0x0 "
"""What /proc/PID/syscall says of a process that waits in a read of its standard input. To read its stack while it runs
makes 6.1 warn of a kretprobe (rethook_find_ret_addr)."""
#: Reads its standard input, and at every line fails once.
CHILD = """
import os
while os.read(0, 100):
    try: os.dup2(700, 5)
    except OSError: print("failed", flush=True)
"""


class Child:
    """A process that waits in a read."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.pid = process.pid

    def fail(self) -> None:
        """Let it fail once, and wait until it waits in a read again."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "failed\n"
        while not Path(f"/proc/{self.pid}/syscall").read_text().startswith(READING_INPUT):
            pass


@pytest.fixture
def child() -> Iterator[Child]:
    with subprocess.Popen([sys.executable, "-ISs", "-c", CHILD], stdin=-1, stdout=-1, text=True) as process:
        child = Child(process)
        child.fail()
        yield child
        assert process.stdin is not None
        process.stdin.close()


class Watch:
    """`errors` on one child, and the paths that its failures took since the last look."""

    def __init__(self, kernel: mp.Kernel, pid: int, mechanism: str) -> None:
        self.found: list[FailedCall] = []
        self.running = errors.start(
            kernel.functions(*READING, *FAILING),
            allow={"EBADF"},
            on_failure=self.found.append,
            mechanisms=mechanism,
            pid=pid,
            replaceable=True,
        )
        self.attachment = self.running._attachment

    def paths(self) -> list[tuple[str, ...]]:
        """One for each failure since the last time."""
        self.running.poll()
        functions = self.running.functions
        paths = [tuple("?" if n is None else functions[n].name for n in failure.path) for failure in self.found]
        self.found.clear()
        return paths

    def fail(self, child: Child) -> list[tuple[str, ...]]:
        """Let the child fail, and see the paths of it. A call that the kernel says was missed is made again."""
        while True:
            before = self.attachment.missed()
            child.fail()
            paths = self.paths()
            if paths or self.attachment.missed() == before:
                return paths


@pytest.fixture(params=at_home(MECHANISMS))
def watch(request: pytest.FixtureRequest, child: Child) -> Iterator[Watch]:
    kernel = mp.Kernel()
    if not kernel.has(request.param):
        pytest.skip(f"this kernel has no {request.param}")
    watch = Watch(kernel, child.pid, request.param)
    with watch.running:
        assert watch.fail(child) == [tuple(FAILING)]
        yield watch


def check(watch: Watch, child: Child, mechanism: str) -> None:
    """The next failures have no stale caller. Under kprobes the first one could be a tail call of the call before."""
    first = watch.fail(child)
    assert first == [tuple(FAILING)] or "kprobe" in mechanism, first
    for _ in range(3):
        assert watch.fail(child) == [tuple(FAILING)]


def test_returns_while_the_program_is_paused(watch: Watch, child: Child, request: pytest.FixtureRequest) -> None:
    for _ in range(2):
        watch.attachment.pause()
        child.fail()
        watch.attachment.resume()
        assert watch.paths() == []
        check(watch, child, request.node.callspec.params["watch"])


def test_a_function_dropped_during_its_call(watch: Watch, child: Child, request: pytest.FixtureRequest) -> None:
    watch.attachment.drop([READING[0]])
    check(watch, child, request.node.callspec.params["watch"])
    watch.attachment.add([READING[0]])
    assert watch.fail(child) == [tuple(FAILING)]
    watch.attachment.drop(READING)
    check(watch, child, request.node.callspec.params["watch"])
