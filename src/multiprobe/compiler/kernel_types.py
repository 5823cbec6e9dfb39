"""What a program writes to name the kernel's types: `mp.struct("sock")`, `mp.container_of(…)`; in Python, their layout.

Inert values, cheap to import: nothing is looked up before a program that uses them is compiled, or before somebody asks
for a size. Must not know how programs read memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from multiprobe.compiler.layouts import read_enum, read_record
from multiprobe.errors import UsageError

if TYPE_CHECKING:
    from typing import Any

    import numpy as np

    from multiprobe.compiler.layouts import Member, Record
    from multiprobe.functions.kernel import Kernel


class Struct:
    """A struct or union of the kernel, by its name: `mp.struct("sock")`.

    In a program, calling it makes a typed pointer of an address: `mp.struct("sock")(ctx.arg(0)).sk_state`.
    In Python it tells the layout on `kernel` (the running one, if not given), in the kernel's words. Each of these
    reads the kernel's BTF, and raises NotSupportedError without it, UsageError if there is no such type.
    """

    __slots__ = ("_record", "kernel", "name", "word")

    def __init__(self, name: str, *, word: str = "struct", kernel: Kernel | None = None) -> None:
        self.name = _checked(name, word)
        self.word = word
        self.kernel = kernel
        self._record: Record | None = None

    def shape(self) -> tuple[str, str]:
        """All that the code of a program depends on, the kernel apart."""
        return self.word, self.name

    @property
    def record(self) -> Record:
        if self._record is None:
            self._record = read_record(self.kernel, self.word, self.name)
        return self._record

    @property
    def size(self) -> int:
        """In bytes."""
        return self.record.size

    @property
    def members(self) -> tuple[Member, ...]:
        """All members in order, members of unnamed structs and unions included."""
        return self.record.members

    def offset(self, path: str) -> int:
        """Where a member begins, in bytes: `offset("__sk_common.skc_dport")`. UsageError names what comes close."""
        return self.record.offset(path)

    @property
    def dtype(self) -> np.dtype[Any]:
        """A structured dtype with the same names, offsets and size, to decode bytes with.

        Bit fields are left out (NumPy has none), and of a union's members all are there, at one offset. Pointers are
        u8, enums integers, arrays subarrays; what NumPy has no form for is raw bytes.
        """
        return self.record.dtype()

    def __call__(self, address: Any) -> Any:
        raise UsageError(f"a {self.word} {self.name} is in the kernel's memory: only programs can look at it")

    def __repr__(self) -> str:
        return f"mp.{self.word}({self.name!r})"


class Enum:
    """An enum of the kernel: `mp.enum("tcp_state").TCP_LISTEN` is a constant in programs, and a number in Python."""

    __slots__ = ("_values", "kernel", "name")

    def __init__(self, name: str, *, kernel: Kernel | None = None) -> None:
        self.name = _checked(name, "enum")
        self.kernel = kernel
        self._values: dict[str, int] | None = None

    def shape(self) -> tuple[str, str]:
        return "enum", self.name

    @property
    def values(self) -> dict[str, int]:
        """All names with their numbers, in the kernel's order."""
        if self._values is None:
            self._values = read_enum(self.kernel, self.name)
        return self._values

    def __getattr__(self, name: str) -> int:
        if name.startswith("__"):
            raise AttributeError(name)
        found = self.values.get(name)
        if found is None:
            raise AttributeError(f"enum {self.name} has no {name!r}")
        return found

    def __repr__(self) -> str:
        return f"mp.enum({self.name!r})"


def struct(name: str, *, kernel: Kernel | None = None) -> Struct:
    """A struct of the kernel, as its sources call it: `mp.struct("task_struct")`."""
    return Struct(name, kernel=kernel)


def union(name: str, *, kernel: Kernel | None = None) -> Struct:
    """A union of the kernel, as its sources call it."""
    return Struct(name, word="union", kernel=kernel)


def enum(name: str, *, kernel: Kernel | None = None) -> Enum:
    """An enum of the kernel, as its sources call it."""
    return Enum(name, kernel=kernel)


def cast(type_: str, value: Any) -> Any:
    """In a program: `value` as a C type, `mp.cast("struct sock *", x)`, `mp.cast("int", x)`, `mp.cast("u16 *", x)`."""
    raise _only_in_programs("cast")


def container_of(pointer: Any, type_: str, member: str) -> Any:
    """In a program: a pointer to the struct whose `member` is at `pointer`: `mp.container_of(p, "struct x", "a.b")`."""
    raise _only_in_programs("container_of")


def address_of(member: Any) -> Any:
    """In a program: a pointer to a member, `mp.address_of(p.a.b)`, which is not read."""
    raise _only_in_programs("address_of")


def per_cpu(name: str, cpu: Any = None) -> Any:
    """In a program: a pointer to a per-CPU variable of the kernel's, this CPU's or another's (0: no such CPU)."""
    raise _only_in_programs("per_cpu")


FUNCTIONS = (struct, union, enum, cast, container_of, address_of, per_cpu)
"""What makes a program depend on the kernel's types."""


def _only_in_programs(name: str) -> UsageError:
    return UsageError(f"mp.{name} looks at the kernel's memory: only programs can do that")


def _checked(name: object, word: str) -> str:
    if not isinstance(name, str) or not name.isidentifier():
        raise UsageError(f"{name!r} is no name of a {word}", hint=f'write mp.{word}("name"), without the word {word}')
    return name
