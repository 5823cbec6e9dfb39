"""What holds for all unit tests: see `steady`. Ctrl-C arrives also in a shell's background job, which ignores it, and
directories that tests make are writable by their owner only, as the cache demands, whatever the user's umask."""

from __future__ import annotations

import os
import signal

import steady  # noqa: F401

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

os.umask(0o022)
