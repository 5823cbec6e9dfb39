"""What a stream can show: how many columns, which characters, and whether in colour.

Text for files and pipes is never folded or coloured. Characters that an encoding doesn't have are spelled by others:
`...` for `…`, `us` for `µs`, `|` and `-` for boxes, a scale of marks for blocks.
"""

from __future__ import annotations

import codecs
import os
import sys
from io import TextIOWrapper
from typing import TYPE_CHECKING

from multiprobe.cells import cell_width, fold
from multiprobe.names import printable

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TextIO

Spans = tuple[tuple[str, str], ...]
"""A line in parts, each with its style."""
_USUAL = 80
"""The columns of a terminal that doesn't know, as a serial line."""
_LETTERS = dict(
    zip(
        "…µ×−→←▲▼▶─│├└●○◉◆·—⁶⁴³≥▏▎▍▌▋▊▉▁▂▃▄▅▆▇█",
        "~ux-><^v>-||`*o@#.-643>.::-=+*.:-=+*%#",
        strict=True,
    )
)
_LONGER = {"…": "...", "→": "->"}
_STYLES = {
    "bold": 1,
    "dim": 2,
    "black": 30,
    "red": 31,
    "green": 32,
    "yellow": 33,
    "blue": 34,
    "magenta": 35,
    "cyan": 36,
}
_ON = 10
"""What makes the colour of letters one of the background."""


def prepare(stream: object) -> None:
    """Make a standard stream take every character: those that its encoding lacks are replaced."""
    if isinstance(stream, TextIOWrapper):
        codecs.register_error("multiprobe.readable", _replace)
        is_plain = sys.flags.utf8_mode and os.environ.get("LC_ALL") in ("C", "POSIX")
        if is_plain and not {"PYTHONUTF8", "PYTHONIOENCODING"} & os.environ.keys():
            stream.reconfigure(encoding="ascii")  # LC_ALL=C is meant; Python takes it for a locale that nobody chose
        stream.reconfigure(errors="multiprobe.readable")


def _replace(error: UnicodeError) -> tuple[str | bytes, int]:
    """An error handler of encoders: a letter for a letter, so that what was laid out stays in its columns."""
    assert isinstance(error, UnicodeEncodeError)
    found = error.object[error.start]
    letter = _LETTERS.get(found) or ("#" if "\u2500" <= found <= "\u28ff" else "")  # boxes, blocks, Braille
    if not letter:
        return codecs.backslashreplace_errors(
            UnicodeEncodeError(error.encoding, error.object, error.start, error.start + 1, error.reason)
        )
    return letter, error.start + 1


def spelled(text: str, file: TextIO) -> str:
    """The text in letters that the stream has; before it is laid out, as its length may change."""
    encoding = getattr(file, "encoding", None) or "utf-8"
    if text.isascii() or encoding.lower().startswith("utf"):
        return text
    return "".join([letter if letter.isascii() else _spelled(letter, encoding) for letter in text])


def _spelled(letter: str, encoding: str) -> str:
    try:
        letter.encode(encoding)
    except UnicodeEncodeError:
        return _LONGER.get(letter) or _LETTERS.get(letter) or letter.encode("ascii", "backslashreplace").decode()
    return letter


def columns_of(file: TextIO) -> int | None:
    """The columns of a terminal (by COLUMNS, if it is set); None for anything else, which has no width."""
    if not file.isatty():
        return None
    told = os.environ.get("COLUMNS", "")
    if told.isascii() and told.isdigit() and int(told):
        return int(told)
    try:
        return os.get_terminal_size(file.fileno()).columns or _USUAL
    except (OSError, ValueError):
        return _USUAL


def can_redraw(file: TextIO) -> bool:
    """Whether a line can be drawn anew: on a terminal that isn't a dumb one."""
    return file.isatty() and os.environ.get("TERM", "") not in ("", "dumb", "unknown")


def styled(text: str, style: str, file: TextIO) -> str:
    """The text in a style, such as `bold cyan` or `black on red`, where the stream shows styles."""
    if not style or not text or os.environ.get("NO_COLOR") or not can_redraw(file):
        return text
    front, _, back = style.partition("on ")
    codes = [_STYLES[word] for word in front.split()] + [_STYLES[word] + _ON for word in back.split()]
    return f"\x1b[{';'.join(map(str, codes))}m{text}\x1b[0m"


def write_spans(lines: Iterable[Spans], file: TextIO, *, hang: int | None = None) -> None:
    """Write lines of (text, style); one that has to be folded has no styles."""
    width = columns_of(file)
    for line in lines:
        shown = [(spelled(printable(text), file), style) for text, style in line]
        whole = "".join(text for text, _ in shown)
        if width and cell_width(whole) > width:
            file.writelines(f"{part}\n" for part in fold(whole, width, hang=hang))
        else:
            file.write("".join(styled(text, style, file) for text, style in shown) + "\n")
    file.flush()


def write_lines(lines: Iterable[str], file: TextIO, *, hang: int | None = None) -> None:
    """Write lines: each printable, in letters that the stream has, and on a terminal folded to its width."""
    width = columns_of(file)
    for line in lines:
        shown = spelled(printable(line), file)
        file.writelines(f"{part}\n" for part in (fold(shown, width, hang=hang) if width else [shown]))
    file.flush()
