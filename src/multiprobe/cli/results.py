"""`Results`: the stream that a command writes its results to, in every form.

Machine-readable forms have a stream of their own: COMMAND does not write to it (see `workload`), and it is UTF-8 in any
locale.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from io import TextIOWrapper
from typing import TYPE_CHECKING

from multiprobe.cli.files import writing
from multiprobe.instruments.workload import describe_status
from multiprobe.output.json_lines import write_json_lines
from multiprobe.output.report import report_lines
from multiprobe.output.table import write_table
from multiprobe.output.terminal import write_lines, write_spans
from multiprobe.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import TracebackType
    from typing import TextIO

    from multiprobe.instruments.workload import Workload
    from multiprobe.output.table import TextTable
    from multiprobe.output.terminal import Spans


class Results:
    """Writes results to a file, or to standard output if `path` is None. Must be closed.

    Raises OSErrors that name the file. Each line of text is made printable: names of processes and files, which it
    contains, are chosen by any user.
    """

    def __init__(self, path: str | None = None, *, is_text: bool = True) -> None:
        self._owned = ExitStack()
        self.file: TextIO = sys.stdout if path is None else self._owned.enter_context(writing(path))
        if not is_text and isinstance(self.file, TextIOWrapper):
            self.file.reconfigure(encoding="utf-8")

    def lines(self, lines: Iterable[str], *, file: TextIO | None = None, hang: int | None = None) -> None:
        """Write lines of text, to this stream unless told otherwise; on a terminal folded (see `cells.fold`)."""
        write_lines(lines, file or self.file, hang=hang)

    def spans(self, lines: Iterable[Spans], *, hang: int | None = None) -> None:
        """Write lines whose parts have styles."""
        write_spans(lines, self.file, hang=hang)

    def json(self, objects: Iterable[Mapping[str, object]]) -> None:
        """Write JSON objects, one per line."""
        write_json_lines(objects, self.file)

    def table(self, table: TextTable, *, n_more: int = 0) -> None:
        """Write a table of results, if there are any, and how many rows it leaves out."""
        if table.rows:
            write_table(table, self.file)
            self.lines([f"… and {n_more:,} more (--top 0 shows all)", ""] if n_more > 0 else [""])

    def rows(self, rows: Iterable[Mapping[str, object]], *, csv: bool, parquet: str | None) -> None:
        """Write rows as CSV, or to a Parquet file, or both."""
        records = Table({name: item for name, item in row.items() if name != "type"} for row in rows)
        if parquet is not None:
            records.to_parquet(parquet)
        if csv:
            records.to_csv(self.file)
            self.file.flush()

    def report(
        self,
        report: Mapping[str, object],
        workload: Workload | None,
        *,
        is_plan: bool = False,
        file: TextIO | None = None,
    ) -> None:
        """Write a report and how the command ended, to this stream unless told otherwise."""
        self.lines(report_lines(report, is_plan=is_plan), file=file)
        if workload is not None:
            status = workload.poll()
            how = "was still running, and is terminated" if status is None else describe_status(status)
            self.lines([f"command: {workload.command[0]} {how}"], file=file)

    def __enter__(self) -> Results:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._owned.__exit__(kind, error, trace)
