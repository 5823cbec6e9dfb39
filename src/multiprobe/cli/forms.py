"""The forms in which results are written: text, JSON lines, CSV, folded stacks, Parquet.

Knows forms and files; must not know what the rows are.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from multiprobe.errors import NotSupportedError, UsageError
from multiprobe.instruments.workload import describe_status
from multiprobe.output.json_lines import write_json_lines
from multiprobe.output.report import report_lines
from multiprobe.output.table import write_table
from multiprobe.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, TextIO

    from multiprobe.instruments.workload import Workload
    from multiprobe.output.table import TextTable


#: Rows of text shown unless `--top` says otherwise; other forms have no such limit.
DEFAULT_TOP = 40


def check_files(*paths: str | None) -> None:
    """Raise UsageError for a file that can't be written, before something is measured in vain."""
    for path in filter(None, paths):
        folder = os.path.dirname(path) or "."
        if os.path.isdir(path) or not os.access(path if os.path.exists(path) else folder, os.W_OK):
            raise UsageError(f"can't write {path}", hint="name a file in a directory that you may write to")


@dataclass(frozen=True, slots=True)
class Forms:
    """In which forms results are wanted: JSON, CSV or folded stacks instead of text, a Parquet file besides."""

    json: bool
    csv: bool
    parquet: str | None
    folded: bool = False

    def __post_init__(self) -> None:
        """Raise what would only be found out after measuring in vain."""
        printing = [f"--{name}" for name in ("json", "csv", "folded") if getattr(self, name)]
        if len(printing) > 1:
            raise UsageError(
                f"{' and '.join(printing)} {'both' if len(printing) == 2 else 'all'} print: give one of them"
            )
        check_files(self.parquet)
        if self.parquet is not None and find_spec("pyarrow") is None:
            raise NotSupportedError("--parquet needs pyarrow", hint="pip install 'multiprobe[arrow]'")

    @property
    def is_text(self) -> bool:
        """Does standard output get text?"""
        return not (self.json or self.csv or self.folded)

    @property
    def is_table(self) -> bool:
        """Are all rows wanted at once, as a table?"""
        return self.csv or self.parquet is not None

    def write_table(self, rows: Iterable[dict[str, Any]], report: dict[str, Any], workload: Workload | None) -> None:
        """Write rows as CSV or Parquet, or both, and the report where it doesn't disturb them."""
        records = Table({name: item for name, item in row.items() if name != "type"} for row in rows)
        if self.parquet is not None:
            records.to_parquet(self.parquet)
        if self.csv:
            records.to_csv(sys.stdout)
            _print_aside(report, workload)

    def print_lines(self, lines: Iterable[str], report: dict[str, Any], workload: Workload | None) -> None:
        """Print folded stacks, and the report where it doesn't disturb them."""
        sys.stdout.writelines(f"{line}\n" for line in lines)
        _print_aside(report, workload)


def _print_aside(report: dict[str, Any], workload: Workload | None) -> None:
    sys.stdout.flush()
    print_report(report, workload, file=sys.stderr)


def print_json(objects: Iterable[dict[str, Any]]) -> None:
    """One line each."""
    write_json_lines(objects, sys.stdout)


def print_table(table: TextTable, *, n_more: int) -> None:
    """A table of results, if there are any, and how many it leaves out."""
    if table.rows:
        write_table(table, sys.stdout)
        if n_more > 0:
            print(f"… and {n_more:,} more (--top 0 shows all)")
        print()


def print_report(
    report: dict[str, Any], workload: Workload | None, *, is_plan: bool = False, file: TextIO | None = None
) -> None:
    """What became of every function, and of the command. To standard output unless told otherwise."""
    for line in report_lines(report, is_plan=is_plan):
        print(line, file=file)
    if workload is not None:
        status = workload.poll()
        how = "still runs: it is ended now" if status is None else describe_status(status)
        print(f"command: {workload.command[0]} {how}", file=file)
    (file or sys.stdout).flush()
