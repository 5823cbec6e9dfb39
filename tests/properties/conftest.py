"""Helpers of these tests are plain modules beside them, and beside the compiler's unit tests."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "unit"), str(HERE.parent / "unit" / "compiler")]

import steady  # noqa: E402, F401
