"""The kernel's own test functions (bpf_fentry_test1, …), called at will: BPF_PROG_TEST_RUN of a fentry program does.

Linux kernel commit faeb2dce084a ("bpf: Add kernel test functions for fentry testing") (in v5.5).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from multiprobe.links.mechanisms.linked import Hook, load_empty
from multiprobe.syscalls import bpf
from multiprobe.syscalls.fd import Closing
from multiprobe.uapi.bpf import AttachType, ProgType

if TYPE_CHECKING:
    from multiprobe.functions.table import FunctionTable

NAMES = ("bpf_fentry_test1", "bpf_fentry_test2", "bpf_fentry_test3")


class KernelTests(Closing):
    """A program that is attached nowhere; `run` has the kernel call each function of NAMES once. Must be closed."""

    def __init__(self, table: FunctionTable) -> None:
        (row,) = table.rows_of_name(NAMES[0])[:1]
        self._program = load_empty(Hook(ProgType.TRACING, AttachType.TRACE_FENTRY, btf_id=table.btf_ids[row]))

    def run(self) -> None:
        """Call all of them."""
        bpf.prog_test_run(self._program)

    def close(self) -> None:
        """Unload the program."""
        self._program.close()
