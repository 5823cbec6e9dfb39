"""Proof that a function is refused whatever the program: an empty program is refused there too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from multiprobe.errors import MultiprobeError
from multiprobe.links.mechanisms.errnos import is_about_the_function
from multiprobe.links.mechanisms.linked import LinkRequest, load_empty
from multiprobe.links.mechanisms.linking import attach_by

if TYPE_CHECKING:
    from collections.abc import Mapping

    from multiprobe.binaries.mixed import AnyFunctionSet
    from multiprobe.kernel.mechanism import Mechanism

_MAX_TRIES = 64


def proven(
    mechanism: Mechanism, functions: AnyFunctionSet, refused: Mapping[int, int], *, when: str, is_paired: bool
) -> dict[int, int]:
    """Those of the refused functions (errno by index) on which an empty program fails with the same errno.

    Tries the first _MAX_TRIES only.
    """
    candidates = {index: number for index, number in refused.items() if is_about_the_function(number)}
    found = {}
    for index in sorted(candidates)[:_MAX_TRIES]:
        request = LinkRequest(functions.take([index]), [index], None, when, load_empty, is_paired=is_paired)
        try:
            linked = attach_by(mechanism, request)
        except MultiprobeError:
            continue
        linked.close()
        if linked.refused.get(index) == candidates[index]:
            found[index] = candidates[index]
    return found
