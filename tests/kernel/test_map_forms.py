"""Per-CPU forms of maps, tables of records, and taking while a writer runs on another CPU: nothing is lost."""

from __future__ import annotations

import os
import subprocess
import sys

import multiprobe as mp

HITS = 20_000
TARGET = "__x64_sys_getsid"
CALLS = f"import os\nfor _ in range({HITS}): os.getsid(0)\n"

seen = mp.Hash((mp.u32, mp.u8), mp.u32)
by_cpu = mp.Hash(mp.u32, mp.u32, per_cpu=True)
recent = mp.LruHash(mp.u32, mp.u64, per_cpu=True)
slots = mp.Array(mp.u16, 3, per_cpu=True)
calls = mp.PerFunction(mp.u64)
powers = mp.Histogram()


@mp.program
def record(ctx):
    seen[ctx.pid, ctx.cpu & 1] += 1
    by_cpu[ctx.pid] += 1
    recent[ctx.pid] += 2
    slots[1] += 1
    calls[ctx.function] += 1
    powers.add(calls[ctx.function] & 255)


def test_what_is_taken_meanwhile_adds_up() -> None:
    with mp.attach(record, TARGET) as attachment:
        maps = [attachment.map(spec) for spec in (seen, by_cpu, calls, powers)]
        sums = dict.fromkeys(range(len(maps)), 0)
        writer = subprocess.Popen([sys.executable, "-c", CALLS])
        rounds, is_over = 0, False
        while not is_over:
            is_over = writer.poll() is not None  # one more round after that
            for place, opened in enumerate(maps):
                taken = opened.take()
                mine = taken.items() if isinstance(taken, dict) else ()
                own = sum(n for key, n in mine if writer.pid in (key if isinstance(key, tuple) else (key,)))
                sums[place] += own if isinstance(taken, dict) else int(taken.sum())
            rounds += 1
        total = int(attachment.totals(calls)[0])
        assert rounds > 2
        missed = attachment.missed()
        # A kernel with PREEMPT_RT may run the writer in the middle of a read, and misses its calls there.
        n_missed = missed["link_misses"] + missed["recursion_misses"]
        hits = sums[0]
        assert hits == sums[1]
        assert HITS - n_missed <= hits <= HITS
        assert sums[2] == sums[3] == total >= hits
        everything = attachment.map(by_cpu)
        assert sum(everything.per_cpu()[writer.pid]) == everything.as_dict()[writer.pid] == hits
        assert len(everything.per_cpu()[writer.pid]) >= os.cpu_count()
        assert attachment.map(recent).as_dict()[writer.pid] == 2 * hits
        assert everything.read()["value"][everything.read()["key"] == writer.pid].tolist() == [hits]
        assert attachment.read(slots).tolist() == [0, total, 0]
        assert attachment.map(slots).read(per_cpu=True).sum(axis=0)[1] % (1 << 16) == total % (1 << 16)
        assert everything.clear()[writer.pid] == hits
        assert writer.pid not in everything.as_dict()
        rows = attachment.map(seen).records()
        assert sum(row["value"] for row in rows if row["key0"] == writer.pid) == hits
        assert set(rows.columns()) == {"key0", "key1", "value"}
        assert attachment.map(calls).records() == [{"index": 0, "value": total}]
        assert sum(row["count"] for row in attachment.map(powers).records()) == total
        assert missed["full_maps"] == missed["out_of_range"] == 0
