"""Counts the calls that the kernel missed during a test, as the reports of the commands that it ran say.

A trampoline's program may be preempted (7.3 is built so); the kernel then keeps the program of other tasks' calls from
running on that CPU. An emulated processor, slow as it is, is preempted in a program again and again.
"""

from __future__ import annotations

import re

_JSON = re.compile(r'"recursion_misses":\s*(\d+)')
_TEXT = re.compile(r"([\d,]+) recursion miss")

n_calls = 0
"""Calls missed since the last `forget`."""


def forget() -> None:
    """Begin anew, with none."""
    global n_calls
    n_calls = 0


def note(output: str | bytes | None) -> None:
    """Add what the report in a command's output says was missed."""
    global n_calls
    text = output.decode(errors="replace") if isinstance(output, bytes) else output or ""
    n_calls += sum(int(found[1].replace(",", "")) for one in (_JSON, _TEXT) for found in one.finditer(text))
