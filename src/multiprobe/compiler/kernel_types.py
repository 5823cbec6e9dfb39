"""What a program writes to name the kernel's types: `mp.struct("sock")`, `mp.container_of(…)`; in Python, their layout.

Inert values, cheap to import: nothing is looked up before a program that uses them is compiled, or before somebody asks
for a size. Must not know how programs read memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from multiprobe.compiler.layouts import read_enum, read_record
from multiprobe.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

    from multiprobe.compiler.context import Value
    from multiprobe.compiler.layouts import Member, Record
    from multiprobe.functions.kernel import Kernel


class Struct:
    """A struct or union of the kernel; from `mp.struct("sock")`, `mp.union(…)`.

    name: without the word struct; word: "struct" or "union"; kernel: the `mp.Kernel` to read, the running one by
        default

    In a program, calling it makes a typed pointer of an address: `mp.struct("sock")(ctx.arg(0)).sk_state`. In Python
        its
    attributes are the layout in that kernel's BTF. They raise NotSupportedError without BTF, UsageError for an unknown
    type.
    """

    __slots__ = ("_record", "kernel", "name", "word")

    def __init__(self, name: str, *, word: str = "struct", kernel: Kernel | None = None) -> None:
        self.name = _checked(name, word)
        self.word = word
        self.kernel = kernel
        self._record: Record | None = None

    def shape(self) -> tuple[str, str]:
        """Everything of the type that compiled code depends on, the kernel apart."""
        return self.word, self.name

    @property
    def record(self) -> Record:
        """The layout, as in the kernel's BTF."""
        if self._record is None:
            self._record = read_record(self.kernel, self.word, self.name)
        return self._record

    @property
    def size(self) -> int:
        """Size in bytes."""
        return self.record.size

    @property
    def members(self) -> tuple[Member, ...]:
        """All members in order, including those of unnamed structs and unions."""
        return self.record.members

    def offset(self, path: str) -> int:
        """Bytes from the start to the member `path`: `offset("__sk_common.skc_dport")`.

        UsageError suggests similar names.
        """
        return self.record.offset(path)

    @property
    def dtype(self) -> np.dtype[np.void]:
        """A structured NumPy dtype with the same names, offsets and size, to decode bytes with.

        Bit fields are left out; a union's members share an offset. Pointers are u8, enums integers, arrays subarrays,
        and everything else raw bytes.
        """
        return self.record.dtype()

    def __call__(self, address: int) -> Value:
        raise UsageError(f"a {self.word} {self.name} is in the kernel's memory: only programs can look at it")

    def __repr__(self) -> str:
        return f"mp.{self.word}({self.name!r})"


class Enum:
    """An enum of the kernel: `mp.enum("tcp_state").TCP_LISTEN` is a constant in programs, and an int in Python.

    name: without the word enum; kernel: the `mp.Kernel` whose BTF is read, the running one by default
    """

    __slots__ = ("_values", "kernel", "name")

    def __init__(self, name: str, *, kernel: Kernel | None = None) -> None:
        self.name = _checked(name, "enum")
        self.kernel = kernel
        self._values: dict[str, int] | None = None

    def shape(self) -> tuple[str, str]:
        """Everything of the type that compiled code depends on, the kernel apart."""
        return "enum", self.name

    @property
    def values(self) -> dict[str, int]:
        """All names with their numbers, in the kernel's order, from BTF.

        Raises NotSupportedError, UsageError as `Struct`.
        """
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
    """The kernel's struct `name`, a Struct: `mp.struct("task_struct")`. `kernel`: where Python reads its layout.

    Raises UsageError for a name with the word struct in it.
    """
    return Struct(name, kernel=kernel)


def union(name: str, *, kernel: Kernel | None = None) -> Struct:
    """The kernel's union `name`, a Struct. `kernel`: where Python reads its layout.

    Raises UsageError as `mp.struct`.
    """
    return Struct(name, word="union", kernel=kernel)


def enum(name: str, *, kernel: Kernel | None = None) -> Enum:
    """The kernel's enum `name`, an Enum. `kernel`: where Python reads its values. Raises UsageError as `mp.struct`."""
    return Enum(name, kernel=kernel)


def cast(type_: str, value: int) -> Value:
    """In a program: `value` as the C type `type_`, as in `mp.cast("struct sock *", x)`, `mp.cast("u16", x)`.

    In Python it raises UsageError.
    """
    raise _only_in_programs("cast")


def container_of(pointer: int, type_: str, member: str) -> Value:
    """In a program: a pointer to the struct of type `type_` whose `member` is at `pointer`.

    For example `mp.container_of(p, "struct inet_sock", "sk")`. In Python it raises UsageError.
    """
    raise _only_in_programs("container_of")


def address_of(member: int) -> Value:
    """In a program: a pointer to a member, `mp.address_of(p.a.b)`, without reading it.

    In Python it raises UsageError.
    """
    raise _only_in_programs("address_of")


def per_cpu(name: str, cpu: int | None = None) -> Value:
    """In a program: a pointer to the per-CPU variable `name` of this CPU, or of `cpu` (0 if there is no such CPU).

    In Python it raises UsageError.
    """
    raise _only_in_programs("per_cpu")


FUNCTIONS = (struct, union, enum, cast, container_of, address_of, per_cpu)
"""What makes a program depend on the kernel's types."""


def _only_in_programs(name: str) -> UsageError:
    return UsageError(f"mp.{name} looks at the kernel's memory: only programs can do that")


def _checked(name: object, word: str) -> str:
    if not isinstance(name, str) or not name.isidentifier():
        raise UsageError(f"{name!r} is no name of a {word}", hint=f'write mp.{word}("name"), without the word {word}')
    return name
