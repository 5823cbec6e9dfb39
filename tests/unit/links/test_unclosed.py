"""An attachment that nobody closes is collected and detached, with a ResourceWarning, whatever threads watch it."""

from __future__ import annotations

import gc
import threading
from pathlib import Path

import pytest

import multiprobe as mp
from fake_kernel import LIKE_7_3, FakeKernel

calls = mp.PerFunction(mp.u64)


@mp.program
def count(ctx):
    calls[ctx.function] += 1


LIMITS = [
    mp.Limits(),
    mp.Limits(budget=0.05),
    mp.Limits(careful=True),
    mp.Limits(watchdog=10),
    mp.Limits(budget=0.05, watchdog=10),
]


@pytest.mark.parametrize("limits", LIMITS, ids=str)
def test_an_unclosed_attachment_is_detached(tmp_path: Path, limits: mp.Limits) -> None:
    n_threads = threading.active_count()
    with FakeKernel(tmp_path, LIKE_7_3) as fake:
        made = [mp.attach(count, "tcp_sendmsg", limits=limits)]
        assert fake.left() != []
        with pytest.warns(ResourceWarning, match="unclosed <Attachment of count: 1 functions in 1 links>"):
            made.clear()
        gc.collect()
        assert fake.left() == []
    assert threading.active_count() == n_threads


def test_a_closed_attachment_is_collected_in_silence(tmp_path: Path) -> None:
    with FakeKernel(tmp_path, LIKE_7_3):
        attachment = mp.attach(count, "tcp_sendmsg", limits=mp.Limits(budget=0.05))
        attachment.close()
        del attachment
        gc.collect()
