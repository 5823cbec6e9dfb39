"""Reads a saved run as a stream, in bounded memory, whatever the file holds.

The lines of a run: its first line (`info.parse_info`), the report, the attached functions, the rows, the end.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, BinaryIO, cast
from zlib import crc32

from multiprobe.errors import DataError
from multiprobe.plurals import plural_text
from multiprobe.runs.compression import CutOffError, read_chunks
from multiprobe.runs.info import Fields, RunInfo, parse_info

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from types import TracebackType
    from typing import Self, TypeAlias

    Row: TypeAlias = dict[str, object]
    Label = tuple[str, str]

MAX_LINE = 16 << 20
"""Bytes of one line, at most: the report of an attachment to every function of a kernel has about 9 MB."""
MAX_ATTACHED = 32 << 20
"""Bytes of all lines that name attached functions."""
MAX_BYTES = 64 << 20
"""Decompressed bytes of a run, unless a reader asks for more."""
_ATTACHED = b'{"type":"attached"'


class RunReader:
    """A saved run that is being read: `info` at once, then `batches()` of rows. Must be closed.

    attached_digest: equal for runs with the same attached functions
    gap: once all rows were read, a sentence if the file is cut off, else ""
    Raises OSError, and DataError for what is no run, is damaged, was changed, or is larger than `max_bytes` of
    decompressed bytes.
    """

    def __init__(self, path: str, *, max_bytes: int = MAX_BYTES) -> None:
        self.path, self._max_bytes = path, max_bytes
        self.gap = ""
        self._file: BinaryIO = open(path, "rb")  # noqa: SIM115
        try:
            self._begin()
        except BaseException:
            self._file.close()
            raise

    def _begin(self) -> None:
        self._checksum = self._n_lines = self._n_rows = 0
        self._end: Row | None = None
        self._attached: list[bytes] = []
        self._blocks = self._read_blocks()
        self._ahead: list[bytes] = []
        first = self._next_line()
        if first is None:
            raise DataError(f"{self.path} is empty, or cut off in its first line: it holds no run")
        self.info: RunInfo = parse_info(self._parse_line(first), self.path)
        self._read_preamble()

    def _read_preamble(self) -> None:
        """The report and the attached functions. The first line after them is put back."""
        digest, n_bytes = hashlib.blake2b(digest_size=16), 0
        while (line := self._next_line()) is not None:
            if not line.startswith(_ATTACHED):
                item = self._parse_line(line)
                if item.get("type") == "report":
                    self.info = replace(self.info, _report=zlib.compress(line, 1))
                    continue
                if item.get("type") != "attached":
                    self._ahead.append(line)
                    self._n_lines -= 1
                    break
            self._attached.append(line)
            digest.update(line)
            n_bytes += len(line)
            if n_bytes > MAX_ATTACHED:
                raise DataError(f"{self.path} names more than {MAX_ATTACHED:,} bytes of attached functions")
        self.attached_digest = digest.digest()

    def attached(self) -> list[Label]:
        """The (module, name) of each attached function. Raises DataError."""
        found: list[Label] = []
        for line in self._attached:
            fields = Fields(self._parsed(line), self.path, "a list of attached functions")
            module = fields.text("module")
            found += [(module, name) for name in fields.texts("functions")]
        return found

    def batches(self) -> Iterator[list[Row]]:
        """All rows, some at a time. Sets `gap` when it ends. Raises DataError."""
        while (lines := self._next_lines()) is not None:
            batch = self._parse_lines(lines)
            self._n_lines += len(lines)
            self._n_rows += len(batch)
            yield batch
        if self._end is None:
            self.gap = f"cut off after {plural_text(self._n_rows, 'row')}"
        else:
            self._check_end(self._end)

    def _check_end(self, end: Row) -> None:
        if end.get("rows") == self._n_rows and end.get("crc32") == self._checksum:
            return
        what = "rows" if end.get("rows") != self._n_rows else "lines"
        raise DataError(
            f"{self.path} was changed after it was written: its last line does not fit its {what}",
            hint="to use it all the same, remove its last line: then it counts as cut off",
        )

    # -- lines -----------------------------------------------------------------------------------------------------

    def _next_line(self) -> bytes | None:
        """The next line; None at the end of the run."""
        while not self._ahead:
            block = next(self._blocks, None)
            if block is None:
                return None
            self._ahead = block[::-1]
        self._n_lines += 1
        return self._ahead.pop()

    def _next_lines(self) -> list[bytes] | None:
        """The same, for as many lines as there are in a chunk."""
        if self._ahead:
            lines, self._ahead = self._ahead[::-1], []
            return lines
        return next(self._blocks, None)

    def _read_blocks(self) -> Generator[list[bytes], None, None]:
        """The whole lines of the file as they come. The last one becomes `_end` if it is the end of a run."""
        held: list[bytes] = []  # joined at the end of a line only: a long one comes in thousands of chunks
        n_held = 0
        with suppress(CutOffError):
            for chunk in self._limited():
                held.append(chunk)
                n_held += len(chunk)
                if b"\n" in chunk:
                    text = b"".join(held)
                    start = text.rfind(b"\n", 0, text.rindex(b"\n")) + 1
                    if start:
                        self._checksum = crc32(memoryview(text)[:start], self._checksum)
                        yield self._checked(text[: start - 1].split(b"\n"))
                    held = [text[start:]]
                    n_held = len(held[0])
                if n_held > 2 * MAX_LINE:
                    raise self._too_long()
        line, newline, rest = b"".join(held).partition(b"\n")
        item = self._parsed(line) if newline and not rest else None
        if item is not None and item.get("type") == "end":
            self._end = item
        elif newline:
            yield self._checked([line])

    def _checked(self, lines: list[bytes]) -> list[bytes]:
        if max(map(len, lines)) > MAX_LINE:
            raise self._too_long()
        return lines

    def _too_long(self) -> DataError:
        return DataError(f"{self.path}: a line is longer than {MAX_LINE >> 20} MiB")

    def _limited(self) -> Iterator[bytes]:
        n = 0
        for chunk in read_chunks(self._file, self.path):
            n += len(chunk)
            if n > self._max_bytes:
                raise DataError(
                    f"{self.path} holds more than {self._max_bytes:,} bytes when decompressed",
                    hint="mp.Run.load(path, max_bytes=…) reads larger runs",
                )
            yield chunk

    # -- JSON ------------------------------------------------------------------------------------------------------

    def _parse_line(self, line: bytes) -> Row:
        """The object of the line that was taken last."""
        item = self._parsed(line)
        if item is None:
            raise self._no_object(self._n_lines, line)
        return item

    def _parsed(self, line: bytes) -> Row | None:
        with suppress(ValueError, RecursionError):
            item = _DECODER.decode(line.decode())
            if isinstance(item, dict):
                return item
        return None

    def _parse_lines(self, lines: list[bytes]) -> list[Row]:
        """The objects of the next lines: all in one step, which takes half the time, or one by one to name a bad
        one."""
        with suppress(ValueError, RecursionError):
            found: list[Row] = _decode_many(b"[" + b",".join(lines) + b"]")
            if len(found) == len(lines) and all(type(item) is dict for item in found):
                return found
        return [self._parse_at(number, line) for number, line in enumerate(lines, self._n_lines + 1)]

    def _parse_at(self, number: int, line: bytes) -> Row:
        item = self._parsed(line)
        if item is None:
            raise self._no_object(number, line)
        return item

    def _no_object(self, number: int, line: bytes) -> DataError:
        return DataError(f"{self.path}: line {number:,} is no JSON object: {line[:60].decode(errors='replace')!r}")

    def close(self) -> None:
        """Close the file."""
        self._blocks.close()
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def _many_decoder() -> Callable[[bytes], list[Row]]:
    """What decodes a list of objects: orjson if it is installed, which takes a third of the time."""
    if find_spec("orjson") is None:
        return lambda text: _DECODER.decode(text.decode())
    return cast("Callable[[bytes], list[Row]]", import_module("orjson").loads)


_decode_many = _many_decoder()
