r"""Decodes names that users choose (processes, files, symbols of modules), and makes them fit for every output.

A name is bytes. `decode_name` keeps bytes that are not UTF-8 as lone surrogates, as `os.fsdecode` does. Outputs spell
what they can't hold by escapes: text, CSV and pictures (`printable`) all control characters, as `\n`, `\x1b` or
`\u202e`; JSON (`json_line`) as JSON does; Arrow (`storable`) needs UTF-8 only. A byte that is not UTF-8 is `\xff`
everywhere.
"""

from __future__ import annotations

import json
import re

_BYTES = range(0xDC80, 0xDD00)
"""The surrogates that stand for bytes above 0x7f."""
_SURROGATE = re.compile("[\ud800-\udfff]")


def decode_name(raw: bytes) -> str:
    """A name of the kernel, up to its first NUL."""
    return raw.partition(b"\0")[0].decode(errors="surrogateescape")


def encode_name(text: str) -> bytes:
    """The bytes to look up a name by, whatever it holds."""
    return text.encode(errors="surrogatepass")


def printable(text: str) -> str:
    """`text` on one line, without characters that a terminal acts on or UTF-8 can't encode."""
    return text if text.isprintable() else "".join(map(_escaped, text))


def storable(item: object) -> object:
    """The same value (text, number, or lists and mappings of them), all of whose texts can be encoded as UTF-8."""
    if isinstance(item, str):
        return item if item.isascii() else _SURROGATE.sub(lambda found: _escape(found[0]), item)
    if isinstance(item, dict):
        return {storable(name): storable(part) for name, part in item.items()}
    if isinstance(item, list | tuple):
        return [storable(part) for part in item]
    return item


def json_line(item: object) -> str:
    """A value as JSON on one line."""
    text = json.dumps(item, separators=(",", ":"), ensure_ascii=False)
    return (
        text if text.isprintable() else "".join(letter if letter.isprintable() else _in_json(letter) for letter in text)
    )


def _escaped(letter: str) -> str:
    return letter if letter.isprintable() else _escape(letter)


def _escape(letter: str) -> str:
    number = ord(letter)
    if number in _BYTES:
        return f"\\x{number - 0xDC00:02x}"
    if number < 0x80:
        return letter.encode("unicode_escape").decode()
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def _in_json(letter: str) -> str:
    return json.dumps(_escape(letter) if _SURROGATE.match(letter) else letter)[1:-1]
