"""The base class of all instruments: a measurement by one attached program, sampled while it runs and read at its end.

An instrument is made by the `start` function of its module. `sample` may be called at any time, `finish` ends the
measurement, `close` detaches. Instruments know nothing of the command line.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Generic, TypedDict, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from multiprobe.binaries.mixed import AnyFunctionSet
    from multiprobe.functions.kernel import Kernel
    from multiprobe.links.attachment import Attachment
    from multiprobe.links.guard.limits import Limits
    from multiprobe.links.plan.mechanisms import Mechanisms, Names
    from multiprobe.links.report import Report, Verified

SampleT = TypeVar("SampleT")


class AttachOptions(TypedDict, total=False):
    """The options of `multiprobe.attach` that every instrument passes on; see there."""

    mechanisms: Mechanisms | Names | None
    pid: int | None
    children: bool
    own: bool
    on_bad: str
    unsafe: bool
    limits: Limits
    kernel: Kernel | None
    progress: Callable[[int, int], None] | None


class Instrument(ABC, Generic[SampleT]):
    """A running measurement, whose results at one moment are a `SampleT`. Must be closed, which detaches."""

    def __init__(self, attachment: Attachment) -> None:
        self._attachment = attachment
        self._began = time.monotonic()
        self._ended: float | None = None
        self._last: SampleT | None = None

    @property
    def functions(self) -> AnyFunctionSet:
        """The attached functions, in index order."""
        return self._attachment.functions

    @property
    def report(self) -> Report:
        """The report of the attachment."""
        return self._attachment.report

    @property
    def seconds(self) -> float:
        """How long it has been measuring; after `finish`, how long it measured."""
        return (time.monotonic() if self._ended is None else self._ended) - self._began

    def sample(self) -> SampleT:
        """The results now; after `finish`, the last ones."""
        return self._read() if self._last is None else self._last

    def poll(self) -> bool:
        """Do what can't wait for the end, such as emptying ring buffers; to be called a few times a second.

        Returns True when there is no room for more results.
        """
        return False

    def finish(self) -> SampleT:
        """Stop measuring and note what was missed. Returns the last sample."""
        if self._last is None:
            self._attachment.pause()
            self._ended = time.monotonic()
            self._last = self._read_last()
            self._attachment.set_missed(self._missed())
        return self._last

    def note(self, sentence: str) -> None:
        """Add a sentence to the report."""
        self._attachment.note(sentence)

    def add_verified(self, verified: list[Verified]) -> None:
        """Add the results of known calls to the report."""
        self._attachment.add_verified(verified)

    def close(self) -> None:
        """Detach."""
        self._attachment.close()

    @abstractmethod
    def _read(self) -> SampleT:
        """Read the results from the program's maps."""

    def _read_last(self) -> SampleT:
        """The same, after the program has stopped."""
        return self._read()

    def _missed(self) -> dict[str, int]:
        """What is known not to have been seen, by cause."""
        return self._attachment.missed()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
