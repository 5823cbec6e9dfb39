"""A Python function's source: its syntax tree, and errors that point into it.

Knows files, lines and columns; must not know what the language allows.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from dataclasses import dataclass
from types import FunctionType

from multiprobe.errors import CompileError

MAX_COLUMN = 1022


def pack_location(line: int, column: int) -> int:
    """A line and a column (both from 0) in one number, in BTF's way: the column from 1, in the low ten bits."""
    return line << 10 | min(column, MAX_COLUMN) + 1


@dataclass(frozen=True, slots=True)
class Source:
    """`tree` was parsed from `lines` with `indent` columns cut off; its line 1 is line `first` of `file`."""

    file: str
    first: int
    lines: tuple[str, ...]
    indent: int
    tree: ast.FunctionDef

    def line(self, node: ast.AST) -> int:
        """A node's line, counted from the function's first line as 0."""
        return getattr(node, "lineno", 1) - 1

    def location(self, node: ast.AST) -> int:
        """A node's line, counted as by `line`, and its column, as `pack_location` packs them."""
        line = self.line(node)
        text = self.lines[line] if line < len(self.lines) else ""
        return pack_location(line, self._column(text, getattr(node, "col_offset", 0)))

    def error(self, node: ast.AST, message: str, *, hint: str = "") -> CompileError:
        """A CompileError with its caret under `node` (under the part of it that is on its first line)."""
        line = self.line(node)
        text = self.lines[line] if line < len(self.lines) else ""
        start = self._column(text, getattr(node, "col_offset", 0))
        end_byte = getattr(node, "end_col_offset", None)
        is_one_line = getattr(node, "end_lineno", None) == getattr(node, "lineno", None)
        end = self._column(text, end_byte) if end_byte is not None and is_one_line else len(text.rstrip())
        return CompileError(
            message, file=self.file, line=self.first + line, column=start, end_column=end, source=text, hint=hint
        )

    def _column(self, text: str, offset: int) -> int:
        # `ast` counts bytes of UTF-8, in the text without its indentation
        return self.indent + len(text[self.indent :].encode()[:offset].decode(errors="ignore"))


def read(function: FunctionType) -> Source:
    """The source of a function. Raises CompileError when there is none (a lambda, or code typed into a console)."""
    file, first = function.__code__.co_filename, function.__code__.co_firstlineno
    try:
        lines, first = inspect.getsourcelines(function)
    except (OSError, TypeError) as error:
        raise CompileError(
            f"the source of {function.__name__!r} can't be found ({error})",
            file=file,
            line=first,
            hint="programs are compiled from source: define them in a file, or in a notebook",
        ) from error
    text = textwrap.dedent("".join(lines))
    indent = len(lines[0]) - len(lines[0].lstrip())
    try:
        tree: ast.stmt | None = ast.parse(text).body[0]
    except SyntaxError:  # a lambda in the middle of a statement
        tree = None
    if not isinstance(tree, ast.FunctionDef):
        raise CompileError(
            f"{function.__name__!r} is not a plain function",
            file=file,
            line=first,
            source=lines[0],
            column=indent,
            hint="write it with `def`, on lines of its own",
        )
    return Source(file, first, tuple(line.rstrip("\n") for line in lines), indent, tree)
