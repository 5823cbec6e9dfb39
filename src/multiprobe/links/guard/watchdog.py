"""The front end's side of the watchdog: a thread that shows that this process is alive, to a process that looks.

Links live as long as their descriptors: a process that dies detaches, one that hangs (stopped, frozen, deadlocked) does
not. What the other process does about that stands in `watchdog_child`. It is started by the thread, a moment after
programs are active: on the way to the first hit nothing waits for it.
"""

from __future__ import annotations

import os
import sys
import threading
from contextlib import ExitStack
from signal import SIGKILL
from struct import pack_into
from typing import TYPE_CHECKING

from multiprobe import threads
from multiprobe.cachedir import cache_directory
from multiprobe.maps.layout import ACTIVE, OWN

if TYPE_CHECKING:
    from multiprobe.links.ledger import Ledger
    from multiprobe.maps.maps import SharedArray

_FIRST_WAIT = 0.2
_BEATS = 8


class Watchdog:
    """Watches this process from another one until `stop`. Owns that process, and its end of the pipe to it.

    at_once: the other process has been started, and programs know its id, when this returns
    """

    def __init__(
        self, control: SharedArray, seconds: float, what: str, *, ledger: Ledger, at_once: bool = False
    ) -> None:
        self._control = control
        self._seconds = seconds
        self._what = what
        self._ledger = ledger
        self._stop = threading.Event()
        self._done = threading.Event()
        self._at_once = at_once
        self._is_up = threading.Event()
        thread = threading.Thread(target=self._run, args=(0 if at_once else _FIRST_WAIT,), daemon=True)
        threads.start(thread, "the watchdog")
        if at_once:
            self._is_up.wait()

    def stop(self) -> None:
        """End the watch. Can be done again."""
        self._stop.set()
        self._done.wait()

    def _run(self, first_wait: float) -> None:
        try:
            if not self._stop.wait(first_wait):
                self._watched()
        except OSError as error:
            self._ledger.note(f"there is no watchdog: {error.strerror}")
        finally:
            self._is_up.set()
            self._done.set()

    def _watched(self) -> None:
        with ExitStack() as ending:
            beats_out, beats_in = os.pipe()
            ending.callback(os.close, beats_in)
            with ExitStack() as theirs:
                theirs.callback(os.close, beats_out)
                process = os.pidfd_open(os.getpid())
                theirs.callback(os.close, process)
                os.set_blocking(beats_in, False)
                child = self._spawn(beats_out, process)
            ending.callback(_end, child)
            if self._at_once:
                pack_into("<I", self._control.memory, OWN + 4, child)
            self._is_up.set()
            self._beat(beats_in)

    def _spawn(self, beats: int, process: int) -> int:
        control = self._control.fd.fileno()
        script = os.path.join(os.path.dirname(__file__), "watchdog_child.py")
        log = os.path.join(cache_directory(), "watchdog.jsonl")
        numbers = [str(number) for number in (beats, process, control, ACTIVE, self._seconds)]
        arguments = [sys.executable, "-I", "-S", script, *numbers, log, f"{self._what} (process {os.getpid()})"]
        # Duplicated onto themselves: inherited by this child alone. Its own process group: Ctrl-Z doesn't stop it.
        actions = [(os.POSIX_SPAWN_DUP2, fd, fd) for fd in (beats, process, control)]
        return os.posix_spawn(sys.executable, arguments, os.environ, file_actions=actions, setpgroup=0)

    def _beat(self, beats: int) -> None:
        while not self._stop.wait(self._seconds / _BEATS):
            try:
                os.write(beats, b".")
            except BlockingIOError:  # it doesn't read: it is stopped itself
                continue
            except BrokenPipeError:
                self._ledger.note("the watchdog ended before its time: nobody watches this process")
                self._stop.wait()
                return


def _end(child: int) -> None:
    try:
        os.kill(child, SIGKILL)  # not reaped yet, so that the number is still its own
        os.waitpid(child, 0)
    except (ProcessLookupError, ChildProcessError):  # somebody reaps all children of this process
        return
