"""The command line that starts a program through `confine`, which itself runs in a process of its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence


def confined(command: Sequence[str], options: Sequence[str] = ()) -> list[str]:
    """The command line that runs `command` so that it dies with this process; `options` as `confine` takes them."""
    return [sys.executable, "-m", "multiprobe.vm.confine", "--parent", str(os.getpid()), *options, "--", *command]
