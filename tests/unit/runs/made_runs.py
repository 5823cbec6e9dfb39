"""Runs for the tests of merging and comparing, made without measuring."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import multiprobe as mp
from multiprobe.names import json_line
from multiprobe.runs.host import Host, Moment

Label = tuple[str, str]


def make_run(
    rows: Sequence[Mapping[str, Any]],
    *,
    name: str = "a",
    command: str = "count",
    host: str = "one",
    kernel: str = "6.12.1",
    seconds: float = 10.0,
    attached: Sequence[Label] | None = None,
    skipped: Mapping[str, str] | None = None,
    missed: Mapping[str, int] | None = None,
    settings: Mapping[str, object] | None = None,
    workload: str = "",
) -> mp.Run:
    """A run whose rows say so; by default, their functions are those that were attached."""
    labels = [(row["module"], row["function"]) for row in rows if "function" in row] if attached is None else attached
    reasons = [{"function": one, "code": "x", "reason": why} for one, why in (skipped or {}).items()]
    report = {
        "type": "report", "schema": 1, "requested": len(labels) + len(reasons), "attached": len(labels),
        "skipped": reasons, "failed": [], "links": 1, "missed": dict(missed or {}), "seconds": seconds,
    }  # fmt: skip
    if workload:
        report["command"] = {"arguments": [workload], "pid": 1, "status": 0}
    return mp.Run(
        path=f"{name}.jsonl",
        id=name,
        command=command,
        host=Host(name=host, machine=f"machine of {host}", kernel=kernel),
        start=Moment(1_000, 10),
        end=Moment(2_000, 1_010),
        settings={"when": "entry", "scope": "system"} if settings is None else settings,
        seconds=seconds,
        _report=zlib.compress(json_line(report).encode()),
        rows=mp.Table(rows),
        attached=tuple(labels),
    )


def called(function: str, calls: int, module: str = "") -> dict[str, Any]:
    return {"type": "function", "function": function, "module": module, "calls": calls, "rate": 0.0, "share": 0.0}


def timed(function: str, histogram: Mapping[int, int], *, total: int, longest: int, module: str = "") -> dict[str, Any]:
    """A row of `latency`. histogram: calls by the bits of their time."""
    buckets = [[1 << bits >> 1, 1 << bits, n] for bits, n in sorted(histogram.items())]
    return {
        "type": "function", "function": function, "module": module, "calls": sum(histogram.values()), "running": 0,
        "total_ns": total, "max_ns": longest, "histogram": buckets,
    }  # fmt: skip
