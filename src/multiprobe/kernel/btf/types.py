"""The types of the kernel and its modules, read from BTF: type records, C spelling, and functions by their types.

`load_btf` reads /sys/kernel/btf. Imports NumPy: import this module only where BTF is really read.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from multiprobe.errors import NotPermittedError, NotSupportedError
from multiprobe.kernel.btf import format as fmt
from multiprobe.kernel.btf.declaring import declare
from multiprobe.kernel.btf.functions import function_columns, param_columns, prototype_columns, prototypes_taking
from multiprobe.kernel.btf.matching import matching_types
from multiprobe.kernel.btf.records import TypeRecords
from multiprobe.kernel.btf.spelling import parse_spelling

if TYPE_CHECKING:
    from multiprobe.kernel.btf.columns import Flags
    from multiprobe.kernel.btf.functions import Functions, Params, Prototypes

BTF_DIRECTORY = "/sys/kernel/btf"


class Btf(TypeRecords):
    """The types of one BTF object, vmlinux or a module on top of it, and its functions. Made by `Btf.parse`."""

    @classmethod
    def parse(cls, data: bytes, base: Btf | None = None) -> Btf:
        """Parse a BTF file; a module's needs vmlinux's as `base`. `DataError` says at which byte it is broken."""
        return cls(fmt.parse_sections(data, is_split=base is not None), base)

    @cached_property
    def functions(self) -> Functions:
        """The functions of this object (not the base's)."""
        return function_columns(self, [part.prototypes for part in self.parts()])

    def functions_taking(self, spelling: str, *, position: int | None = None) -> Flags:
        """For each of `functions`: does it take a parameter of this type (at `position`, counted from 0)?

        A qualifier that the spelling doesn't name may be there: `struct sock *` also finds `const struct sock *`.
        Typedefs match by their own name only. `UsageError` when the spelling can't be read.
        """
        matches = self.types_spelled(spelling)
        return self.gather(lambda b: prototypes_taking(b, b.params, matches, position), self.functions.prototypes)

    def functions_returning(self, spelling: str) -> Flags:
        """For each of `functions`: does it return this type? Matching is that of `functions_taking`."""
        returned = self.gather(lambda b: b.targets, self.functions.prototypes)
        found: Flags = self.types_spelled(spelling)[returned]
        return found

    def types_spelled(self, spelling: str) -> Flags:
        """For every type id, the base's included: is it the type that C spells so (see `functions_taking`)?"""
        return matching_types(self, parse_spelling(spelling))

    @cached_property
    def params(self) -> Params:
        """The parameters of all own prototypes, flat."""
        return param_columns(self)

    @cached_property
    def prototypes(self) -> Prototypes:
        """What each own prototype says."""
        return prototype_columns(self, self.params)

    def type_name(self, type_id: int) -> str:
        """A type as C spells it: `struct sock *`, `const char *`, `int (*)(void *)`."""
        return declare(self, type_id)

    def signature(self, type_id: int) -> str:
        """A function as C declares it: `int ip_rcv(struct sk_buff *skb, struct net_device *dev)`."""
        return declare(self, self.target(type_id), self.name(type_id))


def load_btf(name: str = "vmlinux", *, base: Btf | None = None, directory: str = BTF_DIRECTORY) -> Btf:
    """Read and parse the BTF of the running kernel, or of the module `name` on top of `base`."""
    path = f"{directory}/{name}"
    try:
        with open(path, "rb", buffering=0) as file:
            data = file.read()
    except FileNotFoundError as error:
        raise NotSupportedError(
            f"{path} doesn't exist", hint="the kernel needs CONFIG_DEBUG_INFO_BTF=y (modules: _MODULES=y as well)"
        ) from error
    except PermissionError as error:
        raise NotPermittedError(f"{path} can't be read", hint="run as root") from error
    return Btf.parse(data, base)
