"""Damages files as bad disks, bugs and attackers do: flipped bits, cut ends, moved and repeated pieces."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from struct import pack


def _flip(random: Random, data: bytearray, at: int) -> None:
    data[at] ^= 1 << random.randrange(8)


def _replace(random: Random, data: bytearray, at: int) -> None:
    data[at] = random.choice((0, 1, 0x7F, 0x80, 0xFF, 10, 32))


def _remove(random: Random, data: bytearray, at: int) -> None:
    del data[at : at + random.choice((1, 4, 12, 100))]


def _insert(random: Random, data: bytearray, at: int) -> None:
    data[at:at] = random.randbytes(random.choice((1, 4, 12)))


def _cut(_random: Random, data: bytearray, at: int) -> None:
    del data[at:]


def _renumber(random: Random, data: bytearray, at: int) -> None:
    n = len(data)
    at &= ~3
    numbers = (0, 1, 0xFFFFFFFF, 0x7FFFFFFF, 0x80000000, n, n - 1, random.randrange(64))
    data[at : at + 4] = pack("<I", random.choice(numbers))


def _copy(random: Random, data: bytearray, at: int) -> None:
    other = random.randrange(len(data))
    data[at : at + 8] = data[other : other + 8]


def _repeat(_random: Random, data: bytearray, at: int) -> None:
    data[at:at] = data[max(0, at - 64) : at]


_WAYS: tuple[Callable[[Random, bytearray, int], None], ...] = (
    *(_flip, _replace, _remove, _insert, _cut, _renumber, _copy, _repeat),
)


def mutated(random: Random, data: bytes) -> bytes:
    """A damaged copy, often in one place only."""
    found = bytearray(data)
    for _ in range(random.choice((1, 1, 1, 2, 4, 16))):
        found = found or bytearray(b"x")
        random.choice(_WAYS)(random, found, random.randrange(len(found)))
    return bytes(found)
