"""Maps by function as on machines with many CPUs: programs pass the verifier, counts are exact, and the kernel
allocates what is predicted."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import multiprobe as mp
from allocated import counts_maps
from multiprobe.instruments import keyed_rows
from multiprobe.instruments.errors.program import make_program
from multiprobe.instruments.graph.program import GraphProbe
from multiprobe.instruments.latency import task_table
from multiprobe.instruments.latency.program import LatencyProbe
from multiprobe.instruments.stacks.program import StacksProbe
from multiprobe.kernel.features import Features
from multiprobe.maps import layout, rows
from multiprobe.maps.cpus import load_n_cpus
from multiprobe.maps.memory import map_bytes
from multiprobe.maps.set_spec import MapSetSpec
from multiprobe.maps.store import MapSet

N_CALLS, N_PROCESSES = 5_000, 3
CALLS = f"import os\nfor _ in range({N_CALLS}): os.getsid(0)\n"
NAMES = ["__x64_sys_getsid", "__x64_sys_getpgid", "__x64_sys_getpriority"]
FUNCTIONS, CPUS = 50_000, 256
LIMIT = 64_000_000

calls = mp.PerFunction(mp.u64, shared=True)
largest = mp.PerFunction(mp.u64, shared=True)
by_key = mp.Hash(mp.u32, mp.i64)
sizes = mp.Histogram(per_function=True)


@mp.program
def measure(ctx):
    calls[ctx.function] += 1
    largest[ctx.function] = max(largest[ctx.function], ctx.pid)
    by_key[ctx.function] = min(by_key[ctx.function], mp.i64(0) - ctx.pid)
    sizes.add(ctx.function, ctx.pid)


@pytest.fixture
def many_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many CPUs as share rows, whatever this machine has, with hot rows for one function."""
    start = rows.TABLE + rows.padded(4 * (len(NAMES) + 1)) + rows.padded((len(NAMES) + 1) * 528)
    monkeypatch.setattr(rows, "HISTOGRAM_BYTES", start + 2 * rows.HOT_ROWS * 528)
    monkeypatch.setattr(layout, "SHARED_BYTES", 2 * 64)
    for module in ("attach", "attaching"):
        monkeypatch.setattr(f"multiprobe.links.{module}.load_n_cpus", lambda: CPUS)


@pytest.mark.usefixtures("many_cpus")
@pytest.mark.parametrize("mechanism", ["kprobe_multi", "tracing_multi", "kprobe"])
def test_counts_are_exact_in_rows_that_cpus_share(mechanism: str) -> None:
    if not mp.Kernel().has(mechanism):
        pytest.skip(f"this kernel has no {mechanism}")
    with mp.attach(measure, NAMES, mechanisms=mechanism) as attachment:
        hot = attachment.map(sizes).layout.hot_rows
        assert hot is not None
        assert (hot.n, attachment.map(calls).layout.rows) == (1, 2)
        os.getpgid(0)  # the function with the hot rows
        children = [subprocess.Popen([sys.executable, "-c", CALLS]) for _ in range(N_PROCESSES)]
        assert [child.wait() for child in children] == [0] * N_PROCESSES
        missed = {cause: n for cause, n in attachment.missed().items() if n}
        assert set(missed) <= ({"recursion_misses"} if mechanism == "tracing_multi" else set()), missed
        n_missed = missed.get("recursion_misses", 0)  # while the program of another task was preempted
        assert attachment.totals(calls)[0] >= N_PROCESSES * N_CALLS - n_missed
        found = dict(zip(NAMES, attachment.totals(calls), strict=True))
        counts = dict(zip(NAMES, attachment.read(sizes).tolist(), strict=True))
        assert {name: sum(buckets) for name, buckets in counts.items()} == found
        pids = [child.pid for child in children]
        assert counts[NAMES[0]][1 + pids[0].bit_length()] >= N_CALLS - n_missed
        assert attachment.read(largest, per_cpu=True).max(axis=0)[0] >= max(pids)
        assert attachment.map(by_key).as_dict()[0] <= -max(pids)


@pytest.mark.usefixtures("many_cpus")
def test_latency_is_measured_in_them() -> None:
    from multiprobe.instruments.latency import instrument as latency

    functions = mp.Kernel().functions(*NAMES)
    with latency.start(functions) as timer:
        for _ in range(N_CALLS):
            os.getsid(0)
        sample = timer.finish()
    row = next(row for row in sample.rows if row.function.name == NAMES[0])
    assert row.calls >= N_CALLS
    assert sum(row.buckets) == row.calls
    assert len(row.buckets) == row.longest.bit_length() + 1
    assert row.longest <= row.total


@pytest.mark.parametrize("mechanism", ["kprobe_multi", "tracing_multi"])
def test_more_processes_than_have_rows_are_timed(mechanism: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a hash table of the kernel, whose memory is taken when a pair has its first call."""
    from multiprobe.instruments.latency import instrument as latency

    needed = "kprobe_session" if mechanism == "kprobe_multi" else mechanism
    if not Features().probe(needed).is_yes:
        pytest.skip(f"this kernel has no {needed}")
    monkeypatch.setattr(task_table, "ROW_BITS", 1)
    monkeypatch.setattr(keyed_rows, "PROBES", 1)
    functions = mp.Kernel().functions(*NAMES)
    with latency.start(functions, by="process", has_self=True, mechanisms=mechanism) as timer:
        children = [subprocess.Popen([sys.executable, "-c", CALLS]) for _ in range(N_PROCESSES)]
        assert [child.wait() for child in children] == [0] * N_PROCESSES
        rows = {row.who: row for row in timer.finish().rows if row.function.name == NAMES[0]}
    missed = {cause: n for cause, n in timer.report.missed.items() if n}
    assert set(missed) <= ({"recursion_misses"} if mechanism == "tracing_multi" else set()), missed
    for child in children:
        row = rows[child.pid]
        assert N_CALLS - sum(missed.values()) <= row.calls <= N_CALLS
        assert row.running <= sum(missed.values())
        assert row.longest <= row.own == row.total


PROGRAMS = {
    "latency": LatencyProbe(has_self=True).program,
    "latency by process": LatencyProbe(by="process").program,
    "errors": make_program(),
    "graph": GraphProbe(max_events=50_000).program,
    "stacks": StacksProbe(has_user=True, is_timed=True, max_stacks=4096).program,
}


def allocated(fd: int) -> int:
    """What the kernel says that it allocated for a map."""
    (found,) = re.findall(r"^memlock:\s+(\d+)$", Path(f"/proc/self/fdinfo/{fd}").read_text(), re.M)
    return int(found)


@pytest.mark.parametrize("name", PROGRAMS)
def test_maps_for_all_functions_on_many_cpus(name: str) -> None:
    """On this machine's CPUs for hash tables, of which the kernel has a few more entries than asked for."""
    specs = list(PROGRAMS[name].maps.values())
    predicted = {spec: map_bytes(spec, layout.layout(spec, FUNCTIONS, CPUS), load_n_cpus()) for spec in specs}
    assert sum(predicted.values()) <= LIMIT
    with MapSet(MapSetSpec(tuple(specs), n_functions=FUNCTIONS, n_cpus=CPUS)) as maps:
        taken = {spec: allocated(maps.map(spec).fd.fileno()) for spec in specs}
    for spec, n in taken.items() if counts_maps() else ():
        assert n == pytest.approx(predicted[spec], rel=0.05, abs=20_000), spec
