"""Random programs do on a BPF machine what they do as plain Python with the documented integers.

The machine stands in for the kernel here; tests/kernel runs the same programs in a real one.
"""

from __future__ import annotations

import os

from differential import difference
from hypothesis import example, given, settings
from hypothesis import strategies as st
from random_programs import arguments

N_PROGRAMS = int(os.environ.get("MULTIPROBE_PROGRAMS", "60"))


@settings(max_examples=N_PROGRAMS, deadline=None)
@given(seed=st.integers(0, 1 << 40))
@example(seed=2082)  # min of two known numbers, one with a type
@example(seed=331)  # a signed maximum that is compared as unsigned in a loop: see backend.llvm
def test_random_programs_agree_with_python(seed: int) -> None:
    assert difference(seed, [arguments(seed + n) for n in range(4)]) == ""
