"""Random orders of attaching and detaching: after each step, every attachment has seen all calls since it was made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hypothesis import strategies as st

import multiprobe as mp

runs = mp.PerFunction(mp.u64)
cookies = mp.PerFunction(mp.u64)


@dataclass
class Live:
    """One attachment while it lives, and how often each of its functions has been called since.

    cookies: of its functions; what: how it was made, for failures
    """

    attachment: mp.Attachment
    when: str
    cookies: Sequence[int]
    what: str
    calls: int = 0

    @property
    def where(self) -> str:
        return f"{self.what} after {self.calls} calls"

    def check(self) -> None:
        """Whether its programs ran exactly as often as they must, each with the cookie of its function."""
        per_call = 2 if self.when == "session" else 1
        assert list(self.attachment.totals(runs)) == [per_call * self.calls] * len(self.cookies), self.where
        assert not any(self.attachment.missed().values()), self.where
        if self.calls:
            seen = self.attachment.read(cookies, per_cpu=True)
            for index, wanted in enumerate(self.cookies):
                assert set(seen[:, index].tolist()) - {0} == {wanted} - {0}, self.where


def play(data: st.DataObject, makers: Sequence[Callable[[], Live]], call: Callable[[int], None]) -> None:
    """Attach and detach in a random order, and `call` all functions a number of times after each step."""
    live: dict[int, Live] = {}
    pending = list(range(len(makers)))
    try:
        while pending or live:
            step, number = data.draw(st.sampled_from([("attach", n) for n in pending] + [("detach", n) for n in live]))
            if step == "attach":
                pending.remove(number)
                live[number] = makers[number]()
                report = live[number].attachment.report
                assert report.attached == len(live[number].cookies), str(report)
            else:
                gone = live.pop(number)
                gone.check()
                gone.attachment.close()
            n = data.draw(st.integers(1, 3))
            call(n)
            for one in live.values():
                one.calls += n
                one.check()
    finally:
        for one in live.values():
            one.attachment.close()
