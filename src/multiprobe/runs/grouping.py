"""Groups saved runs by the kernel that they were measured on, and compares each with the next one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from multiprobe.errors import UsageError
from multiprobe.runs.comparing import FDR, LEAST, Difference, diff
from multiprobe.runs.opening import open_run

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from multiprobe.runs.opening import Source


@dataclass(frozen=True, slots=True)
class KernelDifference:
    """What differs between the runs on two kernels, named by their releases."""

    before: str
    after: str
    difference: Difference


def by_kernel(runs: Iterable[Source]) -> dict[str, list[Source]]:
    """The runs by the release of their kernel, in the order of versions. Raises what `mp.Run.load` raises."""
    found: dict[str, list[Source]] = {}
    for source in runs:
        with open_run(source) as run:
            found.setdefault(run.info.host.kernel, []).append(source)
    return {release: found[release] for release in sorted(found, key=_version)}


def diff_kernels(runs: Iterable[Source], *, fdr: float = FDR, least: float = LEAST) -> Iterator[KernelDifference]:
    """Compare the runs of each kernel with those of the next newer one, as `mp.diff` does.

    Raises UsageError for runs of one kernel only, and what `mp.diff` raises.
    """
    groups = by_kernel(runs)
    if len(groups) < 2:
        raise UsageError(
            f"all runs are of one kernel: {next(iter(groups), 'there is none')}",
            hint="name runs of two kernels or more",
        )
    for (before, old), (after, new) in pairwise(groups.items()):
        yield KernelDifference(before, after, diff(old, new, fdr=fdr, least=least))


def _version(release: str) -> tuple[tuple[int, int, str], ...]:
    """Numbers compare as numbers: 6.2 comes before 6.12."""
    parts = re.findall(r"[0-9]+|[^0-9]+", release)
    return tuple((1, int(part[:18]), "") if part.isascii() and part.isdigit() else (0, 0, part) for part in parts)
