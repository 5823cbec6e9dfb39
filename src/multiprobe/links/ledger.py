"""The ledger of one attachment: collects what happens to its functions, from any thread, for reports."""

from __future__ import annotations

import threading
import time
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

from multiprobe.links.report import Report

MENTIONED_BYTES = 1_000_000
"""Maps that take less are not worth mentioning."""

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from multiprobe.functions.sets import Refusal
    from multiprobe.kernel.mechanism import Mechanism
    from multiprobe.links.report import Drop, Failure, Verified


class Ledger:
    """What is known of an attachment of `requested` functions so far; `report` takes a snapshot."""

    def __init__(self, requested: int, skipped: Iterable[Refusal] = ()) -> None:
        self._lock = threading.Lock()
        self._requested = requested
        self._skipped = list(skipped)
        self._failed: list[Failure] = []
        self._dropped: list[Drop] = []
        self._attached: Counter[str] = Counter()
        self._notes: list[str] = []
        self._verified: list[Verified] = []
        self._budget: Mapping[str, object] = {}
        self._memory: dict[str, int] = {}
        self._timings: dict[str, float] = {}

    def skip(self, refusals: Iterable[Refusal]) -> None:
        """Functions that are not attached, each with its reason."""
        with self._lock:
            self._skipped += refusals

    def fail(self, failures: Iterable[Failure]) -> None:
        """Functions that the kernel refused."""
        with self._lock:
            self._failed += failures

    def attach(self, mechanism: Mechanism, n: int) -> None:
        """So many functions were attached."""
        with self._lock:
            self._attached[mechanism.label] += n

    def drop(self, drops: Iterable[Drop]) -> None:
        """Functions that were detached before the end."""
        with self._lock:
            self._dropped += drops

    def add(self, functions: Iterable[str]) -> None:
        """Functions that were dropped, and are attached again."""
        again = set(functions)
        with self._lock:
            self._dropped = [drop for drop in self._dropped if drop.function not in again]

    def note(self, sentence: str) -> None:
        """Something that a reader of the report should know; once."""
        with self._lock:
            if sentence not in self._notes:
                self._notes.append(sentence)

    def verify(self, verified: Iterable[Verified]) -> None:
        """Known calls that were looked for."""
        with self._lock:
            self._verified += verified

    def set_budget(self, state: Mapping[str, object]) -> None:
        """How the budget stands now."""
        with self._lock:
            self._budget = state

    def set_memory(self, **amounts: int) -> None:
        """The kernel memory in bytes: of the links `predicted` or `taken`, of the `maps`."""
        with self._lock:
            self._memory |= amounts

    def set_maps(self, size: int) -> None:
        """The kernel memory of the maps, in bytes, if it is worth mentioning."""
        if size >= MENTIONED_BYTES:
            self.set_memory(maps=size)

    def add_time(self, step: str, seconds: float) -> None:
        """So many seconds were spent on a step."""
        with self._lock:
            self._timings[step] = self._timings.get(step, 0.0) + seconds

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Add the time of a block."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.add_time(step, time.perf_counter() - began)

    def report(
        self, *, links: int = 0, missed: Mapping[str, int] | None = None, processes: int | None = None
    ) -> Report:
        """A snapshot."""
        with self._lock:
            return Report(
                self._requested,
                self._attached.total(),
                tuple(self._skipped),
                tuple(self._failed),
                tuple(self._dropped),
                dict(self._budget),
                links,
                {name: n for name, n in self._attached.items() if n},
                dict(missed or {}),
                tuple(self._verified),
                tuple(self._notes),
                dict(self._timings),
                dict(self._memory),
                processes,
            )
