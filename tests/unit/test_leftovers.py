"""What the kernel tests find in a kernel log: complaints, and those that are known."""

from __future__ import annotations

import pytest

from leftovers import FPROBE_RETURN as KNOWN
from leftovers import complaints

WARNING = """\
WARNING: kernel/trace/fprobe.c:676 at fprobe_return+0x183/0x1a0, CPU#0: python/3772
Call Trace:
 <TASK>
---[ end trace 0000000000000000 ]---"""
OTHER = "BUG: unable to handle page fault"


def test_a_warning_is_a_complaint_with_its_trace() -> None:
    assert complaints(f"booting\n{WARNING}") == WARNING.split("\n")


def test_a_known_one_is_none_with_its_trace() -> None:
    assert complaints(f"booting\n{WARNING}", known=KNOWN) == []


@pytest.mark.parametrize(
    "log",
    [
        f"{OTHER}\n{WARNING}",
        f"{WARNING}\n{OTHER}",
        "\n".join([WARNING, *["line"] * 30, OTHER]),
        WARNING.replace(" <TASK>", OTHER),
    ],
    ids=["before", "right after", "long after", "within"],
)
def test_what_else_the_kernel_says_is_still_one(log: str) -> None:
    assert OTHER in complaints(log, known=KNOWN)
