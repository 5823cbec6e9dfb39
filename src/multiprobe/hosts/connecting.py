"""Connects to a Dask scheduler: `distributed`, an optional library, is imported here only."""

from __future__ import annotations

from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Protocol

from multiprobe.errors import MultiprobeError, NotSupportedError, UsageError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence

CONNECTING = 10.0
"""Seconds to wait for the scheduler."""


class Client(Protocol):
    """What a fleet needs of a `distributed.Client`."""

    def nthreads(self) -> Mapping[str, int]:
        """All workers: the number of threads of each, by its address."""
        ...

    def run(
        self, function: Callable[..., object], *args: object, workers: Sequence[str], on_error: str
    ) -> Awaitable[dict[str, object]]:
        """What a function returns on workers, by their addresses. To be awaited inside of `sync` only."""
        ...

    def sync(
        self, function: Callable[..., Coroutine[object, object, dict[str, object]]], *args: object
    ) -> dict[str, object]:
        """What a coroutine returns that runs in the client's event loop."""
        ...


@contextmanager
def connected(scheduler: str | Client) -> Iterator[Client]:
    """A client of the scheduler with this address; a client that is given stays open.

    Raises NotSupportedError without `distributed`, UsageError for an invalid address, MultiprobeError where no
    scheduler answers.
    """
    if not isinstance(scheduler, str):
        yield scheduler
        return
    if find_spec("distributed") is None:
        raise NotSupportedError("fleet needs dask.distributed", hint="pip install 'multiprobe[fleet]'")
    distributed = import_module("distributed")
    try:
        client = distributed.Client(scheduler, timeout=CONNECTING, set_as_default=False)
    except ValueError as error:
        raise UsageError(f"invalid scheduler {scheduler!r}: {error}", hint="use tcp://HOST:8786") from error
    except (OSError, TypeError) as error:  # TypeError: TLS without a certificate
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise MultiprobeError(
            f"cannot reach the scheduler at {scheduler}: {reason}", hint="`dask scheduler` prints its address"
        ) from error
    with client:
        yield client
