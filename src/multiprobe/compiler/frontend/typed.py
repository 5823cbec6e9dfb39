"""The kernel's types as the compiler sees them: names become types, types become kinds of values.

Knows BTF objects (vmlinux's and modules') and how a type is written down in a value's kind; must not know `ast`.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from hashlib import blake2b
from typing import TYPE_CHECKING

from multiprobe.errors import NotSupportedError, UsageError
from multiprobe.kernel.btf import format as fmt
from multiprobe.kernel.btf import layout
from multiprobe.kernel.btf.spelling import TAGGED, integer_name, parse_spelling
from multiprobe.maps.types import Integer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from multiprobe.functions.kernel import Kernel
    from multiprobe.kernel.btf.types import Btf

POINTER = "*"
POINTER_SIZE = 8
USER = "~"
"""What begins the name of a module whose types are in the memory of the process, not of the kernel."""
PROGRAM = f"{USER}@"
"""The same for the types of a program or library; a digest of them follows."""


@dataclass(frozen=True, slots=True)
class Ref:
    """A C type without qualifiers and typedefs: `stars` pointers to the type `type_id` of a module ("" is vmlinux).

    With USER in front of the module, values of the type are in the memory of the process.
    """

    type_id: int
    stars: int = 0
    module: str = ""

    @property
    def target(self) -> Ref:
        """What a pointer points to."""
        return Ref(self.type_id, self.stars - 1, self.module)

    @property
    def is_user(self) -> bool:
        """Whether what has this type is in the memory of the process."""
        return self.module.startswith(USER)

    @property
    def in_user_memory(self) -> Ref:
        """The same type in the memory of the process."""
        return self if self.is_user else Ref(self.type_id, self.stars, USER + self.module)

    @property
    def pointer(self) -> Ref:
        return Ref(self.type_id, self.stars + 1, self.module)

    @property
    def kind(self) -> str:
        """The kind of a value in a program that is a pointer of this type."""
        return f"{POINTER * self.stars}{self.module}:{self.type_id}"


def of_kind(kind: str) -> Ref | None:
    """The pointer type of a value of this kind, or None if it is a number."""
    if not kind.startswith(POINTER):
        return None
    module, _, number = kind.lstrip(POINTER).partition(":")
    return Ref(int(number), len(kind) - len(kind.lstrip(POINTER)), module)


class KernelTypes:
    """All types of one kernel, and of programs. The kernel's BTF is read when first asked for."""

    def __init__(self, load: Callable[[str], Btf | None], modules: Callable[[], Sequence[str]]) -> None:
        """`load` gives the BTF of a module ("" is vmlinux) or None, `modules` the names of those there are."""
        self._load = load
        self._modules = modules
        self._programs: dict[str, Btf] = {}
        self._known: dict[str, Btf] = {}
        self._fields: dict[tuple[str, int], dict[str, layout.StructField]] = {}
        self.is_used = False
        self.has_modules = False

    @classmethod
    def of(cls, kernel: Kernel) -> KernelTypes:
        """Those of a kernel, running or out of files."""

        def load(module: str) -> Btf | None:
            return kernel.btf_of(module) if module else kernel.btf

        return cls(load, lambda: [name for name in kernel.table.module_names if name])

    @classmethod
    def of_program(cls, btf: Btf) -> tuple[KernelTypes, str]:
        """The types of a program alone, and the name of the module that has them."""
        made = cls(lambda _: None, list)
        return made, made.add_program(btf)

    def add_program(self, btf: Btf) -> str:
        """Add the types of a program or library; returns the name of the module that has them from now on."""
        module = program_module(btf)
        self._programs[module] = btf
        return module

    def btf(self, module: str) -> Btf:
        """The types of a module, or of a program. Raises NotSupportedError if there are none."""
        if module.startswith(PROGRAM):
            return self._programs[module]
        module = module.removeprefix(USER)
        self.is_used = True
        self.has_modules |= bool(module)
        if module not in self._known:
            found = self._load(module)
            if found is None:
                raise NotSupportedError(f"module {module or 'vmlinux'} has no BTF", hint="it tells no types")
            self._known[module] = found
        return self._known[module]

    # Finding

    def ref(self, module: str, type_id: int) -> Ref:
        """A type of a BTF object, bare."""
        btf, stars = self.btf(module), 0
        while True:
            type_id = btf.strip(type_id)
            if btf.kind(type_id) != fmt.PTR:
                break
            stars += 1
            type_id = btf.target(type_id)
        if btf.kind(type_id) == fmt.FWD:
            owner, row = btf.owner(type_id)
            found = self._find("union" if owner.flags[row] else "struct", btf.name(type_id), module)
            if found is not None:
                return Ref(found.type_id, stars, found.module)
        return Ref(type_id, stars, module if type_id >= btf.first_id else USER if module.startswith(USER) else "")

    def named(self, word: str, name: str) -> Ref:
        """`struct NAME`, `union NAME`, `enum NAME`. UsageError names those that come close."""
        found = self._find(word, name)
        if found is None:
            raise self._unknown(f"{word} {name}", name, TAGGED[word])
        return found

    def spelled(self, text: str) -> Ref:
        """The type that C spells so. UsageError if there is none."""
        spelled = parse_spelling(text)
        stars = len(spelled.qualifiers) - 1
        if spelled.kinds == (fmt.VOID,):
            return Ref(0, stars)
        for word, kinds in TAGGED.items():
            if spelled.kinds == kinds:
                found = self.named(word, spelled.name)
                return Ref(found.type_id, stars, found.module)
        btf = self.btf("")
        ids = btf.type_ids(spelled.name, fmt.TYPEDEF, fmt.INT)
        ids += [one for one in btf.integer_ids() if integer_name(btf.name(one)) == spelled.name]
        if not ids:
            raise self._unknown(f"type {spelled.name}", spelled.name, (fmt.TYPEDEF, fmt.INT))
        found = self.ref("", ids[0])
        return Ref(found.type_id, found.stars + stars, found.module)

    def variable(self, name: str) -> tuple[int, Ref]:
        """The BTF id of a per-CPU variable of vmlinux, and its type."""
        btf = self.btf("")
        ids = btf.type_ids(name, fmt.VAR)
        if not ids:
            raise self._unknown(f"per-CPU variable {name}", name, (fmt.VAR,))
        return ids[0], self.ref("", btf.target(ids[0]))

    def _find(self, word: str, name: str, module: str = "") -> Ref | None:
        """A type by its name: of the program, if `module` is one, else of the kernel and its modules."""
        kinds = tuple(kind for kind in TAGGED[word] if kind != fmt.FWD)
        if module.startswith(PROGRAM):
            ids = self.btf(module).type_ids(name, *kinds)
            return Ref(ids[0], 0, module) if len(ids) == 1 else None
        found = self._find_in_kernel(name, kinds)
        return found.in_user_memory if found is not None and module.startswith(USER) else found

    def _find_in_kernel(self, name: str, kinds: tuple[int, ...]) -> Ref | None:
        ids = self.btf("").type_ids(name, *kinds)
        if ids:
            return Ref(ids[0])
        for module in self._modules():
            btf = self._load(module)
            ids = btf.type_ids(name, *kinds) if btf else []
            if ids:
                return Ref(ids[0], 0, module)
        return None

    def _unknown(self, what: str, name: str, kinds: tuple[int, ...]) -> UsageError:
        btf = self.btf("")
        names = {btf.name(int(one)) for kind in kinds for one in (btf.kinds == kind).nonzero()[0]}
        return UsageError(f"this kernel has no {what}", hint=close(name, names))

    # Knowing

    def scalar(self, ref: Ref) -> Scalar | None:
        """What integer a value of this type is; None if it is none."""
        if ref.stars or not ref.type_id:
            return None
        return layout.scalar(self.btf(ref.module), ref.type_id)

    def array(self, ref: Ref) -> tuple[Ref, int] | None:
        """The element's type and their number, if it is an array."""
        btf = self.btf(ref.module)
        if ref.stars or btf.kind(ref.type_id) != fmt.ARRAY:
            return None
        element, n = btf.array(ref.type_id)
        return self.ref(ref.module, element), n

    def is_record(self, ref: Ref) -> bool:
        return not ref.stars and layout.is_record(self.btf(ref.module), ref.type_id)

    def is_function(self, ref: Ref) -> bool:
        return not ref.stars and self.btf(ref.module).kind(ref.type_id) == fmt.FUNC_PROTO

    def size(self, ref: Ref) -> int:
        """In bytes; 0 for what has none."""
        return POINTER_SIZE if ref.stars else self.btf(ref.module).size(ref.type_id)

    def field(self, ref: Ref, name: str) -> tuple[layout.StructField, Ref]:
        """A member of a struct or union, and its type. UsageError names those that come close."""
        known = self._fields_of(ref)
        if name not in known:
            raise UsageError(f"{self.spell(ref)} has no member {name!r}", hint=close(name, set(known)))
        return known[name], self.ref(ref.module, known[name].type_id)

    def _fields_of(self, ref: Ref) -> dict[str, layout.StructField]:
        """The members of a struct or union by name, the first of each. Read once: a few structs are asked again and
        again."""
        key = (ref.module, ref.type_id)
        if key not in self._fields:
            found: dict[str, layout.StructField] = {}
            for field in layout.fields(self.btf(ref.module), ref.type_id):
                found.setdefault(field.name, field)
            self._fields[key] = found
        return self._fields[key]

    def enumerators(self, ref: Ref) -> dict[str, int]:
        return self.btf(ref.module).enumerators(ref.type_id)

    def spell(self, ref: Ref) -> str:
        """As C spells it."""
        text = self.btf(ref.module).type_name(ref.type_id)
        return f"{text} {'*' * ref.stars}" if ref.stars else text


def program_module(btf: Btf) -> str:
    """The name of the module with the types of a program: equal for equal types."""
    return PROGRAM + blake2b(btf.words.tobytes() + btf.strings, digest_size=16).hexdigest()


Scalar = layout.Scalar


def integer_of(scalar: Scalar) -> Integer:
    """The language's type for an integer of the kernel's."""
    if scalar.is_bool:
        return Integer("bool", 1, False)
    return Integer(f"{'i' if scalar.is_signed else 'u'}{8 * scalar.size}", scalar.size, scalar.is_signed)


def close(name: str, names: set[str]) -> str:
    """Advice: the names that resemble the one that wasn't found."""
    found = get_close_matches(name, names - {""}, n=3, cutoff=0.6)
    return f"close to it: {', '.join(found)}" if found else ""
