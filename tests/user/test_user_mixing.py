"""Mixing, proven for functions of programs, and in guests for those of the kernel beside them in one attachment.

Random scenarios: two to four attachments, each on random functions of two libraries and of the kernel, on a random
side, with random cookies, attached and detached in a random order. After each step this process calls every function a
known number of times. `make soak` runs many more of them.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import multiprobe as mp
from compiled import PROGRAMS, compiled_program
from mixed import Live, cookies, play, runs
from multiprobe.kernel.features import Features
from multiprobe.kernel.mechanism import Mechanism, mechanism_names
from multiprobe.links.plan.usable import usable_mechanisms
from places import IS_GUEST

N_SCENARIOS = int(os.environ.get("MULTIPROBE_SCENARIOS", "12"))
SYSTEM_CALLS: dict[str, Callable[[], object]] = {
    "__x64_sys_getpgid": lambda: os.getpgid(0),
    "__x64_sys_getsid": lambda: os.getsid(0),
    "__x64_sys_getpriority": lambda: os.getpriority(os.PRIO_PROCESS, 0),
}
PARTS = [f"part{n}" for n in range(12)]


@mp.program
def observe(ctx: mp.Context) -> None:
    runs[ctx.function] += 1
    cookies[ctx.function] = ctx.cookie


@dataclass(frozen=True)
class Targets:
    """Two libraries that this process has loaded, and what calls all of their functions and the system calls."""

    binaries: tuple[mp.Binary, mp.Binary]
    libraries: tuple[ctypes.CDLL, ctypes.CDLL]

    def call(self, n: int) -> None:
        for library in self.libraries:
            library.run(n)
        for _ in range(n):
            for call in SYSTEM_CALLS.values():
                call()


@dataclass
class Wish:
    """One attachment: functions of each library, and of the kernel by one mechanism."""

    when: str
    parts: tuple[list[str], list[str]]
    system_calls: list[str]
    mechanism: str
    cookies: list[int]

    @property
    def n(self) -> int:
        return sum(map(len, self.parts)) + len(self.system_calls)

    def attach(self, targets: Targets) -> Live:
        sets = [binary.functions(*names) for binary, names in zip(targets.binaries, self.parts, strict=True) if names]
        if self.system_calls:
            sets.append(mp.Kernel().functions(*self.system_calls))  # type: ignore[arg-type]
        allowed = ["uprobe_multi", *([self.mechanism] if self.mechanism else [])]
        given = self.cookies[: self.n]
        made = mp.attach(observe, sets, when=self.when, cookies=given, mechanisms=allowed, pid=os.getpid())
        return Live(made, self.when, given, str(self))


@pytest.fixture(scope="module")
def targets(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Targets:
    folder = tmp_path_factory.mktemp("mixing")
    flags = ("-O1", "-g0", "-shared", "-fPIC")
    one, other = (compiled_program(PROGRAMS / "twelve.c", folder / name, *flags) for name in ("one.so", "other.so"))
    return Targets((mp.Binary(one), mp.Binary(other)), (ctypes.CDLL(str(one)), ctypes.CDLL(str(other))))


def sides() -> dict[str, list[str]]:
    """The sides that this kernel offers for functions of programs, each with the mechanisms for those of the kernel."""
    found = ["entry", "return", *([] if Features().probe("uprobe_session").is_no else ["session"])]
    if not IS_GUEST:
        return {when: [] for when in found}
    return {when: mechanism_names(usable_mechanisms(mp.Kernel(), when=when) & Mechanism.KERNEL) for when in found}


@st.composite
def wishes(draw: st.DrawFn, offered: dict[str, list[str]]) -> Wish:
    when = draw(st.sampled_from(list(offered)))
    some = st.lists(st.sampled_from(PARTS), unique=True)
    parts = draw(st.tuples(st.lists(st.sampled_from(PARTS), min_size=1, unique=True), some))
    names = offered[when]
    system_calls = draw(st.lists(st.sampled_from(list(SYSTEM_CALLS)), unique=True)) if names else []
    mechanism = draw(st.sampled_from(names)) if system_calls else ""
    n_most = 2 * len(PARTS) + len(SYSTEM_CALLS)
    return Wish(
        when,
        parts,
        system_calls,
        mechanism,
        draw(st.lists(st.integers(0, (1 << 64) - 1), min_size=n_most, max_size=n_most)),
    )


@settings(max_examples=N_SCENARIOS, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_mixing(targets: Targets, data: st.DataObject) -> None:
    wanted = data.draw(st.lists(wishes(sides()), min_size=2, max_size=4), label="wishes")
    play(data, [partial(wish.attach, targets) for wish in wanted], targets.call)
