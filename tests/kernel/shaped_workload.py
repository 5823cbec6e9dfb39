"""A workload of known shape: run as a program, it does what `SHAPE` says and writes its processes' ids.

    shaped_workload.py IDS STACKED

IDS: a file for "NAME PID" lines; STACKED: a directory of an overlay over an overlay, with a file "below" in the lower
one. Each part runs in a process of its own, which calls nothing else on its way.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time

N_SLEEPS, SLEEP = 5, 0.03
N_READS = 6
N_THREADS = 4
N_MKDIRS = 3
N_BELOW = 4
N_INTERRUPTED = 3
N_PREEMPTED = 3
BIG = 1 << 24
CLOCK_NANOSLEEP = 230
"""The number of the system call, on x86-64."""

libc = ctypes.CDLL(None, use_errno=True)


class TimeSpec(ctypes.Structure):
    """struct timespec."""

    _fields_ = (("tv_sec", ctypes.c_long), ("tv_nsec", ctypes.c_long))


def sleep_once(seconds: float) -> int:
    """clock_nanosleep(2) as the kernel has it: the errno, without another try after a signal."""
    whole = int(seconds)
    return libc.clock_nanosleep(0, 0, ctypes.byref(TimeSpec(whole, int((seconds - whole) * 1e9))), None)


def sleeps(_: str) -> None:
    for _n in range(N_SLEEPS):
        sleep_once(SLEEP)


def waits(_: str) -> None:
    """Reads of a pipe that sleep until the other process writes."""
    out, into = os.pipe()
    writer = os.fork()
    if not writer:
        for _n in range(N_READS):
            sleep_once(SLEEP)
            os.write(into, b"x")
        os._exit(0)
    record("writer", writer)
    for _n in range(N_READS):
        os.read(out, 1)
    os.waitpid(writer, 0)


def recurses(stacked: str) -> None:
    """Directories through both overlays, and reads through both of a file that lies in the lower one."""
    for n in range(N_MKDIRS):
        os.mkdir(f"{stacked}/{os.getpid()}-{n}")
    fd = os.open(f"{stacked}/below", os.O_RDONLY)
    for _n in range(N_BELOW):
        os.pread(fd, 100, 0)
    os.fstat(fd)
    os.close(fd)


def interrupted(_: str) -> None:
    """Sleeps that a handled signal ends (EINTR), and one that goes on after SIGSTOP and SIGCONT (a restarted call)."""
    signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, SLEEP, SLEEP)  # again and again: one may come before the sleep has begun
    for _n in range(N_INTERRUPTED):
        assert sleep_once(60) == 4
    signal.setitimer(signal.ITIMER_REAL, 0)
    child = os.fork()
    if not child:
        sleep_once(60 * SLEEP)
        os._exit(0)
    record("restarted", child)
    wait_until_asleep(child)
    os.kill(child, signal.SIGSTOP)
    os.waitpid(child, os.WUNTRACED)
    os.kill(child, signal.SIGCONT)
    os.waitpid(child, 0)


def killed(_: str) -> None:
    """A process that is killed in its sleep: the call returns, but to nobody, and the exit never does."""
    child = os.fork()
    if not child:
        sleep_once(60)
        os._exit(0)
    record("victim", child)
    wait_until_asleep(child)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def threads(_: str) -> None:
    """Threads that sleep and read at the same time."""

    def one() -> None:
        fd = os.open("/dev/zero", os.O_RDONLY)
        for _n in range(N_READS):
            sleep_once(SLEEP / 4)
            os.pread(fd, 10, 0)
        os.close(fd)

    started = [threading.Thread(target=one) for _ in range(N_THREADS)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()


def preempted(_: str) -> None:
    """Two processes on one CPU, both inside long reads most of the time."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    child = os.fork()
    fd = os.open("/dev/zero", os.O_RDONLY)
    for _n in range(N_PREEMPTED):
        os.pread(fd, BIG, 0)
    if not child:
        os._exit(0)
    record("other", child)
    os.waitpid(child, 0)


def wait_until_asleep(pid: int) -> None:
    while True:
        with open(f"/proc/{pid}/syscall") as file:
            if file.read().startswith(f"{CLOCK_NANOSLEEP} "):
                return
        time.sleep(0.002)


def record(name: str, pid: int) -> None:
    os.write(IDS, f"{name} {pid}\n".encode())


PARTS = (sleeps, waits, recurses, interrupted, killed, threads, preempted)


def main() -> None:
    """Each part in a process of its own, one after another."""
    for part in PARTS:
        child = os.fork()
        if not child:
            part(sys.argv[2])
            os._exit(0)
        record(part.__name__, child)
        os.waitpid(child, 0)


if __name__ == "__main__":
    IDS = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    main()
