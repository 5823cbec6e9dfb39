"""The public API is what public_api.txt says, name by name."""

from __future__ import annotations

import difflib

import public_api


def test_the_api_is_the_golden_one() -> None:
    """A change that is meant: `make api` (python tests/public_api.py), and a line in CHANGELOG.md."""
    golden, now = public_api.GOLDEN.read_text(), public_api.describe()
    changes = difflib.unified_diff(golden.splitlines(), now.splitlines(), "public_api.txt", "now", n=0, lineterm="")
    assert golden == now, "\n".join(["the public API changed; if that is meant, run `make api`", *changes])
