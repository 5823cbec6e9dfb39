"""Functions of binaries that this kernel can't probe, for plans and lists: they are tried in this process alone."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from multiprobe.binaries.mixed import binary_parts
from multiprobe.errors import MultiprobeError
from multiprobe.kernel.features import Features
from multiprobe.links.mechanisms.uprobe_multi import refused_by_kernel
from multiprobe.links.mechanisms.uprobe_program import open_unchanged

if TYPE_CHECKING:
    from multiprobe.binaries.mixed import AnyFunctionSet


def refused_functions(functions: AnyFunctionSet, *, when: str = "entry") -> dict[int, int]:
    """The positions of functions that the kernel refuses, each with the errno; of USDT probes, with all their sites.

    functions: all of them attachable by their verdicts. Raises what attaching raises, NotPermittedError without the
    right to attach among it.
    """
    found: dict[int, int] = {}
    for first, part in binary_parts(functions):
        sites = part.sites()
        with open_unchanged(part) as file:
            refused = refused_by_kernel(file, sites.offsets, sites.counters, when=when)
        n_sites = Counter(sites.positions) if refused else Counter()
        n_refused = Counter(sites.positions[place] for place in refused)
        for place, number in refused.items():
            position = sites.positions[place]
            if n_refused[position] == n_sites[position]:
                found.setdefault(first + position, number)
    return found


def refused_as_far_as_known(functions: AnyFunctionSet, *, when: str = "entry") -> tuple[dict[int, int], list[str]]:
    """The same, for those who don't attach; where it can't be tried nothing, and a note that says so.

    Kernels that attach to no function of a program are not worth a note at each of them.
    """
    try:
        return refused_functions(functions, when=when), []
    except MultiprobeError as error:
        if Features().probe("uprobe_multi").is_no:
            return {}, []
        return {}, [f"whether this kernel can probe these functions of programs could not be tried: {error}"]
