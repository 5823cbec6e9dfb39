"""What holds for all unit tests: see `steady`."""

from __future__ import annotations

import steady  # noqa: F401
