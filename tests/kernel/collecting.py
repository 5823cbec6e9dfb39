"""Shared by the tests of events, histograms and stacks: the mechanisms, and calls of known functions."""

from __future__ import annotations

from pathlib import Path
from struct import pack

import pytest

import multiprobe as mp
from multiprobe.kernel.btf.format import find_function, parse_sections
from multiprobe.syscalls import bpf
from multiprobe.uapi.bpf import AttachType, ProgType

MECHANISMS = ("kprobe_multi", "tracing_multi", "trampoline", "kprobe")
NAMES = [f"bpf_fentry_test{n}" for n in range(1, 7)]
#: The arguments with which the kernel calls them in BPF_PROG_TEST_RUN (net/bpf/test_run.c); each returns their sum.
GIVEN = [(1,), (2, 3), (4, 5, 6), (7, 8, 9, 10), (11, 12, 13, 14, 15), (16, 17, 18, 19, 20, 21)]
RETURNED = [2, *(sum(given) for given in GIVEN[1:])]


def require(kernel: mp.Kernel, mechanism: str) -> None:
    """Skip what this kernel can't have."""
    if not kernel.has(mechanism):
        pytest.skip(f"this kernel has no {mechanism}")


class Calls:
    """The functions of NAMES, called by the kernel when asked to."""

    def __init__(self) -> None:
        sections = parse_sections(Path("/sys/kernel/btf/vmlinux").read_bytes(), is_split=False)
        target = find_function(sections, NAMES[0]) or 0
        nothing = pack("<BBhi", 0xB7, 0, 0, 0) + pack("<BBhi", 0x95, 0, 0, 0)
        self._program = bpf.prog_load(
            ProgType.TRACING,
            nothing,
            name="trigger",
            expected_attach_type=AttachType.TRACE_FENTRY,
            attach_btf_id=target,
        )
        self._link = bpf.raw_tracepoint_open(self._program)

    def run(self, times: int = 1) -> None:
        """Each function once, `times` times."""
        for _ in range(times):
            bpf.prog_test_run(self._program)

    def close(self) -> None:
        self._link.close()
        self._program.close()
