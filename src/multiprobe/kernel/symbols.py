"""Reads the kernel's symbols, /proc/kallsyms, into columns.

It excludes code generated at run time (BPF programs, ftrace trampolines). `parse_kallsyms` is pure; `load_kallsyms`
reads the file. NumPy is imported when a file is parsed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from multiprobe.errors import DataError, NotPermittedError, NotSupportedError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

KALLSYMS = "/proc/kallsyms"
BPF_MODULE = "bpf"
BUILTIN_PREFIX = "__builtin__"


@dataclass(frozen=True, slots=True)
class Symbols:
    """Every line of kallsyms, in the file's order, in columns of the same length n.

    names: all names, each followed by a newline; name i is `names[name_offsets[i] : name_offsets[i + 1] - 1]`
    name_offsets: uint32, n + 1 of them
    addresses: uint64; all 0 where the kernel hides them (`is_zeroed`)
    types: one letter each, as in nm(1): t and T are text, w and W weak
    modules: uint16, index into `module_names`; 0 is vmlinux and has the name ""
    """

    names: bytes
    name_offsets: NDArray[np.uint32]
    addresses: NDArray[np.uint64]
    types: bytes
    modules: NDArray[np.uint16]
    module_names: list[str]
    is_zeroed: bool

    def __len__(self) -> int:
        return len(self.types)

    def name(self, row: int) -> str:
        """The name of one symbol."""
        return self.names[self.name_offsets[row] : self.name_offsets[row + 1] - 1].decode("ascii", "backslashreplace")

    def generated_modules(self) -> list[int]:
        """The indices of `module_names` that stand for code made at run time (BPF programs, trampolines)."""
        return [index for index, name in enumerate(self.module_names) if is_generated(name)]

    def is_generated(self) -> NDArray[np.bool_]:
        """For each symbol: is it code made at run time, and no function of the kernel or a module?"""
        import numpy as np

        flags = np.zeros(len(self.module_names), dtype=np.bool_)
        flags[self.generated_modules()] = True
        generated: NDArray[np.bool_] = flags[self.modules]
        return generated

    def is_text(self) -> NDArray[np.bool_]:
        """For each symbol: does its type letter say code (tTwW)?"""
        import numpy as np

        letters = np.zeros(256, dtype=np.bool_)
        letters[list(b"tTwW")] = True
        text: NDArray[np.bool_] = letters[np.frombuffer(self.types, dtype=np.uint8)]
        return text


def is_generated(module: str) -> bool:
    """Does this name in kallsyms' module column stand for code made at run time?"""
    return module == BPF_MODULE or module.startswith(BUILTIN_PREFIX)


def parse_kallsyms(data: bytes) -> Symbols:
    """Parse kallsyms: lines of `address type name`, in modules followed by a tab and `[module]`; else `DataError`."""
    import numpy as np

    from multiprobe.kernel import text_columns as columns

    text, starts, line_ends = columns.split_lines(data, what="kallsyms")
    width = columns.hex_width(data)
    short = np.flatnonzero(line_ends - starts < width + 4)
    if len(short):
        raise columns.complain("kallsyms", data, int(starts[short[0]]), "no `address type name`")
    spaced = (text[starts + width] == columns.SPACE) & (text[starts + width + 2] == columns.SPACE)
    if not spaced.all():
        raise columns.complain("kallsyms", data, int(starts[np.argmin(spaced)]), "no `address type name`")
    addresses, wrong = columns.hex_numbers(text, starts, width)
    if wrong >= 0:
        raise columns.complain("kallsyms", data, int(starts[wrong]), "the address isn't hexadecimal")

    tabs = np.flatnonzero(text == columns.TAB)
    stray = _stray_tab(text, starts + width + 3, line_ends, tabs, np.searchsorted(line_ends, tabs))
    if stray >= 0:
        raise columns.complain("kallsyms", data, stray, "no `[module]` after the tab")
    named = columns.name_columns(text, starts + width + 3, line_ends, tabs)
    return Symbols(
        names=named.names,
        name_offsets=named.name_offsets,
        addresses=addresses,
        types=text[starts + width + 1].tobytes(),
        modules=named.modules,
        module_names=named.module_names,
        is_zeroed=len(starts) > 0 and not addresses.any(),
    )


def _stray_tab(
    text: NDArray[np.uint8],
    name_starts: NDArray[np.int64],
    line_ends: NDArray[np.int64],
    tabs: NDArray[np.int64],
    rows: NDArray[np.intp],
) -> int:
    """The first tab, of those in lines `rows`, that doesn't start the one `[module]` after a name; -1: none."""
    ends = line_ends[rows]
    good = (tabs > name_starts[rows]) & (ends - tabs > 3)
    good[1:] &= rows[1:] != rows[:-1]
    good &= (text[tabs + 1] == ord("[")) & (text[ends - 1] == ord("]"))
    return -1 if good.all() else int(tabs[good.argmin()])


def load_kallsyms(path: str = KALLSYMS) -> Symbols:
    """Read and parse kallsyms."""
    try:
        with open(path, "rb", buffering=0) as file:
            data = file.read()
    except FileNotFoundError as error:
        raise NotSupportedError(f"{path} doesn't exist", hint="the kernel needs CONFIG_KALLSYMS=y") from error
    except PermissionError as error:
        raise NotPermittedError(f"{path} can't be read", hint="run as root") from error
    if not data:
        raise DataError(f"{path} is empty", hint="the kernel needs CONFIG_KALLSYMS=y")
    return parse_kallsyms(data)
