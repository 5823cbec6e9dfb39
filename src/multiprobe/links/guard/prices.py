"""What a hit costs on this machine, in nanoseconds: measured before anything is attached, and while it runs.

A hit has two parts. The fixed one is the mechanism's: getting from the function to the program and back. The kernel
doesn't time it, so it is measured here: a program of ours calls a helper of the kernel's in a loop, timed by
BPF_PROG_TEST_RUN with and without a probe on that helper. The other part is the program's body: the kernel times it
(BPF_ENABLE_STATS), which is dear itself, so only for moments; until then it is told from the number of instructions.
"""

from __future__ import annotations

import time
from struct import pack
from typing import TYPE_CHECKING

from multiprobe.errors import MultiprobeError
from multiprobe.links.mechanisms.linked import LinkRequest, load_empty
from multiprobe.links.mechanisms.linking import attach_by
from multiprobe.links.plan.costs import COSTS, cost_of
from multiprobe.syscalls import bpf
from multiprobe.uapi.bpf import ProgType

if TYPE_CHECKING:
    from collections.abc import Iterable

    from multiprobe.functions.kernel import Kernel
    from multiprobe.functions.sets import FunctionSet
    from multiprobe.kernel.mechanism import Mechanism
    from multiprobe.links.mechanisms.linked import Linked
    from multiprobe.syscalls.fd import FileDescriptor

USUAL_NS_PER_INSN = 0.4
"""Where nothing can be measured: about one instruction a cycle at 2.5 GHz."""
_HELPERS = ((160, "bpf_ktime_get_coarse_ns"), (7, "bpf_user_rnd_u32"), (5, "bpf_ktime_get_ns"))
"""Helpers that a socket filter may call, are real functions, and are called by nearly nobody else: id and symbol."""
_LOOP, _REPEAT, _ROUNDS = 500, 4, 5
_STATS_SECONDS = 0.05
_MAX_TIMED = 64


class Prices:
    """Nanoseconds of a hit, by mechanism: `fixed` is the mechanism's part, `body` the program's."""

    def __init__(self) -> None:
        self.fixed: dict[Mechanism, float] = {}
        self.body: dict[Mechanism, float] = {}
        self.is_measured: dict[Mechanism, bool] = {}

    def of(self, mechanism: Mechanism) -> float:
        return self.fixed[mechanism] + self.body[mechanism]

    def to_json(self) -> dict[str, dict[str, object]]:
        """For each mechanism by name: `fixed` and `body` in nanoseconds, `measured`: whether `fixed` was."""
        return {
            mechanism.label: {
                "fixed": round(self.fixed[mechanism], 1),
                "body": round(self.body[mechanism], 1),
                "measured": self.is_measured[mechanism],
            }
            for mechanism in self.fixed
        }

    def find(self, kernel: Kernel | None, mechanism: Mechanism, *, when: str, is_paired: bool, n_insns: int) -> None:
        """Measure a mechanism's part, and guess the body's from its `n_insns` instructions. Attaches for a moment.

        `is_paired`: a session is two programs, each hit by itself.
        """
        measured_side = "entry" if is_paired else when
        measured = measure_fixed(kernel, mechanism, when=measured_side)
        per_insn = measured / COSTS[measured_side, mechanism].hit if measured else USUAL_NS_PER_INSN
        hits = 2 if when == "session" else 1  # of one call
        hit = cost_of(mechanism, when=when, is_paired=is_paired).hit
        self.fixed[mechanism] = hit * per_insn / hits
        self.body[mechanism] = n_insns * per_insn
        self.is_measured[mechanism] = measured > 0

    def time_bodies(self, parts: Iterable[Linked], *, factor: float = 1.0, seconds: float = _STATS_SECONDS) -> None:
        """Have the kernel time the programs for a moment; without the right to (CAP_SYS_ADMIN), the guess stays.

        `factor` makes a whole body of what was timed, where programs aren't active yet and leave at their gate.
        """
        programs: dict[Mechanism, list[FileDescriptor]] = {}
        for part in parts:
            programs.setdefault(part.mechanism, []).extend(part.open_programs())
        try:
            with bpf.enable_stats():
                before = {mechanism: _run(some) for mechanism, some in programs.items()}
                time.sleep(seconds)
                after = {mechanism: _run(some) for mechanism, some in programs.items()}
        except MultiprobeError:
            return
        for mechanism, (nanoseconds, runs) in after.items():
            n = runs - before[mechanism][1]
            if n >= 100:  # fewer say little
                self.body[mechanism] = factor * (nanoseconds - before[mechanism][0]) / n


def _run(programs: list[FileDescriptor]) -> tuple[int, int]:
    """(nanoseconds, runs) of the programs so far, as far as the kernel timed them."""
    found = [bpf.prog_info(prog) for prog in programs[:_MAX_TIMED]]
    return sum(one.run_time_ns for one in found), sum(one.run_count for one in found)


def measure_fixed(kernel: Kernel | None, mechanism: Mechanism, *, when: str) -> float:
    """Nanoseconds that one call takes longer with an empty program on it; 0 where that can't be measured."""
    if kernel is None:
        return 0.0
    for helper, symbol in _HELPERS:
        rows = kernel.table.rows_of_name(symbol)
        chosen = kernel.by_symbols([symbol]) if rows else None
        if chosen is not None and len(chosen) == 1 and chosen.mechanisms(when=when)[0] & mechanism:
            try:
                return _difference(helper, chosen, mechanism, when=when)
            except MultiprobeError:
                return 0.0
    return 0.0


def _difference(helper: int, chosen: FunctionSet, mechanism: Mechanism, *, when: str) -> float:
    with bpf.prog_load(ProgType.SOCKET_FILTER, _calling(helper), name="caller") as caller:
        without = _fastest(caller)
        linked = attach_by(mechanism, LinkRequest(chosen, range(1), None, when, load_empty))
        try:
            return 0.0 if linked.refused else max(0.0, _fastest(caller) - without)
        finally:
            linked.close()


def _calling(helper: int) -> bytes:
    """Call a helper without arguments _LOOP times."""
    insns = (
        (0xB7, 6, 0, _LOOP),  # r6 = n
        (0x85, 0, 0, helper),  # call
        (0x07, 6, 0, -1),  # r6 -= 1
        (0x55, 6, -3, 0),  # if r6 != 0: again
        (0xB7, 0, 0, 0),
        (0x95, 0, 0, 0),
    )
    return b"".join(pack("<BBhi", *insn) for insn in insns)


def _fastest(caller: FileDescriptor) -> float:
    """Nanoseconds for one call of the helper: the fastest round, since whatever disturbs only adds."""
    rounds = (bpf.prog_test_run(caller, data=bytes(64), repeat=_REPEAT)[1] for _ in range(_ROUNDS))
    return min(rounds) / _LOOP
