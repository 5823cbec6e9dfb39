"""Linking functions of one attachment: any of them, by one mechanism, as often as need be."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from multiprobe.kernel.mechanism import Mechanism
from multiprobe.links.mechanisms import kprobe, kprobe_multi, tracing_multi, trampoline
from multiprobe.links.mechanisms.linked import LinkRequest
from multiprobe.links.plan.programs import CONTEXTS, sides_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from multiprobe.links.ledger import Ledger
    from multiprobe.links.loading import Loader
    from multiprobe.links.mechanisms.linked import Hook, Linked
    from multiprobe.syscalls.fd import FileDescriptor


def _attach_to_binaries(request: LinkRequest) -> Linked:
    from multiprobe.links.mechanisms import uprobe_multi

    return uprobe_multi.attach(request)


_ATTACH: dict[Mechanism, Callable[[LinkRequest], Linked]] = {
    Mechanism.KPROBE_MULTI: kprobe_multi.attach,
    Mechanism.TRACING_MULTI: tracing_multi.attach,
    Mechanism.TRAMPOLINE: trampoline.attach,
    Mechanism.KPROBE: kprobe.attach,
    Mechanism.UPROBE_MULTI: _attach_to_binaries,
}


def attach_by(mechanism: Mechanism, request: LinkRequest) -> Linked:
    """Attach by a mechanism. Raises KernelError and others where the fault lies with no function."""
    return _ATTACH[mechanism](request)


class Linking:
    """How the functions of one attachment are linked. Adds its times to the ledger.

    cookies: the user's, by function index, or None
    """

    def __init__(self, loader: Loader, cookies: array[int] | None, *, ledger: Ledger) -> None:
        self.loader = loader
        self.cookies = cookies
        self.ledger = ledger

    def link(
        self,
        mechanism: Mechanism,
        indices: Sequence[int],
        *,
        gate: Mapping[str, int] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Linked:
        """Attach the functions with these indices. `gate` are the values for programs that have a gate."""
        loader, ledger = self.loader, self.ledger
        context = CONTEXTS[mechanism]
        is_paired = bool(mechanism & loader.paired)
        is_everything = isinstance(indices, range) and len(indices) == len(loader.functions)
        is_of_binaries = mechanism == Mechanism.UPROBE_MULTI
        with ledger.timed("compile"):
            for side in () if is_of_binaries else sides_of(mechanism, loader.paired):
                loader.prepare(context, side)

        def load(hook: Hook) -> FileDescriptor:
            if is_of_binaries:  # only there, one at a time, it is known where arguments are
                with ledger.timed("compile"):
                    loader.prepare(context, hook.session_side, hook.arguments)
            with ledger.timed("load"):
                return loader.load(hook, context, gate=gate)

        request = LinkRequest(
            loader.functions if is_everything else loader.functions.take(indices),
            indices,
            self._kernel_cookies(context, None if is_everything else indices),
            loader.when,
            load,
            _show(progress, len(indices)) if progress else None,
            is_paired,
            loader.may_misfit,
            loader.pid,
            loader.reads_arguments,
        )
        try:
            with ledger.timed("attach"):
                return attach_by(mechanism, request)
        finally:
            loader.release()

    def _kernel_cookies(self, context: str, indices: Sequence[int] | None) -> array[int] | None:
        """What the kernel is told for each of these functions (None: all), or None."""
        is_index = self.loader.function_from(context) == "cookie"
        if self.cookies is not None and not (is_index and context == "uprobe"):
            return self.cookies if indices is None else array("Q", map(self.cookies.__getitem__, indices))
        if not is_index:
            return None
        return array("Q", range(len(self.loader.functions)) if indices is None else indices)


def _show(progress: Callable[[int, int], None], n: int) -> Callable[[int], None]:
    return lambda done: progress(done, n)
