"""Searches the kernel's symbols for evidence of a feature, without privileges, and detects hidden addresses.

Names in kallsyms are readable for everyone, which distinguishes "this kernel lacks it" from "not permitted".
"""

from __future__ import annotations

import os
import re

FIRST_TEXT_SYMBOL = re.compile(rb"([0-9a-f]+) [tT] ")


def hides_addresses(*, root: str = "/") -> bool | None:
    """Are all addresses in kallsyms 0 for this process? None if it can't be read. Reads no further than it must."""
    try:
        with open(os.path.join(root, "proc/kallsyms"), "rb") as file:
            found = next(filter(None, map(FIRST_TEXT_SYMBOL.match, file)), None)
    except OSError:
        return None
    return None if found is None else int(found[1], 16) == 0


class Evidence:
    """The text of kallsyms, read when first asked for. None as an answer: it could not be read."""

    def __init__(self, *, root: str = "/") -> None:
        self._root = root
        self._text: bytes | None = None

    def has_symbol(self, name: str) -> bool | None:
        """Is this a symbol of the kernel or a module?"""
        text = self._kallsyms()
        if not text:
            return None
        plain = f" {name}".encode()
        return plain + b"\n" in text or plain + b"\t" in text

    def hides_addresses(self) -> bool | None:
        """Are all addresses 0 for this process?"""
        return hides_addresses(root=self._root)

    def _kallsyms(self) -> bytes:
        if self._text is None:
            try:
                with open(os.path.join(self._root, "proc/kallsyms"), "rb", buffering=0) as file:
                    self._text = file.read() or b""
            except OSError:
                self._text = b""
        return self._text
