"""What is fuzzed: a parser with good inputs, or a command line."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from multiprobe.cli import main as cli

CORPUS = Path(__file__).parent.parent / "corpus"


@dataclass(frozen=True)
class Target:
    """A parser: good inputs, and what is called with bad ones. `tokens`: what is put into them besides bytes."""

    name: str
    seeds: tuple[bytes, ...]
    call: Callable[[bytes], object]
    tokens: tuple[bytes, ...] = ()

    def inputs(self) -> list[bytes]:
        """The seeds and the corpus."""
        return [*self.seeds, *(path.read_bytes() for path in sorted((CORPUS / self.name).glob("*")))]


def words_of(data: bytes) -> list[str]:
    """A command line, whose words are divided by NUL."""
    return data.decode("utf-8", "surrogateescape").split("\0")


def run_command(words: Sequence[str]) -> int:
    """The exit status of a command; AssertionError for a traceback or an internal error."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = cli.run(words)
    if "internal error" in err.getvalue() or "Traceback" in err.getvalue():
        raise AssertionError(err.getvalue())
    return status
