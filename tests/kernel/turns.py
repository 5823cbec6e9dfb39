"""Cases that are shared out: each is tried on one of the kernels of `make test`, where the mechanism is there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import cycle
from typing import Any

import pytest

KERNELS = ("6.1", "6.12", "7.3")
HOME = {"kprobe": "6.1", "trampoline": "7.3", "kprobe_multi": "6.12", "tracing_multi": "7.3"}
"""The one kernel on which a mechanism is tried where one is enough."""


def in_turn(cases: Iterable[Any], kernels: Sequence[str] = KERNELS) -> list[Any]:
    """The cases of `parametrize`, each (a tuple where there are several names) marked for one of the kernels."""
    return [
        pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.once(kernel))
        for case, kernel in zip(cases, cycle(kernels), strict=False)
    ]


def at_home(mechanisms: Iterable[str]) -> list[Any]:
    """Mechanisms for `parametrize`, each marked for its one kernel."""
    return [pytest.param(mechanism, marks=pytest.mark.once(HOME[mechanism])) for mechanism in mechanisms]
