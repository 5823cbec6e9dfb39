"""Draws histograms as text: with bars, or as one line of blocks for a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

BLOCKS = " ▁▂▃▄▅▆▇█"
EIGHTHS = " ▏▎▍▌▋▊▉█"


def log2_bounds(bucket: int) -> tuple[int, int]:
    """The values [low, high) of a log2 bucket: 0 holds 0, bucket b > 0 holds 2^(b−1) … 2^b − 1."""
    return (0, 1) if bucket == 0 else (1 << bucket - 1, 1 << bucket)


def used_range(counts: Sequence[int]) -> range:
    """From the first bucket that isn't empty to the last."""
    used = [bucket for bucket, n in enumerate(counts) if n]
    return range(used[0], used[-1] + 1) if used else range(0)


def log2_lines(counts: Sequence[int], *, form: Callable[[int], str] = str, width: int = 40) -> Iterator[str]:
    """A log2 histogram, a line for each bucket from the first used to the last: bounds, count, bar.

    form: how a bound reads (times, sizes); width: of the longest bar, in characters
    """
    buckets = used_range(counts)
    if not buckets:
        return
    bounds = [tuple(map(form, log2_bounds(bucket))) for bucket in buckets]
    lows, highs = (max(len(bound[side]) for bound in bounds) for side in (0, 1))
    numbers = max(len(f"{counts[bucket]:,}") for bucket in buckets)
    most = max(counts)
    for bucket, (low, high) in zip(buckets, bounds, strict=True):
        n = counts[bucket]
        yield f"[{low:>{lows}}, {high:>{highs}})  {n:>{numbers},}  |{bar(n, most, width):<{width}}|"


def bar(n: int, most: int, width: int) -> str:
    """A bar of n/most of `width` characters, to an eighth of one; nothing but 0 gives none at all."""
    eighths = -(-n * width * 8 // most) if most > 0 and n > 0 else 0
    full, rest = divmod(min(eighths, width * 8), 8)
    return "█" * full + (EIGHTHS[rest] if rest else "")


def sparkline(counts: Sequence[int], *, width: int = 0) -> str:
    """One character per number, as high as the number compared with the largest; 0 is blank.

    width: at most so many characters (0: all), each the sum of as many neighbours as it takes
    """
    if width and len(counts) > width:
        step = -(-len(counts) // width)
        counts = [sum(counts[start : start + step]) for start in range(0, len(counts), step)]
    most = max(counts, default=0)
    return "".join(BLOCKS[-(-n * 8 // most)] if n > 0 else " " for n in counts)
