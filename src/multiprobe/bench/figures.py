"""`Figure`: what was measured of one tool, once a run; and the order of runs, in which tools take turns."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from multiprobe.bench.bpftrace import Bpftrace
from multiprobe.errors import MultiprobeError
from multiprobe.functions.sets import FunctionSet


class Case(NamedTuple):
    """What takes its turn in every run: a tool, and the way in which it does the work (a mechanism, a question)."""

    tool: str
    way: str

    def __str__(self) -> str:
        return f"{self.tool}, {self.way}" if self.way else self.tool


Run = Callable[[], Mapping[str, float]]
"""One run: the figures by step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """What one step of one case took, in each run.

    functions, cpus: how many there were, where it depends on them
    ratios: what it took relative to `peer` in the same run; empty without a peer
    """

    bench: str
    step: str
    tool: str
    way: str
    unit: str
    runs: tuple[float, ...]
    functions: int | None = None
    cpus: int | None = None
    peer: str = ""
    ratios: tuple[float, ...] = ()

    @property
    def median(self) -> float:
        """Of all runs."""
        return statistics.median(self.runs)

    @property
    def ratio(self) -> float | None:
        """The median of the ratios, if there are any."""
        return statistics.median(self.ratios) if self.ratios else None

    def to_json(self) -> dict[str, object]:
        """The figure as `--json` prints it (docs/json.md)."""
        return {
            "type": "figure",
            "bench": self.bench,
            "step": self.step,
            "tool": self.tool,
            "way": self.way,
            "functions": self.functions,
            "cpus": self.cpus,
            "unit": self.unit,
            "median": _rounded(self.median),
            "least": _rounded(min(self.runs)),
            "most": _rounded(max(self.runs)),
            "runs": [_rounded(one) for one in self.runs],
            "peer": self.peer or None,
            "ratio": None if self.ratio is None else round(self.ratio, 4),
            "ratios": [_rounded(one) for one in self.ratios],
        }

    @classmethod
    def from_json(cls, line: Mapping[str, object]) -> Figure:
        """What `to_json` made the line of. Of lines without `ratios`, which were not always written, the median is."""
        names = ("bench", "step", "tool", "way", "functions", "cpus", "unit")
        taken: dict[str, object] = {name: line[name] for name in names}
        median = line["ratio"]
        runs, ratios = line["runs"], line.get("ratios", [] if median is None else [median])
        assert isinstance(runs, list)
        assert isinstance(ratios, list)
        return cls(**taken, peer=line["peer"] or "", runs=tuple(runs), ratios=tuple(ratios))  # type: ignore[arg-type]


def spread(values: Sequence[float]) -> float:
    """The distance from the least to the most, as a part of the median, or 0.0 where that is zero: ±."""
    median = statistics.median(values)
    return abs((max(values) - min(values)) / median) if median else 0.0


def together(found: Iterable[Figure]) -> list[Figure]:
    """Figures of several machines, those of the same thing as one, with the runs of all."""
    same: dict[Figure, Figure] = {}
    for one in found:
        key = replace(one, runs=(), peer="", ratios=())
        if before := same.get(key):
            peer, runs, ratios = before.peer or one.peer, before.runs + one.runs, before.ratios + one.ratios
            same[key] = replace(one, peer=peer, runs=runs, ratios=ratios)
        else:
            same[key] = one
    return list(same.values())


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be measured: `n_runs` runs, on these functions, which were chosen by `patterns`.

    bpftraces: those to measure beside; ratios are to the first
    step: called with what is done next; notes: sentences on what could not be measured
    """

    functions: FunctionSet
    patterns: tuple[str, ...]
    n_runs: int
    bpftraces: tuple[Bpftrace, ...] = ()
    step: Callable[[str], None] = lambda _: None
    notes: list[str] = field(default_factory=list)


def in_turn(
    bench: str, cases: Mapping[Case, Run], task: Task, *, to_warm_up: Collection[Case] = ()
) -> dict[Case, list[Mapping[str, float]]]:
    """Run all cases, one after another, `task.n_runs` times. A case that fails is noted, and left out from then on.

    to_warm_up: these once before, without counting it, as the first time takes longer
    """
    found: dict[Case, list[Mapping[str, float]]] = {case: [] for case in cases}
    for n in range(task.n_runs + 1):
        for case in tuple(found if n else to_warm_up):
            task.step(f"{bench}: {case}, " + (f"run {n} of {task.n_runs}" if n else "to warm up"))
            try:
                run = cases[case]()
            except MultiprobeError as error:
                task.notes.append(f"{bench}: {case}: {error}")
                del found[case]
                continue
            if n:
                found[case].append(run)
    return found


def figures(
    bench: str,
    found: Mapping[Case, Sequence[Mapping[str, float]]],
    *,
    unit: str,
    peer: Case | None = None,
    functions: int | None = None,
) -> Iterator[Figure]:
    """The figures of runs that `in_turn` made; `peer`: the case that the others are compared with, if it is there."""
    for case, runs in found.items():
        others = found.get(peer, ()) if peer is not None and case != peer else ()
        for step in runs[0]:
            ratios = _ratios([run[step] for run in runs], [run[step] for run in others if step in run])
            yield Figure(
                bench=bench,
                step=step,
                tool=case.tool,
                way=case.way,
                unit=unit,
                runs=tuple(run[step] for run in runs),
                functions=functions,
                peer=peer.tool if peer is not None and ratios else "",
                ratios=ratios,
            )


def _ratios(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, ...]:
    """Those of runs that were made in turn."""
    return tuple(mine / other for mine, other in zip(ours, theirs, strict=False) if other)


def _rounded(number: float) -> float:
    """To what can be read: nine significant digits."""
    return float(f"{number:.9g}")
