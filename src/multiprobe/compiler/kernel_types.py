"""What a program writes to name types of the kernel, and of programs: `mp.struct("sock")`, `mp.container_of(…)`.

In Python they have their layout.
Inert values, cheap to import: nothing is looked up before a program that uses them is compiled, or before somebody asks
for a size. Must not know how programs read memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from multiprobe.compiler.frontend.typed import program_module
from multiprobe.compiler.layouts import read_enum, read_record
from multiprobe.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

    from multiprobe.compiler.context import Value
    from multiprobe.compiler.layouts import HasTypes, Member, Record
    from multiprobe.functions.kernel import Kernel


class Struct:
    """A struct or union of the kernel or of a program; from `mp.struct("sock")`, `mp.union(…)`.

    name: without the word struct; word: "struct" or "union"; kernel: the `mp.Kernel` to read, the running one by
        default; binary: the `mp.Binary` that has it, or None: it is in the memory of the process then

    In a program, calling it makes a typed pointer of an address: `mp.struct("sock")(ctx.arg(0)).sk_state`. In Python
        its
    attributes are the layout in that kernel's BTF, or in the binary's DWARF. They raise NotSupportedError without it,
    UsageError for an unknown type, DataError for a damaged file.
    """

    __slots__ = ("_record", "binary", "kernel", "name", "word")

    def __init__(
        self, name: str, *, word: str = "struct", kernel: Kernel | None = None, binary: HasTypes | None = None
    ) -> None:
        self.name = _checked(name, word, is_qualified=binary is not None)
        self.binary = binary
        self.word = word
        self.kernel = kernel
        self._record: Record | None = None

    def shape(self) -> tuple[str, ...]:
        """Everything of the type that compiled code depends on, the kernel apart."""
        return self.word, self.name, *_digest(self)

    @property
    def record(self) -> Record:
        """The layout, as in the kernel's BTF or the binary's DWARF."""
        if self._record is None:
            self._record = read_record(self)
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
        memory = "the kernel's memory" if self.binary is None else "the memory of a process"
        raise UsageError(f"a {self.word} {self.name} is in {memory}: only programs can look at it")

    def __repr__(self) -> str:
        return f"mp.{self.word}({self.name!r})"


class Enum:
    """An enum of the kernel: `mp.enum("tcp_state").TCP_LISTEN` is a constant in programs, and an int in Python.

    name: without the word enum; kernel: the `mp.Kernel` whose BTF is read, the running one by default; binary: the
        `mp.Binary` that has it, or None
    """

    __slots__ = ("_values", "binary", "kernel", "name")
    word = "enum"

    def __init__(self, name: str, *, kernel: Kernel | None = None, binary: HasTypes | None = None) -> None:
        self.name = _checked(name, "enum", is_qualified=binary is not None)
        self.binary = binary
        self.kernel = kernel
        self._values: dict[str, int] | None = None

    def shape(self) -> tuple[str, ...]:
        """Everything of the type that compiled code depends on, the kernel apart."""
        return "enum", self.name, *_digest(self)

    @property
    def values(self) -> dict[str, int]:
        """All names with their numbers, in the kernel's order, from BTF.

        Raises NotSupportedError, UsageError as `Struct`.
        """
        if self._values is None:
            self._values = read_enum(self)
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


def struct(name: str, *, kernel: Kernel | None = None, binary: HasTypes | None = None) -> Struct:
    """The kernel's struct `name`, a Struct: `mp.struct("task_struct")`. `kernel`: where Python reads its layout.

    binary: an `mp.Binary`: its struct, or typedef of one, from DWARF, `mp.struct("PyObject", binary=python)`. Members
        are read from the memory of the process then
    Raises UsageError for a name with the word struct in it.
    """
    return Struct(name, kernel=kernel, binary=binary)


def union(name: str, *, kernel: Kernel | None = None, binary: HasTypes | None = None) -> Struct:
    """The kernel's union `name`, a Struct. `kernel`: where Python reads its layout; `binary` as for `mp.struct`.

    Raises UsageError as `mp.struct`.
    """
    return Struct(name, word="union", kernel=kernel, binary=binary)


def enum(name: str, *, kernel: Kernel | None = None, binary: HasTypes | None = None) -> Enum:
    """The kernel's enum `name`, an Enum. `kernel`: where Python reads its values; `binary` as for `mp.struct`.

    Raises UsageError as `mp.struct`.
    """
    return Enum(name, kernel=kernel, binary=binary)


def user(pointer: int) -> Value:
    """In a program: a typed pointer into the memory of the process, `mp.user(mp.cast("struct iovec *", address))`.

    What it points to is read there, not in the kernel's memory. In Python it raises UsageError.
    """
    raise _only_in_programs("user")


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


FUNCTIONS = (struct, union, enum, cast, container_of, address_of, per_cpu, user)
"""What makes a program depend on the kernel's types."""


def _only_in_programs(name: str) -> UsageError:
    return UsageError(f"mp.{name} looks at the kernel's memory: only programs can do that")


def _digest(spec: Struct | Enum) -> tuple[str, ...]:
    """What tells the types of a binary from others; nothing for the kernel's."""
    if spec.binary is None:
        return ()
    btf, type_id = spec.binary.find_type(spec.word, spec.name)
    return program_module(btf), str(type_id)


def _checked(name: object, word: str, *, is_qualified: bool) -> str:
    is_known = isinstance(name, str) and (name.isidentifier() or (is_qualified and bool(name) and name.isprintable()))
    if not isinstance(name, str) or not is_known or name.startswith(f"{word} "):
        raise UsageError(f"{name!r} is no name of a {word}", hint=f'write mp.{word}("name"), without the word {word}')
    return name
