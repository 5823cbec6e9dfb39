"""Linking functions of one attachment: any part of them, by one mechanism, as often as need be.

Knows how a mechanism is driven and what it must be told; not why these functions, or what becomes of the answer.
"""

from __future__ import annotations

import time
from array import array
from typing import TYPE_CHECKING

from multiprobe.kernel.mechanism import Mechanism
from multiprobe.links.mechanisms import kprobe, kprobe_multi, tracing_multi, trampoline
from multiprobe.links.mechanisms.linked import Held, Job

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from multiprobe.links.loading import Loading
    from multiprobe.syscalls.fd import FileDescriptor

CONTEXTS = {
    Mechanism.KPROBE_MULTI: "kprobe_multi",
    Mechanism.TRACING_MULTI: "tracing",
    Mechanism.TRAMPOLINE: "tracing",
    Mechanism.KPROBE: "kprobe",
}


class Linking:
    """How the functions of one attachment are linked. `timings` (seconds by step) is added to.

    cookies: the user's, by function index, or None
    """

    def __init__(self, loading: Loading, cookies: array[int] | None, *, timings: dict[str, float]) -> None:
        self.loading = loading
        self.cookies = cookies
        self.timings = timings

    def link(
        self,
        held: Held,
        indices: Sequence[int],
        *,
        gate: Mapping[str, int] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> dict[int, int]:
        """Attach the functions with these indices by `held`'s mechanism; the errno of each one refused, by its place.

        What holds them there goes into `held`, also when an error is raised. `gate` links programs that have one.
        """
        share = self.loading.functions.take(indices)
        context = CONTEXTS[held.mechanism]
        is_paired = bool(held.mechanism & self.loading.paired)
        began = time.perf_counter()
        for side in ("entry", "return") if is_paired else ("",):
            self.loading.prepare(context, side)
        self._add_time("compile", began)

        def load(kind: int, **target: Any) -> FileDescriptor:
            began = time.perf_counter()
            try:
                return self.loading.load(kind, context, gate=gate, **target)
            finally:
                self._add_time("load", began)

        show = _show(progress, len(share)) if progress else None
        job = Job(share, self._kernel_cookies(context, indices), self.loading.when, load, show, is_paired)
        began = time.perf_counter()
        try:
            return carrier(held.mechanism)(job, held)
        finally:
            self.loading.release()
            self._add_time("attach", began)

    def _kernel_cookies(self, context: str, indices: Sequence[int]) -> array[int] | None:
        if self.cookies is not None:
            return array("Q", [self.cookies[index] for index in indices])
        return array("Q", indices) if self.loading.function_from(context) == "cookie" else None

    def _add_time(self, what: str, began: float) -> None:
        self.timings[what] = self.timings.get(what, 0.0) + time.perf_counter() - began


def _show(progress: Callable[[int, int], None], n: int) -> Callable[[int], None]:
    return lambda done: progress(done, n)


_ATTACH: dict[Mechanism, Callable[[Job, Held], dict[int, int]]] = {
    Mechanism.KPROBE_MULTI: kprobe_multi.attach,
    Mechanism.TRACING_MULTI: tracing_multi.attach,
    Mechanism.TRAMPOLINE: trampoline.attach,
    Mechanism.KPROBE: kprobe.attach,
}


def carrier(mechanism: Mechanism) -> Callable[[Job, Held], dict[int, int]]:
    """The `attach` of a mechanism's module."""
    return _ATTACH[mechanism]
