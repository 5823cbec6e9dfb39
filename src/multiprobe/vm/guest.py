"""One guest: QEMU, the file servers and their sockets, from start to end.

Owns every process and descriptor of a guest, and reports its events. `session` has the user's terminal and signals.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from multiprobe.errors import NotPermittedError, VmError, VmLostError
from multiprobe.syscalls.fd import Closing
from multiprobe.vm import host_files, initramfs, qemu
from multiprobe.vm.confine_command import confined
from multiprobe.vm.kernels import BootKernel
from multiprobe.vm.streams import Console

_MACHINE_TAG = "host"


@dataclass(frozen=True, slots=True)
class Hardware:
    """The hardware of a guest, and what it sees of this machine.

    append: words for the end of the kernel's command line
    has_secrets: it sees the files that hold secrets too
    has_network: it reaches what this machine reaches
    published: ports of the guest that are ports of this machine's 127.0.0.1
    """

    kernel: BootKernel
    accelerator: str
    cpus: int
    memory_mib: int
    shares: tuple[Path, ...] = ()
    is_counted: bool = False
    append: str = ""
    has_secrets: bool = False
    has_network: bool = False
    published: tuple[int, ...] = ()

    def tags(self) -> dict[str, str]:
        """Virtiofs tags of the shared directories."""
        return {f"share{number}": str(path) for number, path in enumerate(self.shares)}


class Guest(Closing):
    """A running guest; `ports` are our ends of the sockets by name, `terminal` that of its terminal."""

    def __init__(self, hardware: Hardware, job: initramfs.GuestJob) -> None:
        self._cleanup = contextlib.ExitStack()
        self._selector = self._cleanup.enter_context(selectors.DefaultSelector())
        self._lines = b""
        self.ports: dict[str, socket.socket] = {}
        self.terminal: socket.socket | None = None
        try:
            self._start(hardware, job)
        except BaseException:
            self._cleanup.close()
            raise

    def _start(self, hardware: Hardware, job: initramfs.GuestJob) -> None:
        program = qemu.find_qemu()
        archive = initramfs.build(job, modules=hardware.kernel.modules)
        self._servers = self._serve(hardware)
        self._log = self._memory_file("qemu-log")
        with contextlib.ExitStack() as theirs:  # QEMU's ends: ours to close once it has them

            def end(name: str) -> tuple[socket.socket, int]:
                ours, other = socket.socketpair()
                self._cleanup.enter_context(ours)
                return ours, theirs.enter_context(other).fileno()

            console, console_fd = end("console")
            wired = {name: end(name) for name in qemu.PORTS}
            self.ports = {name: ours for name, (ours, _) in wired.items()}
            terminal_fd = None
            if job.on_terminal:
                self.terminal, terminal_fd = end("terminal")
            for serving in self._servers:
                theirs.enter_context(serving.socket)
            machine = qemu.Machine(
                image=hardware.kernel.image,
                initramfs_fd=self._memory_file("initramfs", archive),
                accelerator=hardware.accelerator,
                cpus=hardware.cpus,
                memory_mib=hardware.memory_mib,
                is_counted=hardware.is_counted,
                append=hardware.append,
                has_network=hardware.has_network,
                published=hardware.published,
                console_fd=console_fd,
                port_fds={name: fd for name, (_, fd) in wired.items()},
                files_fds={serving.tag: serving.socket.fileno() for serving in self._servers},
                terminal_fd=terminal_fd,
            )
            self._qemu = self._launch(machine.arguments(program), machine)
        self.console = Console(console)
        self.console.start()
        self._watch()

    def _serve(self, hardware: Hardware) -> list[host_files.Serving]:
        server = host_files.find_server()
        servers = [host_files.serve_machine(server, _MACHINE_TAG, with_secrets=hardware.has_secrets)]
        self._cleanup.callback(_end_all, servers)
        for tag, directory in hardware.tags().items():
            servers.append(host_files.serve_share(server, tag, Path(directory)))
        return servers

    def _launch(self, arguments: list[str], machine: qemu.Machine) -> subprocess.Popen[bytes]:
        fds = [machine.initramfs_fd, machine.console_fd, *machine.port_fds.values(), *machine.files_fds.values()]
        process = subprocess.Popen(
            confined(arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._log,
            pass_fds=fds if machine.terminal_fd is None else [*fds, machine.terminal_fd],
            start_new_session=True,
        )
        self._cleanup.callback(process.wait)
        self._cleanup.callback(process.kill)
        return process

    def _memory_file(self, name: str, content: bytes = b"") -> int:
        fd = os.memfd_create(name)
        self._cleanup.callback(os.close, fd)
        with open(fd, "wb", closefd=False) as file:
            file.write(content)
        return fd

    def _watch(self) -> None:
        self._pidfd = os.pidfd_open(self._qemu.pid)
        self._cleanup.callback(os.close, self._pidfd)
        self._selector.register(self._pidfd, selectors.EVENT_READ)
        self._selector.register(self.ports["result"], selectors.EVENT_READ)

    def next_event(self, *, until: float | None) -> list[str] | None:
        """The next line that the guest reports, split, or None at the time `until` (of time.monotonic()).

        Raises VmLostError when QEMU ends before that, VmError when it did not even start.
        """
        while b"\n" not in self._lines:
            left = None if until is None else until - time.monotonic()
            if left is not None and left <= 0:
                return None
            ready = {key.fileobj for key, _ in self._selector.select(left)}
            if self.ports["result"] in ready and (data := self._receive()):
                self._lines += data
            elif ready:
                raise self._why_it_ended()
        line, _, self._lines = self._lines.partition(b"\n")
        return line.decode(errors="replace").split()

    def _receive(self) -> bytes:
        try:
            return self.ports["result"].recv(1 << 12)
        except OSError:
            return b""

    def tell(self, line: str) -> None:
        """Send a line to the guest's control port; a guest that has ended is ignored."""
        with contextlib.suppress(OSError):
            self.ports["control"].sendall(f"{line}\n".encode())

    def kill(self) -> None:
        """End the guest at once."""
        self._qemu.kill()

    def lost(self, what: str, *, hint: str = "") -> VmLostError:
        """The error for a guest that was lost, with the end of its console."""
        self.kill()
        self.console.join(timeout=2)
        end = self.console.end()
        text = f"{what}; the end of its console:\n{end}" if end else f"{what}; there is no console output"
        return VmLostError(text, console=end, hint=hint)

    def _why_it_ended(self) -> VmError | NotPermittedError:
        self._qemu.wait()
        self.console.join(timeout=2)
        messages = _text_of(self._log)
        servers = [text for serving in self._servers if (text := serving.failure())]
        if servers and not self.console.end():
            return host_files.error(servers[0])
        if self._qemu.returncode not in (0, -signal.SIGKILL) and not self.console.end():
            return VmError(
                f"QEMU ended with status {self._qemu.returncode}: {messages or 'no message'}",
                hint="a port of --publish must be free here"
                if "host forwarding" in messages
                else "if QEMU lacks an option, install version 7.2 or newer",
            )
        if self._qemu.returncode == -signal.SIGKILL:
            return self.lost("QEMU was killed (by hand, or for want of memory) before the command ended")
        return self.lost("the guest shut down before the command ended")

    def close(self) -> None:
        """Kill every process of the guest, and wait for their end."""
        self._cleanup.close()


def _end_all(servers: list[host_files.Serving]) -> None:
    for serving in servers:
        serving.close()


def _text_of(fd: int) -> str:
    return os.pread(fd, 1 << 16, 0).decode(errors="replace").strip()
