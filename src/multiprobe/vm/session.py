"""Runs a command in a guest for the user: terminal, streams, signals, time limit, exit status."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType

from multiprobe.errors import UsageError, VmError, VmLostError
from multiprobe.vm import accelerator, kernels, qemu, terminal
from multiprobe.vm.environment import ICOUNT_VARIABLE, guest_environment
from multiprobe.vm.guest import Guest, Hardware
from multiprobe.vm.initramfs import GuestJob
from multiprobe.vm.streams import Pump, Stdin

_NAMES = ("stdin", "stdout", "stderr")
_BOOT_SECONDS = 120.0
_GRACE_SECONDS = 30.0
_DRAIN_SECONDS = 60.0
_MEMORY_MIB = 3072
_LEAST_MEMORY_MIB = 768
_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Streams:
    """Our file descriptors for the command's streams; `stdin` None means that there is nothing to read."""

    stdin: int | None = 0
    stdout: int = 1
    stderr: int = 2

    def on_terminal(self) -> frozenset[str]:
        """Which of them are the guest's terminal: those that are one here; stdin only together with stdout, since
        keys come unedited then."""
        found = {name for name in ("stdout", "stderr") if os.isatty(getattr(self, name))}
        if self.stdin is not None and os.isatty(self.stdin) and "stdout" in found:
            found.add("stdin")
        return frozenset(found)

    def window(self) -> tuple[int, int]:
        """Rows and columns of the terminal."""
        for fd in (self.stdout, self.stderr):
            with contextlib.suppress(OSError):
                return terminal.window_size(fd)
        return 24, 80


def run(
    command: Sequence[str],
    *,
    kernel: kernels.BootKernel,
    cpus: int = 1,
    memory_mib: int | None = None,
    shares: Sequence[Path] = (),
    timeout: float | None = None,
    icount: bool = False,
    append: str = "",
    share_secrets: bool = False,
    network: bool = False,
    publish: Sequence[int] = (),
    streams: Streams | None = None,
    environment: Mapping[str, str] | None = None,
    directory: str | None = None,
    on_progress: Callable[[str], None] = lambda _: None,
) -> int:
    """Run `command` in a guest with `kernel` and return its exit status (128 + n if signal n ended it or us).

    `timeout` counts seconds from the start of the command; `shares` are the directories that the guest may write to;
    `icount` makes the guest's clocks count instructions, one each nanosecond: emulated, with one CPU;
    `append` is added to the kernel's command line; with `share_secrets` it sees private keys and the like;
    `environment` is added to what the guest gets of ours. Raises VmError, and VmLostError when the guest dies or hangs.
    """
    if icount and cpus > 1:
        raise UsageError("--icount counts instructions on one CPU only", hint="leave out --cpus")
    program = qemu.find_qemu()

    def boots_with_kvm() -> bool:
        on_progress("trying KVM")
        return _boots(Hardware(kernel, qemu.KVM, 1, _LEAST_MEMORY_MIB))

    version = qemu.version(program)
    hardware = Hardware(
        kernel,
        qemu.TCG if icount else accelerator.choose(version, boots_with_kvm),
        cpus,
        memory_mib or default_memory(),
        tuple(checked_share(path) for path in shares),
        is_counted=icount,
        append=append,
        has_secrets=share_secrets,
        has_network=network or bool(publish),
        published=tuple(publish),
    )
    streams = streams or Streams()
    on_progress(f"booting Linux {kernel.release}")
    job = make_job(command, hardware, streams, environment=environment or {}, directory=directory)
    with Guest(hardware, job) as guest:
        session = _Session(guest, streams, job, timeout, lambda: on_progress(""))
        try:
            return session.run()
        except VmLostError as error:
            if hardware.accelerator == qemu.KVM and not session.is_ready:
                accelerator.remember(version, is_usable=False)
                error.hint = "it ran on KVM, which is left alone from now on: try again"
            raise


def make_job(
    command: Sequence[str],
    hardware: Hardware,
    streams: Streams,
    *,
    environment: Mapping[str, str],
    directory: str | None = None,
) -> GuestJob:
    """The job for the guest."""
    if not command:
        raise UsageError("no command for the guest")
    on_terminal = streams.on_terminal()
    kernel = hardware.kernel
    return GuestJob(
        command=command,
        directory=directory or os.getcwd(),
        environment=guest_environment(
            os.environ,
            release=kernel.release,
            has_terminal="stdout" in on_terminal,
            extra={**environment, **({ICOUNT_VARIABLE: "1"} if hardware.is_counted else {})},
        ),
        end_mark=secrets.token_hex(16),
        shares=hardware.tags(),
        on_terminal=on_terminal,
        window=streams.window(),
        has_stdin=streams.stdin is not None,
        modules=str(kernel.modules.parent) if kernel.modules else "",
        served_by_root=os.geteuid() == 0,
        has_network=hardware.has_network,
    )


def checked_share(path: Path) -> Path:
    """The absolute path of a directory to share."""
    if not path.is_dir():
        raise UsageError(f"cannot share {path}: not a directory")
    resolved = path.resolve()
    if resolved == Path("/"):
        raise UsageError("sharing / would let the guest write to the whole machine", hint="share a directory below it")
    return resolved


def default_memory(meminfo: Path = Path("/proc/meminfo")) -> int:
    """Memory for a guest in MiB: enough for every function's probe, but never most of what the machine has left."""
    fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
    available = int(fields["MemAvailable"].split()[0]) // 1024
    return max(_LEAST_MEMORY_MIB, min(_MEMORY_MIB, available * 2 // 3))


def _boots(hardware: Hardware) -> bool:
    """Whether a guest on this hardware gets as far as running a command, soon enough."""
    streams = Streams(stdin=None, stdout=-1, stderr=-1)
    job = make_job(["/bin/true"], hardware, streams, environment={}, directory="/")
    try:
        with Guest(hardware, job) as guest:
            event = guest.next_event(until=time.monotonic() + accelerator.PROBE_SECONDS)
    except VmError:
        return False
    return event == ["ready"]


class _Session:
    """The time from boot to exit status."""

    def __init__(
        self, guest: Guest, streams: Streams, job: GuestJob, timeout: float | None, on_ready: Callable[[], None]
    ) -> None:
        self._guest = guest
        self._streams = streams
        self._job = job
        self._timeout = timeout
        self._on_ready = on_ready
        self.is_ready = False
        self._interrupted_by = 0
        self._is_killed = False
        self._pumps = self._make_pumps()

    def _make_pumps(self) -> list[Pump]:
        mark = b"\1" + self._job.end_mark.encode()
        wanted = self._job.on_terminal
        pumps = []
        if self._guest.terminal is not None:
            fd = self._streams.stdout if "stdout" in wanted else self._streams.stderr
            pumps.append(Pump(self._guest.terminal, fd, mark, self._guest.kill))
        for name in ("stdout", "stderr"):
            if name not in wanted:
                hang_up = partial(self._guest.tell, f"hangup {name}")
                pumps.append(Pump(self._guest.ports[name], getattr(self._streams, name), mark, hang_up))
        return pumps

    def run(self) -> int:
        """Wait for the guest to boot and for the command to end."""
        with self._signals():
            try:
                return self._boot_and_wait()
            except VmLostError:
                if self._is_killed:
                    return 128 + self._interrupted_by
                raise

    def _boot_and_wait(self) -> int:
        event = self._guest.next_event(until=time.monotonic() + _BOOT_SECONDS)
        if event != ["ready"]:
            raise self._guest.lost(f"the guest did not boot within {_BOOT_SECONDS:.0f} s")
        self.is_ready = True
        self._on_ready()
        for pump in self._pumps:
            pump.start()
        with self._stdin():
            status = self._wait()
        self._drain()
        return status

    def _wait(self) -> int:
        until = None if self._timeout is None else time.monotonic() + self._timeout
        event = self._guest.next_event(until=until)
        if event is None:
            self._guest.tell("signal INT")
            if self._guest.next_event(until=time.monotonic() + _GRACE_SECONDS) is None:
                raise self._guest.lost(f"the guest did not answer after the time limit of {self._timeout:g} s")
            self._drain()
            raise VmError(
                f"the command did not end within {self._timeout:g} s and was interrupted",
                hint="allow more time with --timeout",
            )
        return int(event[1])

    def _drain(self) -> None:
        """All that was written has arrived when every stream has ended; a slow reader is waited for."""
        for pump in self._pumps:
            seen = -1
            while pump.is_alive() and pump.n_bytes != seen:
                seen = pump.n_bytes
                pump.join(timeout=_DRAIN_SECONDS)
            if not pump.has_ended:
                raise self._guest.lost("the guest shut down before all of its output had arrived")

    @contextlib.contextmanager
    def _stdin(self) -> Iterator[None]:
        fd = self._streams.stdin
        if fd is None:
            yield
            return
        with contextlib.ExitStack() as stack:
            if "stdin" in self._job.on_terminal and self._guest.terminal is not None:
                stack.enter_context(terminal.raw(fd))
                impatience = terminal.Impatience(lambda: sum(pump.n_bytes for pump in self._pumps))
                forward = Stdin(fd, self._guest.terminal, on_data=lambda keys: self._check(impatience, keys))
            else:
                forward = Stdin(fd, self._guest.ports["stdin"])
            stack.enter_context(forward)
            yield

    def _check(self, impatience: terminal.Impatience, keys: bytes) -> None:
        if impatience.feed(keys):
            self._kill(signal.SIGINT)

    def _kill(self, number: int) -> None:
        self._interrupted_by = number
        self._is_killed = True
        self._guest.kill()

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """The first signal goes to the command, the second ends the guest."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def on_signal(number: int, _frame: FrameType | None) -> None:
            if self._interrupted_by or not self.is_ready:
                self._kill(number)
            else:
                self._interrupted_by = number
                self._guest.tell(f"signal {signal.Signals(number).name.removeprefix('SIG')}")

        def on_resize(_number: int, _frame: FrameType | None) -> None:
            rows, columns = self._streams.window()
            self._guest.tell(f"size {rows} {columns}")

        before = {number: signal.signal(number, on_signal) for number in _FORWARDED}
        if self._job.on_terminal:
            before[signal.SIGWINCH] = signal.signal(signal.SIGWINCH, on_resize)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
