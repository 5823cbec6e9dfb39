"""Finds what tracing left in the kernel, without multiprobe: BPF objects by id, functions patched by ftrace, kprobes,
and kernel warnings.
"""

from __future__ import annotations

import ctypes
import os
import re
import struct
import time
from pathlib import Path

BPF = {"x86_64": 321, "aarch64": 280}.get(os.uname().machine, -1)
NEXT_ID = {"program": 11, "map": 12, "link": 31}
FILES = {
    "traced function": Path("/sys/kernel/tracing/enabled_functions"),
    "kprobe event": Path("/sys/kernel/tracing/kprobe_events"),
    "uprobe event": Path("/sys/kernel/tracing/uprobe_events"),
    "kprobe": Path("/sys/kernel/debug/kprobes/list"),
}
PATIENCE_SECONDS = 15
#: Seen twice, on 7.3: fprobe, on which kprobe.multi is built, warns of a return for which it kept nothing.
FPROBE_RETURN = r"WARNING: kernel/trace/fprobe\.c:\d+ at fprobe_return"
N_AFTER = 25  # lines shown after one in which the kernel complains: its call trace

_COMPLAINT = re.compile(
    r"\b(WARNING:|BUG:|Oops|general protection|Call Trace|kernel panic|INFO: task|rcu:.*(stall|detected)"
    r"|refcount_t|ODEBUG|KASAN|UBSAN|list_(add|del) corruption|ftrace (bug|failed)|Failed on adding breakpoints)",
    re.IGNORECASE,
)
#: Late timers of an emulated machine on a busy one.
_HARMLESS = re.compile(r"clocksource|hrtimer: interrupt took|perf: interrupt took too long|MP-BIOS bug: 8254 timer")

#: The report, with a call trace, of a process that reached the limit of its cgroup, which tests set.
_OUT_OF_MEMORY = re.compile(
    r"^[^\n]*invoked oom-killer.*?Memory cgroup out of memory: Killed process[^\n]*$", re.DOTALL | re.MULTILINE
)

#: The rest of a warning, with its call trace, if no other one begins before its end line.
_TO_END = r"(?:(?!\b(?:WARNING|BUG): |\bOops)[\s\S])*?---\[ end trace[^\n]*$"

_syscall = ctypes.CDLL(None, use_errno=True).syscall


def ids(kind: str) -> set[int]:
    """The ids of all BPF objects of a kind."""
    found: set[int] = set()
    start = 0
    while True:
        attr = ctypes.create_string_buffer(struct.pack("<III", start, 0, 0).ljust(64, b"\0"))
        if _syscall(BPF, NEXT_ID[kind], attr, len(attr)) < 0:
            return found
        (start,) = struct.unpack_from("<I", attr.raw, 4)
        found.add(start)


def take() -> set[str]:
    """Everything there is now, as lines."""
    found = {f"{kind} {number}" for kind in NEXT_ID for number in ids(kind)}
    for what, path in FILES.items():
        if path.exists():
            found |= {f"{what} {line}" for line in path.read_text().splitlines()}
    return found


def wait_until_gone(before: set[str]) -> list[str]:
    """What is there beyond `before`, after the kernel had time to free it."""
    end = time.monotonic() + PATIENCE_SECONDS
    while (left := take() - before) and time.monotonic() < end:
        time.sleep(0.5)
    return sorted(left)[:20]


def kernel_log() -> str:
    """The whole kernel log."""
    parts = []
    fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
    try:
        while True:
            try:
                parts.append(os.read(fd, 8192).decode(errors="replace").partition(";")[2].splitlines()[0])
            except BrokenPipeError:  # a line was overwritten before it was read
                continue
            except (BlockingIOError, IndexError):
                break
    finally:
        os.close(fd)
    return "\n".join(parts)


def complaints(log: str, *, known: str = "") -> list[str]:
    """The lines in which the kernel says that something went wrong, and some that follow each.

    known: a regular expression of a warning; up to its end line, it is a fault of the kernel that is known
    """
    log = _OUT_OF_MEMORY.sub("", log)
    if known:
        log = re.sub(rf"^[^\n]*{known}{_TO_END}", "", log, flags=re.MULTILINE)
    lines = log.splitlines()
    found = [n for n, line in enumerate(lines) if _COMPLAINT.search(line) and not _HARMLESS.search(line)]
    shown = sorted({n + after for n in found for after in range(N_AFTER) if n + after < len(lines)})
    return [lines[n] for n in shown]
