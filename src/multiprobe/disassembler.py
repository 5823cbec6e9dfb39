"""Loads capstone, the disassembler: the extra `inspect`, imported at the first use."""

from __future__ import annotations

from typing import Any

from multiprobe.errors import NotSupportedError


def load_capstone() -> Any:
    """The module capstone. Raises NotSupportedError, with what to install, if it is not there."""
    try:
        import capstone
    except ImportError as error:
        raise NotSupportedError(
            "cannot disassemble: the Python package capstone is not installed", hint="pip install 'multiprobe[inspect]'"
        ) from error
    return capstone
