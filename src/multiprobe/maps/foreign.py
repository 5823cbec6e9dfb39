"""Maps of existing BPF object files: of any kind, with keys and values of any size.

Keys and values of 1, 2, 4 and 8 bytes are unsigned integers, all others bytes. Owns the descriptors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from multiprobe.errors import UsageError
from multiprobe.maps.cpus import load_n_cpus
from multiprobe.syscalls import bpf
from multiprobe.uapi.bpf import MapType

if TYPE_CHECKING:
    from collections.abc import Iterator

    from multiprobe.syscalls.libbpf import LoadedMap

    Part = int | bytes

PER_CPU = frozenset((MapType.PERCPU_HASH, MapType.PERCPU_ARRAY, MapType.LRU_PERCPU_HASH))
TABLES = PER_CPU | {MapType.HASH, MapType.ARRAY, MapType.LRU_HASH}
_INTEGERS = (1, 2, 4, 8)


class ForeignMap:
    """A map of an object, read and written by system calls: `map[key]`, `key in map`, `as_dict()`.

    Values of per-CPU maps are lists, one item for each possible CPU.
    """

    def __init__(self, loaded: LoadedMap) -> None:
        self.name = loaded.name
        self.kind = loaded.kind
        self.key_size = loaded.key_size
        self.value_size = loaded.value_size
        self.max_entries = loaded.max_entries
        self.fd = loaded.fd
        self.is_internal = loaded.is_internal

    @property
    def is_per_cpu(self) -> bool:
        return self.kind in PER_CPU

    def as_dict(self) -> dict[Part, Part | list[Part]]:
        """All keys and values; not one moment's picture while programs run."""
        size = self._size
        found = ((key, bpf.map_lookup(self.fd, key, size)) for key in self._keys())
        return {_decoded(key): self._value(data) for key, data in found if data is not None}

    def __getitem__(self, key: Part) -> Part | list[Part]:
        """The value at `key`; KeyError where there is none."""
        data = bpf.map_lookup(self.fd, self._encoded(key, self.key_size), self._size)
        if data is None:
            raise KeyError(key)
        return self._value(data)

    def __contains__(self, key: Part) -> bool:
        return bpf.map_lookup(self.fd, self._encoded(key, self.key_size), self._size) is not None

    def __setitem__(self, key: Part, item: Part) -> None:
        """Set the value at `key` (of per-CPU maps: on all CPUs)."""
        data = self._encoded(item, self.value_size)
        if self.is_per_cpu:
            data = data.ljust(self._stride, b"\0") * load_n_cpus()
        bpf.map_update(self.fd, self._encoded(key, self.key_size), data)

    def __delitem__(self, key: Part) -> None:
        """Remove a key; KeyError where there is none."""
        if not bpf.map_delete(self.fd, self._encoded(key, self.key_size)):
            raise KeyError(key)

    @property
    def _stride(self) -> int:
        return -(-self.value_size // 8) * 8

    @property
    def _size(self) -> int:
        if self.kind not in TABLES:
            raise UsageError(f"map {self.name!r} is of type {self.kind}, which has no keys and values to be read")
        return self._stride * load_n_cpus() if self.is_per_cpu else self.value_size

    def _keys(self) -> Iterator[bytes]:
        key = bpf.map_next_key(self.fd, None, self.key_size)
        seen = 0
        while key is not None and seen < 2 * self.max_entries:  # a table that changes may begin again
            yield key
            key, seen = bpf.map_next_key(self.fd, key, self.key_size), seen + 1

    def _value(self, data: bytes) -> Part | list[Part]:
        if not self.is_per_cpu:
            return _decoded(data)
        return [_decoded(data[at : at + self.value_size]) for at in range(0, len(data), self._stride)]

    def _encoded(self, item: Part, size: int) -> bytes:
        try:
            data = item.to_bytes(size, "little", signed=item < 0) if isinstance(item, int) else bytes(item)
        except (OverflowError, TypeError) as error:
            raise UsageError(f"{item!r} does not fit in the {size} bytes of map {self.name!r}") from error
        if len(data) != size:
            raise UsageError(f"map {self.name!r} takes {size} bytes here, not {len(data)}")
        return data

    def close(self) -> None:
        """Give the map back to the kernel, which keeps it as long as programs use it."""
        self.fd.close()

    def __repr__(self) -> str:
        return f"<map {self.name}: type {self.kind}, {self.max_entries} × {self.key_size} → {self.value_size} bytes>"


def _decoded(data: bytes) -> Part:
    return int.from_bytes(data, "little") if len(data) in _INTEGERS else data
