"""Searches the kernel's symbols for evidence of a feature, without privileges, and detects hidden addresses.

Names in kallsyms are readable for everyone, which distinguishes "this kernel lacks it" from "not permitted".
"""

from __future__ import annotations

import os
import re

FIRST_TEXT_SYMBOL = re.compile(rb"^([0-9a-f]+) [tT] ", re.MULTILINE)


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
        text = self._kallsyms()
        found = FIRST_TEXT_SYMBOL.search(text) if text else None
        return None if found is None else int(found[1], 16) == 0

    def _kallsyms(self) -> bytes:
        if self._text is None:
            try:
                with open(os.path.join(self._root, "proc/kallsyms"), "rb", buffering=0) as file:
                    self._text = file.read() or b""
            except OSError:
                self._text = b""
        return self._text
