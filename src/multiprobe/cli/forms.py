"""Prints results: JSON lines, tables, folded stacks, and the report of an attachment."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from multiprobe.cli.workload import describe_status
from multiprobe.output.json_lines import write_json_lines
from multiprobe.output.report import report_lines
from multiprobe.output.table import write_table
from multiprobe.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import TextIO

    from multiprobe.cli.workload import Workload
    from multiprobe.output.table import TextTable


def write_rows(rows: Iterable[Mapping[str, object]], *, csv: bool, parquet: str | None) -> None:
    """Print rows as CSV, or write them as a Parquet file, or both."""
    records = Table({name: item for name, item in row.items() if name != "type"} for row in rows)
    if parquet is not None:
        records.to_parquet(parquet)
    if csv:
        records.to_csv(sys.stdout)
        sys.stdout.flush()


def print_lines(lines: Iterable[str]) -> None:
    """Print lines, such as folded stacks."""
    sys.stdout.writelines(f"{line}\n" for line in lines)
    sys.stdout.flush()


def print_json(objects: Iterable[Mapping[str, object]]) -> None:
    """Print JSON objects, one per line."""
    write_json_lines(objects, sys.stdout)


def print_table(table: TextTable, *, n_more: int) -> None:
    """Print a table of results, if there are any, and how many rows it leaves out."""
    if table.rows:
        write_table(table, sys.stdout)
        if n_more > 0:
            print(f"… and {n_more:,} more (--top 0 shows all)")
        print()


def print_report(
    report: Mapping[str, object], workload: Workload | None, *, is_plan: bool = False, file: TextIO | None = None
) -> None:
    """Print a report and how the command ended, to standard output unless told otherwise."""
    for line in report_lines(report, is_plan=is_plan):
        print(line, file=file)
    if workload is not None:
        status = workload.poll()
        how = "was still running, and is terminated" if status is None else describe_status(status)
        print(f"command: {workload.command[0]} {how}", file=file)
    (file or sys.stdout).flush()
