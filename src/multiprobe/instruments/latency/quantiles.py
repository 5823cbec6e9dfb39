"""Estimates quantiles from a histogram with power-of-two buckets. Pure.

Bucket b counts the values of b bits: bucket 0 the value 0, bucket b > 0 the values from 2^(b−1) to 2^b − 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def bounds(bucket: int) -> tuple[int, int]:
    """The lowest value of a bucket, and the lowest value above it."""
    return 1 << bucket >> 1, 1 << bucket


def quantile(buckets: Sequence[int], fraction: float, *, longest: int) -> int:
    """The value that `fraction` (0 to 1) of all values don't exceed; 0 if there are no values.

    The result lies in the right bucket, so it is right within a factor of two. Within a bucket, values are assumed to
    be spread evenly, except for the largest value when it is alone in its bucket.
    longest: the largest of all values; the result never exceeds it
    """
    n = sum(buckets)
    if not n:
        return 0
    wanted, below = fraction * n, 0
    for bucket, count in enumerate(buckets):
        if count and below + count >= wanted:
            low, high = bounds(bucket)
            if count == 1 and low <= longest < high:
                return longest
            high = min(high, longest + 1)
            return min(longest, max(low, low + int((high - low) * (wanted - below) / count)))
        below += count
    return longest
