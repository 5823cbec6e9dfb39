"""aarch64, little-endian: registers, system calls, virtual machine.

Offsets are those of arch/arm64/include/asm/ptrace.h, numbers those of include/uapi/asm-generic/unistd.h, flags those of
arch/arm64/include/uapi/asm/fcntl.h.
"""

from __future__ import annotations

from multiprobe.arch.facts import Arch, GuestMachine, RegisterLayout

AARCH64 = Arch(
    machine="aarch64",
    target="bpfel",
    registers=RegisterLayout(
        arguments=tuple(range(0, 64, 8)),  # x0 … x7: the first items of `regs`
        argument_names=("",) * 8,
        returned=0,
        stack_pointer=248,
        stack_offset=0,
        stack_alignment=16,
        # arch/arm64/net/bpf_jit_comp.c: the returned value, x19 and x20, padding, two frame records
        context_offset=64,
        entry=(280, 272, 8, 16, 24, 256, 248, 152, 160),  # syscallno, orig_x0, x1, x2, x3, pc, sp, x19, x20
        has_result_argument=False,  # the address of a returned struct comes in x8
    ),
    system_calls={
        "bpf": 280, "membarrier": 283, "mount": 40, "mount_setattr": 442, "perf_event_open": 241, "prctl": 167,
        "setgroups": 159, "umount2": 39, "unshare": 97,
    },
    system_call_arguments=tuple(f"regs[{i}]" for i in range(6)),
    wrappers=("__arm64_sys_", "__arm64_compat_sys_"),
    open_flags={"O_DIRECTORY": 0o40000, "O_NOFOLLOW": 0o100000, "O_DIRECT": 0o200000, "O_LARGEFILE": 0o400000},
    guest=GuestMachine(
        debian="arm64",
        qemu="qemu-system-aarch64",
        qemu_package="qemu-system-arm",
        console="ttyAMA0",
        image_marks=((56, b"ARM\x64"),),  # Documentation/arch/arm64/booting.rst
    ),
    breakpoint=b"\xa0\x00\x20\xd4",  # brk #5
)  # fmt: skip
