"""What kernels answer and what attaching leads to, written once: runs on the fake kernel and, in guests, on real ones.

The importing module gives the fixtures: `profile` (what this kernel has) and `kernel`.
"""

import pytest

pytest.register_assert_rewrite("scenarios.answers", "scenarios.attaching", "scenarios.observed")
