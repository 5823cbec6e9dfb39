"""The list of modules, and which of them have gone since the functions were read."""

from __future__ import annotations

from multiprobe.kernel.modules import parse_modules

LINES = b"""dummy 16384 0 - Live 0xffffffffc0a00000
bonding 200704 2 tls,dummy, Live 0xffffffffc0b00000 (E)
leaving 16384 0 - Unloading 0xffffffffc0c00000
hidden 16384 0 - Live 0x0000000000000000
"""


def test_only_those_that_stay() -> None:
    assert parse_modules(LINES) == {
        "dummy": "0xffffffffc0a00000",
        "bonding": "0xffffffffc0b00000",
        "hidden": "0x0000000000000000",
    }


def test_damaged_lines() -> None:
    assert parse_modules(b"\nhalf a line\n") == {}
