"""Runs the COMMAND of a measurement: forked before attaching, executed after, so that no call of it is missed.

The child waits at a pipe, and executes its program when `release` is called.
"""

from __future__ import annotations

import errno
import os
import shlex
import signal
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from multiprobe.errors import KernelError, UsageError, errno_name

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

STDOUT, STDERR = 1, 2
_PATIENCE = 2.0  # seconds between SIGTERM and SIGKILL


def find_program(name: str) -> str:
    """The file that a shell would run for `name`. Raises UsageError when there is none."""
    candidates = [name] if "/" in name else [os.path.join(folder or ".", name) for folder in os.get_exec_path()]
    for path in candidates:
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    for path in candidates:
        if os.path.isdir(path):
            raise UsageError(f"cannot run {path!r}: it is a directory")
        if os.path.exists(path):
            raise UsageError(
                f"cannot run {path!r}: it is not executable", hint=f"chmod +x {path}, or name its interpreter"
            )
    hint = "the command after -- is not run by a shell" + (f": -- sh -c {shlex.quote(name)} is" if " " in name else "")
    if os.path.isfile(name):
        hint = f"write ./{name} for the file in this directory"
    raise UsageError(f"cannot run {name!r}: no such program", hint=hint)


class Workload:
    """A child process that waits for `release`. `pid` is its process id, `status` its exit status once it has exited.

    stdout: the descriptor that becomes its standard output
    A negative status is the signal that killed it. Must be closed, which terminates a child that still runs.
    """

    def __init__(self, command: Sequence[str], *, stdout: int = STDOUT) -> None:
        self.command, self._stdout = tuple(command), stdout
        self.status: int | None = None
        path = find_program(self.command[0])
        try:
            self._start(path, stdout)
        except OSError as error:
            hint = "there are too many processes (ulimit -u, pids.max)" if error.errno == errno.EAGAIN else ""
            raise KernelError("starting", error.errno or 0, subject=self.command[0], hint=hint) from error

    def _start(self, path: str, stdout: int) -> None:
        with ExitStack() as undo:
            gate_out, self._gate = _pipe(undo)
            self._report, report_in = _pipe(undo)
            sys.stdout.flush()
            sys.stderr.flush()
            self.pid = os.fork()
            if self.pid == 0:
                os.close(self._gate)  # so that the child sees the pipe close if this process dies
                _become(path, self.command, gate=gate_out, report=report_in, stdout=stdout)
            undo.callback(_kill, self.pid)
            self.end_fd = os.pidfd_open(self.pid)  # readable once the child has exited
            undo.pop_all()
        os.close(gate_out)
        os.close(report_in)

    def release(self) -> None:
        """Execute the command. Raises UsageError if the kernel refuses to."""
        os.write(self._gate, b"!")
        failure = os.read(self._report, 16)
        if failure:
            self.wait()
            is_script = int(failure) == errno.ENOEXEC
            hint = "it has no #! line: name its interpreter, as in: -- sh FILE" if is_script else ""
            raise UsageError(f"cannot run {self.command[0]!r}: {errno_name(int(failure))}", hint=hint)

    def again(self) -> Workload:
        """Another child for the same command; this one is closed."""
        self.close()
        return Workload(self.command, stdout=self._stdout)

    def poll(self) -> int | None:
        """The exit status if the command has exited, else None."""
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
        return self.status

    def wait(self) -> int:
        """Wait for the command to exit, and return its exit status."""
        if self.status is None:
            _, status = os.waitpid(self.pid, 0)
            self.status = os.waitstatus_to_exitcode(status)
        return self.status

    def close(self) -> None:
        """Terminate the command if it still runs, by SIGTERM, then SIGKILL."""
        if self._gate >= 0:
            for fd in (self._gate, self._report):
                os.close(fd)
            self._gate = -1
            self._end()
            os.close(self.end_fd)

    def _end(self) -> None:
        if self.poll() is not None:
            return
        os.kill(self.pid, 15)
        until = time.monotonic() + _PATIENCE
        while self.poll() is None and time.monotonic() < until:
            time.sleep(0.01)
        if self.poll() is None:
            os.kill(self.pid, 9)
            self.wait()

    def __enter__(self) -> Workload:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _pipe(undo: ExitStack) -> tuple[int, int]:
    """The two ends of a new pipe, which `undo` closes."""
    ends = os.pipe()
    for end in ends:
        undo.callback(os.close, end)
    return ends


def _kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def _become(path: str, command: Sequence[str], *, gate: int, report: int, stdout: int) -> None:
    """In the child: wait for the release, then execute the command. Never returns."""
    try:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and exec would pass that on
        if stdout != STDOUT:
            os.dup2(stdout, STDOUT)
        if os.read(gate, 1):
            os.execv(path, list(command))
    except OSError as error:
        os.write(report, str(error.errno).encode())
    finally:
        os._exit(127)


def describe_status(status: int) -> str:
    """How a command ended, as text."""
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"
