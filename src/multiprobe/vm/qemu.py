"""Builds QEMU's command line. Pure, except for finding the program."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from multiprobe.arch import native
from multiprobe.errors import VmError

PORTS = ("stdin", "stdout", "stderr", "control", "result")
#: On the kernel's command line of every guest: how a program knows that it runs in one.
GUEST_MARK = "multiprobe.guest=1"

TCG = "tcg"
KVM = "kvm"

#: TCG's AVX is left out: QEMU 7.2 (Debian 12) computes some of it wrongly (NumPy then sorts wrongly), and programs
#: choose other code without it. F16C and FMA are encoded as AVX, so they go with it.
EMULATED_PROCESSOR = "max,avx=off,avx2=off,f16c=off,fma=off"
#: TCG repeats a string instruction byte by byte: without ERMS the kernel copies by words, and guests take 8 % less
#: time. FSRM (QEMU 8 and later) goes with it: memmove of Linux 6.1 never ends where a processor has only FSRM. Where
#: instructions are counted, the kernel copies as on real processors.
WITHOUT_ERMS = ",erms=off,fsrm=off"


@dataclass(frozen=True, slots=True)
class Machine:
    """A guest as QEMU builds it; `fds` are QEMU's ends of the sockets, by port name or file-system tag.

    `is_counted`: the guest's clocks count instructions, one per nanosecond (TCG and one CPU only).
    `append`: more words for the kernel's command line.
    `has_network`: QEMU makes the guest's connections, as this machine's; `published`: the ports of 127.0.0.1 that lead
    to those of the guest.
    """

    image: Path
    initramfs_fd: int
    accelerator: str
    cpus: int
    memory_mib: int
    console_fd: int
    port_fds: Mapping[str, int]
    files_fds: Mapping[str, int]
    terminal_fd: int | None = None
    is_counted: bool = False
    append: str = ""
    has_network: bool = False
    published: tuple[int, ...] = ()

    def arguments(self, qemu: str) -> list[str]:
        """The whole command line."""
        return [
            qemu,
            *self._board(),
            *self._confinement(),
            *self._files(),
            *self._ports(),
            *self._network(),
            *self._boot(),
        ]

    def _board(self) -> list[str]:
        # With several threads, TCG races when the kernel patches its code (Oops: int3): one thread for all CPUs.
        accelerator = "tcg,thread=single" if self.accelerator == TCG else "kvm"
        emulated = EMULATED_PROCESSOR if self.is_counted else EMULATED_PROCESSOR + WITHOUT_ERMS
        processor = emulated if self.accelerator == TCG else "host"
        memory = f"{self.memory_mib}M"
        return [
            *("-accel", accelerator, "-cpu", processor, "-smp", str(self.cpus), "-m", memory),
            *(("-icount", "shift=0,sleep=off") if self.is_counted else ()),
            *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-nic", "none"),
            *("-object", f"memory-backend-memfd,id=memory,size={memory},share=on", "-numa", "node,memdev=memory"),
            *("-chardev", f"socket,id=console,fd={self.console_fd}", "-serial", "chardev:console"),
        ]

    def _confinement(self) -> list[str]:
        """Should the guest break out of QEMU, it finds itself without the system calls that QEMU doesn't need."""
        return ["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"]

    def _files(self) -> list[str]:
        words = []
        for tag, fd in self.files_fds.items():
            device = f"vhost-user-fs-pci,chardev=files-{tag},tag={tag},queue-size=1024"
            words += ["-chardev", f"socket,id=files-{tag},fd={fd}", "-device", device]
        return words

    def _ports(self) -> list[str]:
        words = ["-device", "virtio-serial-pci"]
        if self.terminal_fd is not None:
            words += [
                "-chardev",
                f"socket,id=terminal,fd={self.terminal_fd}",
                "-device",
                "virtconsole,chardev=terminal",
            ]
        for name, fd in self.port_fds.items():
            words += ["-chardev", f"socket,id=port-{name},fd={fd}"]
            words += ["-device", f"virtserialport,chardev=port-{name},name={name}"]
        return words

    def _network(self) -> list[str]:
        if not self.has_network:
            return []
        published = "".join(f",hostfwd=tcp:127.0.0.1:{port}-:{port}" for port in self.published)
        return ["-netdev", f"user,id=network,ipv6=off{published}", "-device", "virtio-net-pci,netdev=network,romfile="]

    def _boot(self) -> list[str]:
        line = f"console={native().guest.console} quiet panic=-1 mitigations=off {GUEST_MARK}"
        words = ["-append", f"{line} {self.append}".rstrip()]
        return ["-kernel", str(self.image), "-initrd", f"/proc/self/fd/{self.initramfs_fd}", *words]


def find_qemu() -> str:
    """The path of QEMU for guests of this machine's architecture. Raises VmError."""
    guest = native().guest
    found = shutil.which(guest.qemu)
    if not found:
        raise VmError(
            "QEMU, which runs the virtual machine, is not installed",
            hint=f"apt-get install {guest.qemu_package} qemu-system-common busybox-static",
        )
    return found


def version(qemu: str) -> str:
    """QEMU's version, such as "7.2.22"."""
    done = subprocess.run([qemu, "--version"], capture_output=True, text=True, check=False)
    match = re.search(r"version (\S+)", done.stdout)
    return match[1] if match else "unknown"
