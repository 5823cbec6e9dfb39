"""Maps by function on machines with many CPUs: counts are exact in rows that CPUs share, whether functions have hot
rows or not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import multiprobe as mp
from fake_kernel import LIKE_6_12, LIKE_7_3, FakeKernel
from multiprobe.maps import layout, rows

NAMES = ["vfs_read", "vfs_write", "vfs_open"]
N_CPUS = 32
calls = mp.PerFunction(mp.u64, shared=True)
longest = mp.PerFunction(mp.u64, shared=True)
sizes = mp.Histogram(per_function=True)
narrow = mp.Histogram(mp.linear(0, 40, 10), per_function=True, counter=mp.u32)


@mp.program
def measure(ctx):
    calls[ctx.function] += 1
    longest[ctx.function] = max(longest[ctx.function], ctx.arg(0))
    sizes.add(ctx.function, ctx.arg(0))
    narrow.add(ctx.function, ctx.arg(0))


@pytest.fixture(params=[LIKE_6_12, LIKE_7_3], ids=["by address", "by cookie"])
def fake(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FakeKernel]:
    with FakeKernel(tmp_path, request.param, n_cpus=N_CPUS) as booted:
        yield booted
    assert booted.left() == []


def small(monkeypatch: pytest.MonkeyPatch, *, n_hot: int) -> None:
    """Limits under which CPUs share rows though there are few functions, and so many of these have hot rows."""
    hot = rows.TABLE + rows.padded(4 * 4) + rows.padded(4 * 528)
    monkeypatch.setattr(rows, "HISTOGRAM_BYTES", hot + (n_hot + 1) * rows.HOT_ROWS * 528)
    monkeypatch.setattr(layout, "SHARED_BYTES", 4 * 64)


@pytest.mark.parametrize("n_hot", [3, 1, 0])
def test_counts_are_exact_with_and_without_hot_rows(
    fake: FakeKernel, monkeypatch: pytest.MonkeyPatch, n_hot: int
) -> None:
    small(monkeypatch, n_hot=n_hot)
    with mp.attach(measure, NAMES) as attachment:
        made = attachment.map(sizes).layout
        assert made.hot_rows is not None
        assert (made.hot_rows.n, attachment.map(calls).layout.rows) == (n_hot, 4)
        for turn in range(2):
            for cpu in range(N_CPUS):
                for number, name in enumerate(NAMES):
                    fake.fire(name, cpu + number, cpu=cpu)
            counts = attachment.read(sizes)
            assert counts.shape == (3, 66)
            for number in range(3):
                expected = [0] * 66
                for cpu in range(N_CPUS):
                    expected[sizes.buckets.bucket(cpu + number)] += turn + 1
                assert counts[number].tolist() == expected
        assert attachment.totals(calls).tolist() == [2 * N_CPUS] * 3
        assert attachment.read(longest, per_cpu=True).max(axis=0).tolist() == [31, 32, 33]
        tens = [[20, 20, 20, 4], [18, 20, 20, 6], [16, 20, 20, 8]]
        assert attachment.read(narrow)[:, 1:5].tolist() == tens
        assert attachment.missed() == dict.fromkeys(attachment.missed(), 0)


def test_every_view_of_a_histogram_with_hot_rows(fake: FakeKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch, n_hot=1)
    with mp.attach(measure, NAMES) as attachment:
        made = attachment.map(sizes)
        for cpu in (1, 9, 2):
            fake.fire("vfs_write", 4, cpu=cpu)
        fake.fire("vfs_open", 1, cpu=1)
        assert [(row["index"], row["low"], row["count"]) for row in made.records()] == [(1, 4, 3), (2, 1, 1)]
        assert attachment.totals(sizes)[66 + 4] == 3
        assert attachment.read(sizes, per_cpu=True).shape == (1, 3, 66)
        assert [sum(row) for row in made.per_cpu()] == [4]
        assert made.take().sum() == 4
        fake.fire("vfs_open", 1, cpu=3)
        assert [tuple(place) for place in np.argwhere(made.take())] == [(2, 2)]
        made.clear()
        assert not attachment.read(sizes).any()
        fake.fire("vfs_write", 4, cpu=9)
        assert attachment.read(sizes).sum() == attachment.read(sizes)[1, 4] == 1


def test_pinned_histograms_keep_their_hot_rows(fake: FakeKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch, n_hot=1)
    directory = fake.root / "sys/fs/bpf/measure"
    with mp.attach(measure, NAMES) as attachment:
        attachment.pin(directory)
        for cpu in range(N_CPUS):
            fake.fire("vfs_write", 4, cpu=cpu)
            fake.fire("vfs_open", 1, cpu=cpu)
    with mp.Attachment.from_pins(directory, measure) as again:
        assert again.map(sizes).layout.hot_rows is not None
        assert again.read(sizes).sum(axis=1).tolist() == [0, N_CPUS, N_CPUS]
        assert again.totals(calls).tolist() == [0, N_CPUS, N_CPUS]
        again.unpin(directory)
