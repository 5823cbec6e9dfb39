"""What holds for all unit tests: see `steady`; and Ctrl-C arrives, also where a shell's background job ignores it."""

from __future__ import annotations

import signal

import steady  # noqa: F401

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
