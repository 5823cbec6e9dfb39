"""Hostile input for everything that parses: mutations of good inputs and of the corpus, until the time is up.

    .venv/bin/python tests/fuzz.py [--minutes M] [--seed S] [TARGET…]      make fuzz

A parser may refuse input with an error of ours, or answer; it may raise nothing else and take no longer than seconds.
What was found is kept in tests/corpus/TARGET, which the unit tests replay.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import random
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

sys.path[:0] = [str(Path(__file__).parent)]

from fuzzing.parsers import targets  # noqa: E402
from fuzzing.target import CORPUS, Target  # noqa: E402
from multiprobe.errors import MultiprobeError  # noqa: E402

SECONDS, LONGEST = 5.0, 120.0
_TIMERS = {signal.ITIMER_PROF: signal.SIGPROF, signal.ITIMER_REAL: signal.SIGALRM}
_LONG_NUMBER = b"9" * 5000  # which int() refuses
_WORDS = (0, 1, 0xFFFFFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFF, 64)


class SlowError(Exception):
    """An input that took too long."""


def mutate(chosen: random.Random, data: bytes, tokens: tuple[bytes, ...]) -> bytes:
    """A few changes: bits, bytes, words, repetitions, cuts, tokens."""
    made = bytearray(data)
    for _ in range(chosen.choice((1, 1, 1, 2, 4, 16))):
        made = made or bytearray(b"x")
        at, how = chosen.randrange(len(made)), chosen.randrange(10 if tokens else 8)
        if how == 0:
            made[at] ^= 1 << chosen.randrange(8)
        elif how == 1:
            made[at] = chosen.choice((0, 1, 0x7F, 0x80, 0xFF, 10, 32))
        elif how == 2:
            del made[at : at + chosen.choice((1, 4, 12, 100))]
        elif how == 3:
            made[at:at] = chosen.randbytes(chosen.choice((1, 4, 12)))
        elif how == 4:
            made = made[:at]
        elif how == 5:
            place, word = at & ~3, chosen.choice((*_WORDS, len(made), len(made) - 1, chosen.randrange(64)))
            made[place : place + 4] = struct.pack("<I", word & 0xFFFFFFFF)
        elif how == 6:
            other = chosen.randrange(len(made))
            made[at : at + 8] = made[other : other + 8]
        elif how == 7:
            made[at:at] = made[max(0, at - 64) : at] if chosen.random() < 0.9 else _LONG_NUMBER
        else:
            made[at:at] = chosen.choice(tokens)
    return bytes(made)


# Trying


@dataclass
class Fuzz:
    """What was tried and found: `findings` has one input for each kind of failure, `n` counts inputs."""

    findings: dict[str, bytes] = field(default_factory=dict)
    n: Counter[str] = field(default_factory=Counter)

    def attempt(self, target: Target, data: bytes) -> str:
        """Try one input; what is wrong, or ""."""
        self.n[target.name] += 1
        try:
            with _time_limit():
                target.call(data)
        except MultiprobeError:
            return ""
        except (Exception, RecursionError) as error:
            found = f"{target.name}: {type(error).__name__} at {_where(error)}: {str(error)[:100]}"
            self.findings.setdefault(found.rpartition(": ")[0], data)
            return found
        return ""

    def run(self, chosen: list[Target], source: random.Random, *, is_over: Callable[[], bool]) -> None:
        """Try mutations of all targets, in turn."""
        inputs = {target.name: target.inputs() for target in chosen}
        while not is_over():
            for target in chosen:
                for _ in range(20):
                    data = mutate(source, source.choice(inputs[target.name]), target.tokens)
                    before = len(self.findings)
                    found = self.attempt(target, data)
                    if len(self.findings) > before:
                        print(f"{found}\n  {data[:200]!r}", flush=True)


@contextlib.contextmanager
def _time_limit() -> Iterator[None]:
    """SECONDS of processor time, however busy the machine is; a parser that waits gets more of the clock's."""

    def on_alarm(_number: int, _frame: FrameType | None) -> None:
        raise SlowError(f"took more than {SECONDS} s of the processor, or {LONGEST} s")

    before = [signal.signal(number, on_alarm) for number in _TIMERS.values()]
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.setitimer(signal.ITIMER_REAL, LONGEST)
    try:
        yield
    finally:
        for (timer, number), handler in zip(_TIMERS.items(), before, strict=True):
            signal.setitimer(timer, 0)
            signal.signal(number, handler)


def _where(error: BaseException) -> str:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "multiprobe" in frame.filename]
    return f"{frames[-1].filename.rpartition('multiprobe/')[2]}:{frames[-1].name}" if frames else "?"


def main() -> int:
    """Fuzz until the time is up, keep what was found, print counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("target", nargs="*")
    options = parser.parse_args()
    end = time.monotonic() + 60 * options.minutes
    fuzz = Fuzz()
    warnings.simplefilter("error")
    print(f"seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory() as directory:
        chosen = [one for one in targets(Path(directory)) if not options.target or one.name in options.target]
        for target in chosen:
            for data in target.inputs():
                if found := fuzz.attempt(target, data):
                    print(found)
        fuzz.run(chosen, random.Random(options.seed), is_over=lambda: time.monotonic() > end)
    for found, data in fuzz.findings.items():
        directory = CORPUS / found.partition(":")[0]
        directory.mkdir(parents=True, exist_ok=True)
        (directory / hashlib.sha1(data).hexdigest()[:12]).write_bytes(data)
    for name, n in sorted(fuzz.n.items()):
        print(f"{n:9,} {name}")
    print(
        f"{fuzz.n.total():,} inputs (seed {options.seed}), {options.minutes:g} minutes: {len(fuzz.findings)} findings"
    )
    return 1 if fuzz.findings else 0


if __name__ == "__main__":
    sys.exit(main())
