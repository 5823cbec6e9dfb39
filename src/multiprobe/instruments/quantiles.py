"""What a histogram by powers of two tells: the values below which some share of all lies. Pure.

Bucket b counts the values that take b bits: bucket 0 has 0, bucket b > 0 those from 2^(b−1) to 2^b − 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def bounds(bucket: int) -> tuple[int, int]:
    """The lowest value of a bucket, and the lowest one above it."""
    return 1 << bucket >> 1, 1 << bucket


def quantile(buckets: Sequence[int], share: float, *, longest: int) -> int:
    """The value that `share` (0 to 1) of all values don't exceed; 0 where there are none.

    It lies in the right bucket, so it is right within a factor of two; inside, values are taken to be spread evenly,
    but for the largest one when it is alone in its bucket.
    `longest` is the largest value of all, which is never exceeded.
    """
    n = sum(buckets)
    if not n:
        return 0
    wanted, below = share * n, 0
    for bucket, count in enumerate(buckets):
        if count and below + count >= wanted:
            low, high = bounds(bucket)
            if count == 1 and low <= longest < high:
                return longest
            high = min(high, longest + 1)
            return min(longest, max(low, low + int((high - low) * (wanted - below) / count)))
        below += count
    return longest
