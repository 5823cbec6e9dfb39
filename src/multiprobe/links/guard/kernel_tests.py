"""The kernel's own test functions (bpf_fentry_test1, …), called at will: BPF_PROG_TEST_RUN of a fentry program does.

Linux kernel commit faeb2dce084a ("bpf: Add kernel test functions for fentry testing") (in v5.5).
"""

from __future__ import annotations

from struct import pack
from typing import TYPE_CHECKING

from multiprobe.syscalls import bpf
from multiprobe.uapi.bpf import AttachType, ProgType

if TYPE_CHECKING:
    from types import TracebackType

    from multiprobe.functions.table import FunctionTable

NAMES = ("bpf_fentry_test1", "bpf_fentry_test2", "bpf_fentry_test3")
_RETURN_0 = pack("<BBhiBBhi", 0xB7, 0, 0, 0, 0x95, 0, 0, 0)


class KernelTests:
    """A program that is attached nowhere; `run` has the kernel call each function of NAMES once. Must be closed."""

    def __init__(self, table: FunctionTable) -> None:
        (row,) = table.rows_of_name(NAMES[0])[:1]
        self._program = bpf.prog_load(
            ProgType.TRACING,
            _RETURN_0,
            name="kernel_tests",
            expected_attach_type=AttachType.TRACE_FENTRY,
            attach_btf_id=table.btf_ids[row],
        )

    def run(self) -> None:
        """Call all of them."""
        bpf.prog_test_run(self._program)

    def __enter__(self) -> KernelTests:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._program.close()
