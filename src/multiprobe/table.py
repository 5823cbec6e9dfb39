"""`Table`: results as rows, convertible to JSON lines, CSV, Arrow, Parquet and pandas.

A row is a mapping of plain values. pyarrow and pandas are imported only by the methods that return their objects.
"""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

from multiprobe.errors import NotSupportedError
from multiprobe.markup import MAX_ROWS, table
from multiprobe.names import json_line, printable, storable
from multiprobe.plurals import plural_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any, BinaryIO, TextIO

    import pandas
    import pyarrow


class Table(list["dict[str, Any]"]):
    """A list of records: dicts of None, bool, int, float, str, and lists and dicts of them, by field name.

    rows: the records
    """

    def __init__(self, rows: Iterable[Mapping[str, Any]] = ()) -> None:
        super().__init__(map(dict, rows))

    def _repr_html_(self) -> str:
        """For notebooks: the first records as a table."""
        names = self.columns()
        shown = [[_shown(row.get(name)) for name in names] for row in self[:MAX_ROWS]]
        values = [[row.get(name) for row in self[:MAX_ROWS]] for name in names]
        numbers = {place for place, column in enumerate(values) if column and all(map(_is_number, column))}
        return table(names, shown, caption=plural_text(len(self), "record"), numbers=numbers, n_all=len(self))

    def columns(self) -> list[str]:
        """The names of all fields, in order of their first use."""
        return list(dict.fromkeys(name for row in self for name in row))

    def to_csv(self, file: TextIO) -> None:
        """Write CSV with a header to a text `file` (RFC 4180, lines end in a line feed); lists and dicts as JSON.

        Line feeds in texts are quoted; other control characters are escaped, as `\\r`.
        """
        names = self.columns()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(map(printable, names))
        writer.writerows([_cell(row.get(name)) for name in names] for row in self)

    def to_arrow(self) -> pyarrow.Table:
        """An Arrow table with a column for each field; a missing value is null.

        Raises NotSupportedError without pyarrow.
        """
        pa = _pyarrow()
        names = self.columns()
        columns = {name: [storable(row.get(name)) for row in self] for name in names}
        return pa.table({storable(name): _arrow_column(pa, items) for name, items in columns.items()})

    def to_pandas(self) -> pandas.DataFrame:
        """A pandas DataFrame with a column for each field. Raises NotSupportedError without pandas."""
        try:
            import pandas
        except ImportError as error:
            raise NotSupportedError("pandas is not installed", hint="pip install pandas") from error
        return pandas.DataFrame.from_records([storable(row) for row in self], columns=map(storable, self.columns()))

    def to_parquet(self, file: str | BinaryIO) -> None:
        """Write Parquet to a path or a binary `file`. Raises NotSupportedError without pyarrow."""
        table = self.to_arrow()
        from pyarrow import parquet

        parquet.write_table(table, file)


def _cell(item: object) -> object:
    if isinstance(item, list | tuple | dict):
        return json_line(item)
    if isinstance(item, bool):
        return "true" if item else "false"
    return "\n".join(map(printable, item.split("\n"))) if isinstance(item, str) else item


def _arrow_column(pa: Any, items: Sequence[Any]) -> Any:
    """Integers above 2⁶³ need the unsigned type, which pyarrow doesn't choose by itself."""
    is_unsigned = any(isinstance(item, int) and item >= 1 << 63 for item in items)
    return pa.array(items, pa.uint64()) if is_unsigned else pa.array(items)


def _pyarrow() -> Any:
    try:
        import pyarrow
    except ImportError as error:
        raise NotSupportedError("pyarrow is not installed", hint="pip install 'multiprobe[arrow]'") from error
    return pyarrow


def _shown(item: object) -> object:
    return "" if item is None else f"{item:.6g}" if isinstance(item, float) else _cell(item)


def _is_number(item: object) -> bool:
    return isinstance(item, int | float) and not isinstance(item, bool)
