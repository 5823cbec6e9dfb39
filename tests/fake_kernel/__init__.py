"""A kernel made of Python objects: bpf(2), perf_event_open(2), and the files that multiprobe reads.

    with FakeKernel(tmp_path, LIKE_6_12) as fake:
        with mp.attach(program, ["vfs_read"]) as attachment: ...
    assert fake.left() == []

It stands behind `multiprobe.syscalls.raw`, so that everything above runs as it does on a kernel. What it answers is
compared with kernels: `tests/scenarios` runs on it, and in guests.
"""

from fake_kernel.functions import FUNCTIONS, FakeFunction
from fake_kernel.kernel import FakeKernel, Fault, wait_until
from fake_kernel.profiles import LIKE_6_1, LIKE_6_12, LIKE_7_3, PROFILES, Profile

__all__ = [
    "FUNCTIONS",
    "LIKE_6_1",
    "LIKE_6_12",
    "LIKE_7_3",
    "PROFILES",
    "FakeFunction",
    "FakeKernel",
    "Fault",
    "Profile",
    "wait_until",
]
