"""What every instrument is while it runs: a measurement on an attachment, which closing ends.

Knows the attachment only; must not know what is measured.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any, Self

    from multiprobe.functions.sets import FunctionSet
    from multiprobe.links.report import Report, Verified


class Running:
    """A running instrument. Must be closed, which detaches."""

    is_strict = False
    """Whether gaps in the results are an error once it is detached."""
    verify_side = ""
    """The side on which known calls are to be made and looked for, or ""."""

    def __init__(self, attachment: Any) -> None:
        self._attachment = attachment

    @property
    def functions(self) -> FunctionSet:
        """What is attached, in index order."""
        functions: FunctionSet = self._attachment.functions
        return functions

    @property
    def report(self) -> Report:
        """What became of every requested function."""
        report: Report = self._attachment.report
        return report

    def note(self, sentence: str) -> None:
        """Add a sentence to the report."""
        self._attachment.note(sentence)

    def add_verified(self, verified: list[Verified]) -> None:
        """Add known calls that were looked for to the report."""
        self._attachment.add_verified(verified)

    def close(self) -> None:
        """Detach."""
        self._attachment.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
