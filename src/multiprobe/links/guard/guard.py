"""The guard of an attachment: detaches functions that exceed the budget or make the machine's wake-ups late.

Measures after each wave while functions are attached, then in a thread of its own. `budget` chooses the functions to
drop, `wakeups` measures latency, `replaceable` detaches.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from multiprobe import threads
from multiprobe.errors import MultiprobeError
from multiprobe.kernel.pressure import load_busy
from multiprobe.links.guard import wakeups as latency
from multiprobe.links.guard.budget import Window, changes, choose_drops, rates, share
from multiprobe.links.report import Drop

if TYPE_CHECKING:
    from collections.abc import Iterable

    from multiprobe.binaries.mixed import AnyFunctionSet
    from multiprobe.links.guard.hottest import Hottest
    from multiprobe.links.guard.prices import Prices
    from multiprobe.links.guard.replaceable import Part, ReplaceableLinks
    from multiprobe.links.ledger import Ledger
    from multiprobe.maps.maps import ArrayMap

_WAVE_SECONDS, _WAVE_ROUNDS = 0.05, 4
_CAREFUL_SECONDS = 0.3
_SHORTEST, _LONGEST = 0.25, 2.0
_OWN_SHARE = 0.02
"""The guard itself may take so much of one CPU: it looks less often where looking is slow."""
_BODIES_EVERY, _BODIES_EVERY_WAVE = 10.0, 2.0
_BODY_OF_GATE = 2.0
"""Before they are active, programs leave behind their gate, which finds the function and counts the hit: taken for half
of what they will do."""


class Sampler:
    """Windows over the hit counters: each from the end of the one before, or from `restart`."""

    def __init__(self, hits: ArrayMap) -> None:
        self._hits = hits
        self.restart()

    def restart(self) -> None:
        self._before, self._busy, self._began = self._hits.copies(), load_busy(), time.monotonic()

    def window(self) -> Window:
        before, busy, began = self._before, self._busy, self._began
        self.restart()
        hits = list(map(changes, before, self._before))
        was_busy = None if busy is None or self._busy is None else self._busy - busy
        return Window(max(self._began - began, 1e-9), hits, was_busy)


def next_pause(pause: float, own: float, *, has_changed: bool) -> float:
    """Seconds until the next look, after one that took `own` seconds of CPU time; `pause` was before it.

    After dropping functions what is left is looked at soon: replacing links takes seconds, but not again and again.
    """
    if has_changed:
        return max(_SHORTEST, own)
    return max(min(_LONGEST, pause * 1.5), own / _OWN_SHARE)


class Guard:
    """Watches one attachment. `settle` after each wave; then `start`, and `stop` before anything is closed.

    budget: share of CPU time, or None; is_careful: retreat when the machine's latency suffers
    hottest: where functions that the budget drops are remembered
    """

    def __init__(
        self,
        links: ReplaceableLinks,
        hits: ArrayMap,
        functions: AnyFunctionSet,
        *,
        budget: float | None,
        prices: Prices,
        is_careful: bool,
        ledger: Ledger,
        hottest: Hottest,
    ) -> None:
        self.links = links
        self.budget = budget
        self.prices = prices
        self.ledger = ledger
        self._functions = functions
        self._hottest = hottest
        self._sampler = Sampler(hits)
        self._began = time.monotonic()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._usual = latency.measure(_CAREFUL_SECONDS) if is_careful else None
        self._n_bad = 0
        self._bodies_due = 0.0

    # While functions are attached

    def settle(self, part: Part) -> bool:
        """Let a new part count its hits, and do without what is too much of it; False if no more may be attached."""
        self.links.open(part)
        if self._usual is not None:
            words = latency.suffering(self._usual, latency.measure(_CAREFUL_SECONDS))
            if words:
                self._retreat(words)
                return False
        if self.budget is not None:
            self._time_bodies(factor=_BODY_OF_GATE, every=_BODIES_EVERY_WAVE)
            for _ in range(_WAVE_ROUNDS):
                self._sampler.restart()
                time.sleep(_WAVE_SECONDS)
                if not self._keep_budget():
                    break
        return True

    # Afterwards

    @property
    def is_watching(self) -> bool:
        return self._thread is not None

    def start(self) -> None:
        """Begin to watch."""
        self._bodies_due = 0.0
        self._sampler.restart()
        thread = threading.Thread(target=self._run, name="multiprobe guard", daemon=True)
        threads.start(thread, "the guard")
        self._thread = thread

    def stop(self) -> None:
        """Watch no more; what is under way (replacing a link, say) is finished first."""
        self._ended.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        pause = _SHORTEST
        try:
            while not self._wait(pause):
                began = time.thread_time()
                has_changed = self._look()
                own = time.thread_time() - began
                pause = next_pause(pause, own, has_changed=has_changed)
        except (MultiprobeError, OSError) as error:
            self.ledger.note(f"the attachment is not watched any more: {error}")

    def _wait(self, seconds: float) -> bool:
        """Wait; whether the end has come. With care, the waiting itself is what is measured."""
        if self._usual is None:
            return self._ended.wait(seconds)
        found = latency.measure(seconds, wait=self._ended.wait, pause=5 * latency.PAUSE)
        if self._ended.is_set():
            return True
        words = latency.suffering(self._usual, found)
        self._n_bad = self._n_bad + 1 if words else 0
        if self._n_bad >= 2 and self.links.parts:
            self._n_bad = 0
            self._retreat(words)
        return False

    def _look(self) -> bool:
        if self.budget is None:
            return False
        self._time_bodies(every=_BODIES_EVERY)
        return self._keep_budget()

    def _time_bodies(self, *, factor: float = 1.0, every: float) -> None:
        if time.monotonic() >= self._bodies_due:
            with self.links.lock:
                self.prices.time_bodies([part.linked for part in self.links.parts], factor=factor)
            self._bodies_due = time.monotonic() + every

    # What is done about it

    def _keep_budget(self) -> bool:
        """Drop what the last window says is too much; whether anything was."""
        assert self.budget is not None
        window = self._sampler.window()
        prices = self._prices(window)
        taken = share(window, prices)
        chosen = choose_drops(window, prices, self.budget)
        self._tell(taken)
        if not chosen:
            return False
        dropped = self.links.drop(set(chosen))
        found = rates(window, dropped)
        prices |= {index: 0.0 for index in dropped if index not in prices}  # went along, and was not hit
        self._note(
            Drop(
                self._functions.label(index),
                "budget",
                f"{found[index]:,.0f} hits a second at {prices[index]:,.0f} ns each, when all probes together took "
                f"{taken:.1%} of CPU time ({self.budget:.1%} is allowed){dropped[index]}",
                found[index],
                found[index] * prices[index] / 1e9,
                time.monotonic() - self._began,
            )
            for index in sorted(dropped, key=lambda index: -found[index])
        )
        self._hottest.remember(self._functions.label(index) for index in chosen)
        self._sampler.restart()
        return bool(dropped)

    def _retreat(self, words: str) -> None:
        indices = self.links.retreat()
        at = time.monotonic() - self._began
        self._note(
            Drop(self._functions.label(index), "latency", f"the machine suffered: {words}", 0.0, 0.0, at)
            for index in indices
        )

    def _note(self, drops: Iterable[Drop]) -> None:
        self.ledger.drop(drops)

    def _prices(self, window: Window) -> dict[int, float]:
        """What a hit costs, for each function that was hit; nothing any more where it was detached meanwhile."""
        of, mechanism_of = self.prices.of, self.links.mechanism_of
        by_mechanism = {0: 0.0} | {mechanism: of(mechanism) for mechanism in self.prices.fixed}
        return {index: by_mechanism[mechanism_of.get(index, 0)] for hits in window.hits for index in hits}

    def _tell(self, taken: float) -> None:
        self.ledger.set_budget(
            {
                "budget": self.budget,
                "share": round(taken, 6),
                "ns_per_hit": self.prices.to_json(),
                "relinks": self.links.n_relinks,
            }
        )
