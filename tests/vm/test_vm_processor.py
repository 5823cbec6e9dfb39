"""The guest's processor computes rightly what NumPy uses it for."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

#: Sorts that NumPy does by vector instructions where the processor has them, compared with Python's own.
SORTS = """
import random
import numpy as np

rnd = random.Random(1)
wrong = set()


def check(name, found, expected):
    if found != expected:
        wrong.add(f"np.{name} of {n} {kind} below {high}")


for n in (50, 1000, 5000):
    for high in (100, 3000, 2**21, 2**40):
        for kind in ("int64", "uint64", "int32", "uint32", "float64"):
            if high > 2**31 and "32" in kind:
                continue
            values = [rnd.randrange(high) for _ in range(n)]
            array, expected = np.array(values, dtype=kind), sorted(values)
            order = np.argsort(array).tolist()
            unique, inverse = np.unique(array, return_inverse=True)
            check("sort", np.sort(array).tolist(), expected)
            check("argsort", [values[i] for i in order], expected)
            check("argsort", sorted(order), list(range(n)))
            check("unique", unique.tolist(), sorted(set(values)))
            check("unique", unique[inverse].tolist(), values)
            check("partition", int(np.partition(array, n // 2)[n // 2]), expected[n // 2])
            if kind != "float64":
                some = set(values[:40:3])
                found = np.isin(array, np.array(sorted(some), dtype=kind), kind="sort").tolist()
                check("isin", found, [value in some for value in values])
print("\\n".join(sorted(wrong)) or "all right")
"""


def test_numpy_sorts_rightly(vm: Callable[..., subprocess.CompletedProcess[bytes]]) -> None:
    ended = vm("--", sys.executable, "-c", SORTS)
    assert (ended.stdout.decode(), ended.returncode) == ("all right\n", 0), ended.stderr.decode()


def test_the_emulated_processor_has_no_avx(vm: Callable[..., subprocess.CompletedProcess[bytes]]) -> None:
    ended = vm("--icount", "--", "grep", "-m1", "^flags", "/proc/cpuinfo")
    flags = ended.stdout.decode().split()
    assert "sse4_2" in flags
    assert "bmi2" in flags
    assert not {"avx", "avx2", "fma", "f16c"} & set(flags)
