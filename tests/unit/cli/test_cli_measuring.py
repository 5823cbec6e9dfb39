"""What measuring commands share."""

from __future__ import annotations

import os

import pytest

from multiprobe.cli.measuring import check, watch
from multiprobe.errors import UsageError


class FakeMeasuring:
    def __init__(self) -> None:
        self.events: list[str] = []

    def sample(self) -> str:
        self.events.append("sample")
        return "sample"

    def stop(self) -> str:
        self.events.append("stop")
        return "last"


def test_watch_measures_until_the_time_is_over() -> None:
    measuring = FakeMeasuring()
    assert watch(measuring, None, duration=0.01, pid=None) == "last"
    assert measuring.events == ["stop"]


def test_what_cannot_mean_anything() -> None:
    with pytest.raises(UsageError, match="needs a command") as error:
        check("latency", command=(), pid=None, command_only=True)
    assert "multiprobe latency" in error.value.hint
    with pytest.raises(UsageError, match="two processes"):
        check("count", command=("true",), pid=os.getpid(), command_only=True)
    with pytest.raises(UsageError, match="no process"):
        check("count", command=(), pid=1 << 30, command_only=False)
    check("count", command=("true",), pid=None, command_only=True)
