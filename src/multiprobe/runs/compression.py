"""Compresses and decompresses files as streams, by the end of their names: `.gz`, `.zst`, anything else is plain.

Decompression is in bounded memory, however much a file expands to.
"""

from __future__ import annotations

import sys
import zlib
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, BinaryIO, Protocol, cast

from multiprobe.errors import DataError, NotSupportedError

if TYPE_CHECKING:
    from collections.abc import Iterator

CHUNK = 1 << 14
"""Bytes that are read, or decompressed, in one step at most."""
_IS_BUILTIN = sys.version_info >= (3, 14)
_ZSTD = "compression.zstd" if _IS_BUILTIN else "zstandard"
HAS_ZSTD = _IS_BUILTIN or find_spec("zstandard") is not None
_GZIP = 31
"""zlib's `wbits` for gzip's header and checksum."""


class CutOffError(Exception):
    """The compressed data ends in the middle; everything before has been given."""


class Compressor(Protocol):
    """What compresses a file: zlib's and zstandard's objects."""

    def compress(self, data: bytes, /) -> bytes:
        """The next compressed bytes; some are kept back."""
        ...

    def flush(self) -> bytes:
        """The last compressed bytes."""
        ...


class Plain:
    """No compression."""

    def compress(self, data: bytes, /) -> bytes:
        """The data itself."""
        return data

    def flush(self) -> bytes:
        """Nothing."""
        return b""


def require_compression(path: str) -> None:
    """Raise NotSupportedError if what the name asks for is not installed."""
    if path.endswith(".zst") and not HAS_ZSTD:
        raise NotSupportedError(
            f"{path}: zstd needs Python 3.14, or the package zstandard",
            hint="pip install 'multiprobe[zstd]', or use a name that ends in .gz",
        )


def compressor_for(path: str) -> Compressor:
    """The compressor for a file of this name. Raises NotSupportedError."""
    require_compression(path)
    if path.endswith(".gz"):
        return zlib.compressobj(wbits=_GZIP)
    return _zstd_compressor() if path.endswith(".zst") else Plain()


def read_chunks(file: BinaryIO, path: str) -> Iterator[bytes]:
    """The decompressed content of a file, in chunks of at most CHUNK bytes.

    Raises CutOffError at the end of a file that is cut off, DataError for damaged data, NotSupportedError without zstd.
    """
    require_compression(path)
    if path.endswith(".gz"):
        yield from _read_gzip(file, path)
    elif path.endswith(".zst"):
        yield from _read_zstd(file, path)
    else:
        while data := file.read(CHUNK):
            yield data


def _read_gzip(file: BinaryIO, path: str) -> Iterator[bytes]:
    decoder = zlib.decompressobj(_GZIP)
    while data := file.read(CHUNK):
        while data:
            if decoder.eof:  # another member
                decoder = zlib.decompressobj(_GZIP)
            try:
                yield decoder.decompress(data, CHUNK)
            except zlib.error as error:
                raise DataError(f"{path} is damaged, or not compressed by gzip: {error}") from error
            data = decoder.unused_data if decoder.eof else decoder.unconsumed_tail
    if not decoder.eof:
        yield decoder.flush()
        raise CutOffError


def _zstd_compressor() -> Compressor:
    zstd = import_module(_ZSTD)
    made = zstd.ZstdCompressor() if _IS_BUILTIN else zstd.ZstdCompressor().compressobj()
    return cast("Compressor", made)


def _read_zstd(file: BinaryIO, path: str) -> Iterator[bytes]:
    zstd = import_module(_ZSTD)
    failure: type[Exception] = zstd.ZstdError
    reader = (
        zstd.ZstdFile(file) if _IS_BUILTIN else zstd.ZstdDecompressor().stream_reader(file, read_across_frames=True)
    )
    while True:
        try:
            found = reader.read(CHUNK)
        except EOFError:
            raise CutOffError from None
        except failure as error:
            raise DataError(f"{path} is damaged, or not compressed by zstd: {error}") from error
        if not found:
            return
        yield found
