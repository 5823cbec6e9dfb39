"""`FunctionTable`: all functions of a kernel and its modules, as columns, with lookup by name and by address.

The columns are memoryviews, so opening a cached table copies nothing and needs no NumPy. `build` fills the table,
`cache` stores it, `verdict` interprets its facts.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from multiprobe.kernel.mechanism import Mechanism

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Literal

    Code = Literal["Q", "I", "H", "B"]

# Column name and memoryview format. `name_offsets` has n + 1 items, `aliases` its own number, all others n.
COLUMNS: tuple[tuple[str, Code], ...] = (
    ("addresses", "Q"),
    ("name_offsets", "I"),
    ("facts", "I"),
    ("btf_ids", "I"),
    ("by_name", "I"),
    ("aliases", "I"),
    ("modules", "H"),
    ("mechanisms", "B"),
    ("return_mechanisms", "B"),
    ("call_offsets", "B"),
    ("slots", "B"),
    ("returns", "B"),
)
NO_SLOTS = 255


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a kernel is read from: the files below `root` if it is running, else the copies named by `files`.

    files: paths of the copies ("kallsyms", "available", "btf", "blacklist", "config"); None for the running kernel
    module_btfs: paths of the copies of modules' BTF, by module; release: what `uname -r` says of a kernel out of files
    modules: the running kernel's modules when it was read, with their addresses
    """

    root: str = "/"
    files: Mapping[str, str | None] | None = None
    module_btfs: Mapping[str, str] = field(default_factory=dict)
    release: str = ""
    modules: Mapping[str, str] = field(default_factory=dict)


class FunctionTable:
    """The functions of one kernel; a function is named by its row.

    The first `n_distinct` rows are sorted by address, one for each. Further names of the same addresses follow: row
    `n_distinct + i` is another name of row `aliases[i]`.

    names: all names, each followed by a newline; name i is `names[name_offsets[i] : name_offsets[i + 1] - 1]`
    addresses: of the symbols; all 0 where the kernel hides them (`is_zeroed`)
    modules: index into `module_names`; 0 is vmlinux, with the name ""
    facts: what is known of each function, bits of `verdict`
    mechanisms, return_mechanisms: masks of those that can attach at entry and return (0 for unsafe functions)
    btf_ids: type id in the BTF of its module (or vmlinux); 0 is none
    call_offsets: offset of ftrace's call site from the symbol: 4 after an ENDBR, else 0
    slots: 8-byte argument slots, 255 where there is no BTF
    returns: what the return register holds, as `kernel.btf_format.RETURNS_BITS` and its neighbours encode it
    by_name: the rows in order of their names
    evidence: facts about the whole: how the table came to be, and what stood in the way
    origin: where the kernel was read from; kernel: the Kernel that read it, once there is one
    """

    __slots__ = (
        "addresses",
        "aliases",
        "btf_ids",
        "by_name",
        "call_offsets",
        "evidence",
        "facts",
        "kernel",
        "mechanisms",
        "module_names",
        "modules",
        "n",
        "n_distinct",
        "name_offsets",
        "names",
        "origin",
        "return_mechanisms",
        "returns",
        "slots",
    )

    addresses: memoryview
    name_offsets: memoryview
    facts: memoryview
    btf_ids: memoryview
    by_name: memoryview
    aliases: memoryview
    modules: memoryview
    mechanisms: memoryview
    return_mechanisms: memoryview
    call_offsets: memoryview
    slots: memoryview
    returns: memoryview

    def __init__(
        self,
        *,
        names: bytes,
        module_names: tuple[str, ...],
        columns: Mapping[str, memoryview],
        evidence: Mapping[str, str],
    ) -> None:
        self.names = names
        self.module_names = module_names
        self.evidence = dict(evidence)
        self.origin = Origin()
        self.kernel: object = None
        for name, _ in COLUMNS:
            setattr(self, name, columns[name])
        self.n = len(self.addresses)
        self.n_distinct = self.n - len(self.aliases)

    def __len__(self) -> int:
        return self.n

    @property
    def is_zeroed(self) -> bool:
        """Did the kernel hide all addresses from whoever read its symbols?"""
        return self.evidence.get("addresses") == "hidden"

    @property
    def offers(self) -> Mechanism:
        """The mechanisms that the kernel was built with, by the evidence of its own symbols."""
        return Mechanism(int(self.evidence.get("offers", Mechanism.KERNEL)))

    def raw_name(self, row: int) -> bytes:
        """The name of one function, as bytes."""
        return self.names[self.name_offsets[row] : self.name_offsets[row + 1] - 1]

    def name(self, row: int) -> str:
        """The name of one function."""
        return self.raw_name(row).decode("ascii", "backslashreplace")

    def module(self, row: int) -> str:
        """The module that a function lives in, "" for vmlinux."""
        return self.module_names[self.modules[row]]

    def all_names(self) -> list[bytes]:
        """All names, in row order."""
        return self.names[:-1].split(b"\n") if self.n else []

    def rows_of_name(self, name: str) -> list[int]:
        """The rows of all functions called exactly `name`, in row order."""
        raw = name.encode("ascii", "replace")
        start = bisect_left(self.by_name, raw, key=self.raw_name)
        end = start
        while end < self.n and self.raw_name(self.by_name[end]) == raw:
            end += 1
        return sorted(self.by_name[start:end])

    def rows_of_prefix(self, prefix: bytes) -> list[int]:
        """The rows of all functions whose name starts with `prefix` (not empty), in row order."""
        start = bisect_left(self.by_name, prefix, key=self.raw_name)
        end = bisect_left(self.by_name, _after(prefix), lo=start, key=self.raw_name)
        return sorted(self.by_name[start:end])

    def row_at_offset(self, position: int) -> int:
        """The row whose name covers byte `position` of `names`."""
        return bisect_right(self.name_offsets, position) - 1

    def row_of_address(self, address: int) -> int | None:
        """The row whose symbol is exactly at `address`, or None."""
        row = bisect_left(self.addresses, address, hi=self.n_distinct)
        is_found = row < self.n_distinct and self.addresses[row] == address and not self.is_zeroed
        return row if is_found else None

    def row_around(self, address: int) -> int | None:
        """The row of the function that `address` lies in or after, or None below all of them."""
        row = bisect_right(self.addresses, address, hi=self.n_distinct) - 1
        return None if row < 0 or self.is_zeroed else row

    def distinct_row(self, row: int) -> int:
        """The row itself, or the one that it is another name of."""
        return row if row < self.n_distinct else self.aliases[row - self.n_distinct]

    def distinct_rows(self, rows: Sequence[int]) -> Sequence[int]:
        """`distinct_row` of each."""
        return rows if max(rows, default=0) < self.n_distinct else list(map(self.distinct_row, rows))

    def size(self, row: int) -> int:
        """At most how long a function is: up to the next function, padding included; 0 for the last one."""
        after = self.distinct_row(row) + 1
        return self.addresses[after] - self.addresses[row] if after < self.n_distinct else 0


def _after(prefix: bytes) -> bytes:
    """The first string after all those that start with `prefix` (names are ASCII, so that a byte can be added to)."""
    return prefix[:-1] + bytes((prefix[-1] + 1,))
