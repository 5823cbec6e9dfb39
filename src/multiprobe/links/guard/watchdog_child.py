"""The watchdog itself: a process of its own, run as a script by a bare interpreter. Imports nothing of multiprobe.

    watchdog_child.py BEATS PROCESS CONTROL OFFSET SECONDS LOG WHAT

Holds three descriptors: BEATS, a pipe on which the front end shows that it is alive; PROCESS, a pidfd of the front end;
CONTROL, the map in which programs look whether they are active. No link: when the front end dies, so do its links. When
no beat comes for SECONDS it switches the programs off (8 bytes at OFFSET), ends the front end (SIGKILL, which a stopped
process obeys too), whose links the kernel then closes, and says so: on stderr, and as a line of JSON in LOG.
"""

from __future__ import annotations

import errno
import json
import mmap
import os
import select
import signal
import sys
import time

STEPS = 4
"""The silence is waited for in so many steps, all of them silent: when the whole machine was paused, one is."""
PATIENCE = 60.0


def hangs(beats: int, process: int, seconds: float) -> bool:
    """Wait until the front end is silent for so long (True), or ends (False)."""
    poll = select.poll()
    poll.register(beats, select.POLLIN)
    poll.register(process, select.POLLIN)
    silent = 0
    while silent < STEPS:
        ready = {fd for fd, _ in poll.poll(1000 * seconds / STEPS)}
        if process in ready:
            return False
        silent = 0 if beats in ready else silent + 1
        if beats in ready and not os.read(beats, 4096):
            return False
    return True


def switch_off(control: int, offset: int) -> None:
    """Have the programs return at once on every hit."""
    with mmap.mmap(control, mmap.PAGESIZE) as memory:
        memory[offset : offset + 8] = bytes(8)


def end(process: int) -> bool:
    """Kill the front end; whether it is gone, and its descriptors with it."""
    try:
        signal.pidfd_send_signal(process, signal.SIGKILL)
    except ProcessLookupError:
        return True
    poll = select.poll()
    poll.register(process, select.POLLIN)
    return bool(poll.poll(1000 * PATIENCE))


def say(what: str, seconds: float, *, is_gone: bool, log: str) -> None:
    """Tell what happened. The log first: a terminal may be what the front end hangs on."""
    fate = "the kernel has detached its probes" if is_gone else "it is not gone yet; its probes do nothing any more"
    event = {"type": "watchdog", "time": time.time(), "seconds": seconds, "what": what, "detached": is_gone}
    if log:
        try:
            with open(log, "a", encoding="utf-8", opener=_own) as file:
                file.write(json.dumps(event) + "\n")
        except OSError:
            log = ""
    words = f"multiprobe: watchdog: {what} did not answer for {seconds:g} s and was ended (SIGKILL): {fate}"
    os.write(2, (words + (f"; noted in {log}" if log else "") + "\n").encode())


def _own(path: str, flags: int) -> int:
    """Open the log if it is this user's, in a directory of this user's: no other user's link is written through."""
    if os.stat(os.path.dirname(path)).st_uid != os.geteuid():
        raise PermissionError(errno.EPERM, "in a directory of another user", path)
    fd = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    if os.fstat(fd).st_uid != os.geteuid():
        os.close(fd)
        raise PermissionError(errno.EPERM, "owned by another user", path)
    return fd


def main(arguments: list[str]) -> int:
    """Watch until there is nothing to watch any more."""
    beats, process, control, offset = map(int, arguments[:4])
    seconds, log, what = float(arguments[4]), arguments[5], arguments[6]
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTTOU, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)  # meant for the front end, or in the way of the last word
    if hangs(beats, process, seconds):
        switch_off(control, offset)
        say(what, seconds, is_gone=end(process), log=log)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
