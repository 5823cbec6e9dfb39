"""Types of a fake kernel: BTF for vmlinux and its modules, and the functions by their ids in it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from btf_writer import BtfWriter

from fake_kernel.functions import FakeFunction
from multiprobe.arch import native


@dataclass
class Types:
    """The BTF of vmlinux (`name` "vmlinux") or of a module, and its functions by id."""

    name: str
    data: bytes
    functions: dict[int, FakeFunction]
    ids: dict[int, int] = field(init=False)

    def __post_init__(self) -> None:
        self.ids = {function.address: number for number, function in self.functions.items()}


def _basic(writer: BtfWriter) -> dict[str, int]:
    ids = {"void": 0, "int": writer.signed("int", 4), "long": writer.signed("long int", 8)}
    ids["char"] = writer.signed("char", 1)
    ids["struct pair"] = writer.struct("pair", 24, ("one", ids["long"], 0), ("two", ids["long"], 64))
    ids["struct sock"] = writer.struct("sock", 8, ("number", ids["long"], 0))
    ids["struct sock *"] = writer.pointer(ids["struct sock"])
    ids["u64"] = writer.add("typedef", "u64", writer.integer("long long unsigned int", 8))
    name = writer.array(ids["char"], 16, ids["int"])
    writer.struct("task_struct", 24, ("pid", ids["int"], 0), ("tgid", ids["int"], 32), ("comm", name, 64))
    ids["struct pt_regs"] = _registers(writer, ids)
    return ids


def _registers(writer: BtfWriter, ids: dict[str, int]) -> int:
    """What a program reads of `struct pt_regs`: the arguments of a system call."""
    names = native().system_call_arguments
    if names[0].endswith("]"):
        of_all = writer.array(ids["u64"], len(names), ids["int"])
        return writer.struct("pt_regs", 8 * len(names), (names[0].partition("[")[0], of_all, 0))
    return writer.struct("pt_regs", 8 * len(names), *((name, ids["long"], 64 * n) for n, name in enumerate(names)))


def make_types(functions: Iterable[FakeFunction]) -> list[Types]:
    """The BTF objects that the kernel shows: vmlinux's first."""
    functions = list(functions)
    writer = BtfWriter()
    basic = _basic(writer)
    found = [_written("vmlinux", writer, basic, [one for one in functions if not one.module])]
    first, base = writer._next, len(writer._strings)
    for module in dict.fromkeys(one.module for one in functions if one.module):
        own = BtfWriter(first_id=first, string_base=base)
        found.append(_written(module, own, basic, [one for one in functions if one.module == module]))
    return found


def _written(name: str, writer: BtfWriter, basic: dict[str, int], functions: list[FakeFunction]) -> Types:
    numbers: dict[int, FakeFunction] = {}
    known: set[str] = set()
    for function in functions:
        if not function.has_btf or function.name in known:  # pahole keeps one of several namesakes
            continue
        known.add(function.name)
        parameters = [(f"arg{n}", basic[kind]) for n, kind in enumerate(function.parameters)]
        numbers[writer.function(function.name, basic[function.returns], *parameters)] = function
    return Types(name, writer.data(), numbers)
