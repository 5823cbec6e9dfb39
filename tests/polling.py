"""Waits for something that happens while an instrument is polled."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE_SECONDS = 300


def poll_until(poll: Callable[[], object], holds: Callable[[], bool]) -> None:
    """Call `poll` until something holds, or the patience is at its end: the caller asserts that it holds."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds() and time.monotonic() < deadline:
        poll()
        time.sleep(0.1)
