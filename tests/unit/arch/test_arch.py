"""Facts of processors, compared with the headers of the C library and with what Python knows of the running machine."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from multiprobe import arch
from multiprobe.arch import AARCH64, ALL, X86_64
from multiprobe.errors import NotSupportedError
from multiprobe.kernel.flag_names import open_flags

HEADERS = {"x86_64": "x86_64-linux-gnu/asm/unistd_64.h", "aarch64": "asm-generic/unistd.h"}


def test_the_running_machine_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    assert arch.native().machine == os.uname().machine
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "host", "6.12", "#1", "riscv64")))
    with pytest.raises(NotSupportedError, match="riscv64: it knows x86_64, aarch64"):
        arch.native()
    assert arch.system_call_number("bpf") == -1


@pytest.mark.parametrize("one", ALL, ids=lambda one: one.machine)
def test_system_calls_have_the_numbers_of_the_headers(one: arch.Arch) -> None:
    header = Path("/usr/include") / HEADERS[one.machine]
    if not header.exists():
        pytest.skip(f"no {header}: install linux-libc-dev")
    numbers = dict(re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", header.read_text()))
    assert {name: int(numbers[name]) for name in one.system_calls} == one.system_calls


def test_registers_follow_the_calling_conventions() -> None:
    # struct pt_regs of x86: 8 bytes each
    order = "r15 r14 r13 r12 bp bx r11 r10 r9 r8 ax cx dx si di orig_ax ip cs flags sp ss".split()  # noqa: SIM905
    registers = X86_64.registers
    assert tuple(8 * order.index(name) for name in registers.argument_names) == registers.arguments
    assert (registers.returned, registers.stack_pointer) == (8 * order.index("ax"), 8 * order.index("sp"))
    # struct user_pt_regs of arm64: u64 regs[31], sp, pc, pstate
    registers = AARCH64.registers
    assert registers.arguments == tuple(8 * x for x in range(8))
    assert (registers.returned, registers.stack_pointer) == (0, 31 * 8)
    assert all(len(one.registers.arguments) == len(one.registers.argument_names) for one in ALL)


def test_open_flags_of_both() -> None:
    for mask, name in open_flags(arch.native()).items():
        if name != "O_LARGEFILE":  # 0 for programs of 64 bits, but set by the kernel
            assert getattr(os, name) == mask, name
    arm = {name: mask for mask, name in open_flags(AARCH64).items()}
    assert (arm["O_DIRECTORY"], arm["O_DIRECT"]) == (0o40000, 0o200000)
    assert arm["O_TMPFILE"] == 0o20040000
    assert len(arm) == len(open_flags(X86_64)) == 17


def test_wrappers_of_system_calls() -> None:
    assert arch.system_call_of("__x64_sys_openat") == "openat"
    assert arch.system_call_of("__arm64_sys_openat") == "openat"
    assert arch.system_call_of("vfs_read") == ""
