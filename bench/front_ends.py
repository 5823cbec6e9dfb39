"""Measures what graph, errors and stacks make of a million records, without a kernel: from the content of maps on.

Runs anywhere: `python bench/front_ends.py [RECORDS]`. Each front end runs in a process of its own. Prints JSON lines:
seconds of processor time, and the peak of memory in MB, records and imports included.
"""

from __future__ import annotations

import json
import multiprocessing
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import chain
from types import SimpleNamespace
from typing import Any

import numpy as np

import multiprobe as mp
from multiprobe.cli.graph import ShownGraph, tree_text
from multiprobe.instruments.errors import kinds, program
from multiprobe.instruments.errors.failures import ErrorFilter
from multiprobe.instruments.errors.instrument import FailureCounter, FailureStream
from multiprobe.instruments.graph.instrument import GraphSample, trees
from multiprobe.instruments.graph.program import BEGIN, CALL_WIDTH, END, FUNCTION, THREAD
from multiprobe.instruments.stacks.instrument import Namer, named
from multiprobe.instruments.stacks.program import NOT_ASKED
from multiprobe.kernel.resolve import ResolvedAddress

RECORDS = 1_000_000
N_FUNCTIONS, N_THREADS, DEEPEST = 1_000, 16, 10
N_KINDS = 50_000
CHUNK = 16_384
"""Records that one look at a ring buffer finds."""
LABELS = [f"function_{n}" for n in range(N_FUNCTIONS)]
FUNCTIONS = [SimpleNamespace(name=label, module="", __str__=lambda self: self.name) for label in LABELS]


def main() -> None:
    n = int(sys.argv[1]) if len(sys.argv) > 1 else RECORDS
    for name, work in (("graph", graph), ("errors", errors), ("errors --each", each_error), ("stacks", stacks)):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            print(json.dumps({"bench": "front_ends", "of": name, "records": n} | pool.apply(work, (n,))), flush=True)


@contextmanager
def measured(found: dict[str, float]) -> Iterator[None]:
    """Adds seconds of processor time, and the peak of memory, to `found`."""
    began = time.process_time()
    yield
    found["seconds"] = round(time.process_time() - began, 2)
    found["peak_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def graph(n: int) -> dict[str, float]:
    """Trees of calls as text."""
    calls = nested_calls(n)
    found: dict[str, float] = {}
    with measured(found):
        threads = trees(calls, None, is_complete=True)
        recorder: Any = SimpleNamespace(functions=LABELS, names={})
        shown = ShownGraph(recorder, GraphSample(1.0, threads, len(calls), 0), {}, None)
        found["lines"] = sum(1 for _ in tree_text(shown.tracks()))
    return found


def nested_calls(n: int) -> Any:
    """`n` rows of GraphProbe.calls: chains of one to DEEPEST calls, in N_THREADS threads."""
    random = np.random.default_rng(1)
    lengths = random.integers(1, DEEPEST + 1, n)
    first = np.cumsum(lengths) - lengths
    number = np.repeat(np.arange(n), lengths)[:n]
    depth = np.arange(n) - first[number]
    calls = np.zeros((n, CALL_WIDTH), np.uint64)
    calls[:, THREAD] = (7 << 32) + number % N_THREADS + 1
    calls[:, BEGIN] = number * 20_000 + depth * 10 + 1
    calls[:, FUNCTION] = random.integers(0, N_FUNCTIONS, n)
    calls[:, END] = number * 20_000 + 10_000 - depth * 10
    random.shuffle(calls)
    return calls


def errors(n: int) -> dict[str, float]:
    """A million failures that the kernel has counted: 50,000 beginnings, half of which have an end of their own."""
    begun, _ = failures(N_KINDS)
    begun["identity"] = 1 + np.arange(N_KINDS)
    rows = np.zeros((kinds.kinds.n_rows, kinds.kinds.width), np.uint64)
    beginnings, ends = rows[:N_KINDS], rows[N_KINDS : N_KINDS + N_KINDS // 2]
    beginnings[:, kinds.KEY] = kinds.BEGINNING
    ends[:, kinds.KEY] = 2 * (1 + np.arange(len(ends))) << kinds.BEGINNING_SHIFT | 1 << kinds.FUNCTION_SHIFT
    beginnings[:, kinds.COUNT] = ends[:, kinds.COUNT] = n // N_KINDS
    events = iter([begun])
    attachment: Any = SimpleNamespace(
        events=lambda ring: SimpleNamespace(read=lambda: next(events, begun[:0])),
        map=lambda spec: SimpleNamespace(rows=lambda first, stop: rows[first:stop]),
    )
    collector = FailureCounter(attachment, ErrorFilter(), n_untyped=0)
    found: dict[str, float] = {}
    with measured(found):
        groups = collector.sample().groups
        found["groups"] = len(groups)
    assert sum(group.count for group in groups) == n
    return found


def each_error(n: int) -> dict[str, float]:
    """Failures from events (`--each`), in groups: half of them end in an outer call, whose event comes later."""
    begun, ended = failures(n)
    rings = {program.begun: chunks(begun, CHUNK), program.ended: chain([ended[:0]], chunks(ended, CHUNK // 2))}
    attachment: Any = SimpleNamespace(events=lambda ring: SimpleNamespace(read=partial(next, rings[ring])))
    collector = FailureStream(attachment, ErrorFilter(), n_untyped=0, on_failure=lambda failure: None)
    found: dict[str, float] = {}
    with measured(found):
        for _ in range(-(-n // CHUNK) + 1):
            collector.poll()
        groups = collector.sample().groups
        found["groups"] = len(groups)
    assert sum(group.count for group in groups) == n
    return found


def failures(n: int) -> tuple[Any, Any]:
    """`n` events of failures with 1,000 different paths, and the ends of half of them."""
    random = np.random.default_rng(1)
    begun = np.zeros(n, mp.RingBuffer(program.Begun).record.dtype())
    begun["identity"] = np.arange(n) << 8
    begun["depth"] = np.arange(n) % 2 * 7
    kinds = random.integers(1, N_FUNCTIONS, (1_000, program.LONGEST_PATH))
    begun["frames"] = kinds[random.integers(0, 1_000, n)]
    begun["error"] = random.integers(1, 40, n)
    begun["name"] = b"process"
    half = begun[begun["depth"] > 0]
    ended = np.zeros(len(half), mp.RingBuffer(program.Ended).record.dtype())
    ended["identity"], ended["frame"], ended["error"] = half["identity"], half["frames"][:, 7], half["error"]
    return begun, ended


def chunks(events: Any, size: int) -> Iterator[Any]:
    for first in range(0, len(events), size):
        yield events[first : first + size]
    while True:
        yield events[:0]


def stacks(n: int) -> dict[str, float]:
    """Rows of stacks, 100,000 different ones of 20 frames each, named and added up."""
    random = np.random.default_rng(1)
    addresses = random.integers(0, 20_000, (max(1, n // 10), 20))
    hits = {(int(row % N_FUNCTIONS), int(row % len(addresses)), NOT_ASKED, int(row)): 1 for row in range(n)}
    resolver: Any = SimpleNamespace(resolve=resolved, caller=resolved)
    user: Any = None
    functions: Any = LABELS
    found: dict[str, float] = {}
    with measured(found):
        namer = Namer(resolver, user, functions, lambda stack: addresses[stack].tolist())
        found["stacks"] = len(named(namer, hits, {}))
    return found


def resolved(address: int) -> ResolvedAddress:
    return ResolvedAddress(address, LABELS[address % N_FUNCTIONS], address, "")


if __name__ == "__main__":
    main()
