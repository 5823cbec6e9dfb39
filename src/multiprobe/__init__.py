"""multiprobe: batch attachment of BPF programs to thousands of Linux kernel functions.

The façade: every public name, imported when it is first used. Two of them (`attach`, `program`) are also the names of
packages inside; here they are always the functions.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multiprobe import inspect as inspect
    from multiprobe.attach.attaching import attach as attach
    from multiprobe.attach.attachment import Attachment as Attachment
    from multiprobe.attach.completeness import Gap as Gap
    from multiprobe.attach.objects import BpfObject as BpfObject
    from multiprobe.attach.objects import load_object as load_object
    from multiprobe.attach.report import Drop as Drop
    from multiprobe.attach.report import Failure as Failure
    from multiprobe.attach.report import Report as Report
    from multiprobe.attach.report import Verified as Verified
    from multiprobe.errors import AttachError as AttachError
    from multiprobe.errors import CompileError as CompileError
    from multiprobe.errors import DataError as DataError
    from multiprobe.errors import IncompleteError as IncompleteError
    from multiprobe.errors import KernelError as KernelError
    from multiprobe.errors import MultiprobeError as MultiprobeError
    from multiprobe.errors import NoMatchError as NoMatchError
    from multiprobe.errors import NotPermittedError as NotPermittedError
    from multiprobe.errors import NotSupportedError as NotSupportedError
    from multiprobe.errors import PatternError as PatternError
    from multiprobe.errors import UsageError as UsageError
    from multiprobe.errors import VerifierError as VerifierError
    from multiprobe.errors import VmError as VmError
    from multiprobe.errors import VmLostError as VmLostError
    from multiprobe.functions.kernel import Kernel as Kernel
    from multiprobe.functions.sets import Function as Function
    from multiprobe.functions.sets import FunctionSet as FunctionSet
    from multiprobe.functions.sets import Refusal as Refusal
    from multiprobe.maps.buckets import linear as linear
    from multiprobe.maps.buckets import log2 as log2
    from multiprobe.maps.events import Event as Event
    from multiprobe.maps.events import Events as Events
    from multiprobe.maps.histogram import Histogram as Histogram
    from multiprobe.maps.specs import Array as Array
    from multiprobe.maps.specs import Hash as Hash
    from multiprobe.maps.specs import LruHash as LruHash
    from multiprobe.maps.specs import PerFunction as PerFunction
    from multiprobe.maps.stacks import StackTraces as StackTraces
    from multiprobe.maps.types import array as array
    from multiprobe.maps.types import bool_ as bool_
    from multiprobe.maps.types import bytes_ as bytes_
    from multiprobe.maps.types import i8 as i8
    from multiprobe.maps.types import i16 as i16
    from multiprobe.maps.types import i32 as i32
    from multiprobe.maps.types import i64 as i64
    from multiprobe.maps.types import string as string
    from multiprobe.maps.types import u8 as u8
    from multiprobe.maps.types import u16 as u16
    from multiprobe.maps.types import u32 as u32
    from multiprobe.maps.types import u64 as u64
    from multiprobe.program.builtins import kernel_bytes as kernel_bytes
    from multiprobe.program.builtins import kernel_string as kernel_string
    from multiprobe.program.builtins import user_string as user_string
    from multiprobe.program.kernel_types import Enum as Enum
    from multiprobe.program.kernel_types import Struct as Struct
    from multiprobe.program.kernel_types import address_of as address_of
    from multiprobe.program.kernel_types import cast as cast
    from multiprobe.program.kernel_types import container_of as container_of
    from multiprobe.program.kernel_types import enum as enum
    from multiprobe.program.kernel_types import per_cpu as per_cpu
    from multiprobe.program.kernel_types import struct as struct
    from multiprobe.program.kernel_types import union as union
    from multiprobe.program.programs import function as function
    from multiprobe.program.programs import program as program
    from multiprobe.records import Records as Records

__version__ = "0.1.0.dev0"

_HOMES = {
    "multiprobe.attach.attaching": "attach",
    "multiprobe.attach.attachment": "Attachment",
    "multiprobe.attach.completeness": "Gap",
    "multiprobe.attach.report": "Drop Failure Report Verified",
    "multiprobe.errors": "AttachError CompileError DataError IncompleteError KernelError MultiprobeError NoMatchError"
    " NotPermittedError NotSupportedError PatternError UsageError VerifierError VmError VmLostError",
    "multiprobe.attach.objects": "BpfObject load_object",
    "multiprobe.functions.kernel": "Kernel",
    "multiprobe.functions.sets": "Function FunctionSet Refusal",
    "multiprobe.maps.buckets": "linear log2",
    "multiprobe.maps.events": "Event Events",
    "multiprobe.maps.histogram": "Histogram",
    "multiprobe.maps.specs": "Array Hash LruHash PerFunction",
    "multiprobe.maps.stacks": "StackTraces",
    "multiprobe.maps.types": "array bool_ bytes_ i8 i16 i32 i64 string u8 u16 u32 u64",
    "multiprobe.program.builtins": "kernel_bytes kernel_string user_string",
    "multiprobe.program.kernel_types": "Enum Struct address_of cast container_of enum per_cpu struct union",
    "multiprobe.program.programs": "function program",
    "multiprobe.records": "Records",
}
_ROOMS = ("inspect",)  # packages that are public as such: mp.inspect.links()
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}

__all__ = [*sorted(_HOME_OF), "__version__"]


class _Facade(type(sys)):  # type: ignore[misc]
    """This module's class: the import system sets a package's attribute to each submodule that it imports, which would
    put the packages `attach` and `program` in the place of the functions."""

    def __setattr__(self, name: str, item: object) -> None:
        if not (name in _HOME_OF and isinstance(item, type(sys))):
            super().__setattr__(name, item)


sys.modules[__name__].__class__ = _Facade


def __getattr__(name: str) -> object:
    """Import a public name's home."""
    if name in _ROOMS:
        return __import__(f"{__name__}.{name}", fromlist=[name])
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    item = getattr(__import__(home, fromlist=[name]), name)
    globals()[name] = item
    return item


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF, *_ROOMS})
