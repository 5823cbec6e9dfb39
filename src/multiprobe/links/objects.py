"""Loads BPF object files (`prog.bpf.o`) whose programs `mp.attach` can attach.

libbpf opens, relocates and loads the file. `mp.attach` chooses functions, mechanism and cookies, and loads more
instances where a mechanism needs its own.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from multiprobe.cachedir import path_of
from multiprobe.elf import EM_BPF, machine
from multiprobe.errors import DataError, NotSupportedError, UsageError
from multiprobe.functions.kernel import Kernel
from multiprobe.kernel.mechanism import Mechanism, mechanism_names
from multiprobe.links.mechanisms.linked import Hook
from multiprobe.links.object_variables import Variables, find_variables, named
from multiprobe.links.plan.usable import has_fsession, usable_mechanisms
from multiprobe.maps.foreign import ForeignMap
from multiprobe.syscalls import libbpf
from multiprobe.syscalls.fd import Closing, FileDescriptor
from multiprobe.syscalls.libbpf import LoadedProgram, Wish
from multiprobe.uapi.bpf import AttachType, ProgType

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import NoReturn

    from multiprobe.functions.kernel import Kernel
    from multiprobe.functions.sets import FunctionSet

KPROBES = Mechanism.KPROBE_MULTI | Mechanism.KPROBE
TRAMPOLINES = Mechanism.TRACING_MULTI | Mechanism.TRAMPOLINE
STAND_IN = "vfs_read"
"""A function that every kernel has: where a program without a target of its own is loaded for, to be loaded again."""
_SLEEPABLE = 1 << 4  # BPF_F_SLEEPABLE


@dataclass(frozen=True, slots=True)
class Section:
    """The program of a section: its side, the mechanisms that can attach it, and its types for libbpf."""

    when: str
    mechanisms: Mechanism
    kind: int
    attach_type: int
    needs: Mechanism = Mechanism.NONE
    """Mechanisms of which the kernel must have one for the program to be loaded with `attach_type`."""


SECTIONS = {
    "kprobe": Section("entry", KPROBES, ProgType.KPROBE, 0),
    "kretprobe": Section("return", KPROBES, ProgType.KPROBE, 0),
    "kprobe.multi": Section("entry", KPROBES, ProgType.KPROBE, AttachType.TRACE_KPROBE_MULTI),
    "kretprobe.multi": Section("return", KPROBES, ProgType.KPROBE, AttachType.TRACE_KPROBE_MULTI),
    "kprobe.session": Section(
        "session", Mechanism.KPROBE_MULTI, ProgType.KPROBE, AttachType.TRACE_KPROBE_SESSION, Mechanism.KPROBE_MULTI
    ),
    "fentry": Section("entry", Mechanism.TRAMPOLINE, ProgType.TRACING, AttachType.TRACE_FENTRY),
    "fexit": Section("return", Mechanism.TRAMPOLINE, ProgType.TRACING, AttachType.TRACE_FEXIT),
    "fsession": Section("session", Mechanism.TRAMPOLINE, ProgType.TRACING, AttachType.TRACE_FSESSION),
    "fentry.multi": Section(
        "entry", TRAMPOLINES, ProgType.TRACING, AttachType.TRACE_FENTRY_MULTI, Mechanism.TRACING_MULTI
    ),
    "fexit.multi": Section(
        "return", TRAMPOLINES, ProgType.TRACING, AttachType.TRACE_FEXIT_MULTI, Mechanism.TRACING_MULTI
    ),
    "fsession.multi": Section(
        "session", TRAMPOLINES, ProgType.TRACING, AttachType.TRACE_FSESSION_MULTI, Mechanism.TRACING_MULTI
    ),
}
_ALONE: dict[int, AttachType] = {
    AttachType.TRACE_FENTRY_MULTI: AttachType.TRACE_FENTRY,
    AttachType.TRACE_FEXIT_MULTI: AttachType.TRACE_FEXIT,
    AttachType.TRACE_FSESSION_MULTI: AttachType.TRACE_FSESSION,
}
"""What a program for many functions is loaded as where the kernel has no such thing."""


def parse_section(name: str) -> tuple[Section | None, str, bool]:
    """(what it means, or None if `mp.attach` has no use for it; what it names after the "/"; whether it may sleep)."""
    kind, _, target = name.removeprefix("?").partition("/")
    base = kind.removesuffix(".s")
    found = SECTIONS.get(base)
    is_sleepable = base != kind
    if is_sleepable and (found is None or found.kind != ProgType.TRACING):
        return None, target, True
    return found, target.removeprefix("+"), is_sleepable


class ObjectProgram:
    """One program of an object, for `mp.attach`. It belongs to its object, and can't be attached once that is closed.

    name, section: as in the file; when: the side where it runs ("entry", "return", "session"), or None
    mechanisms: mask of those that can carry it
    target: what its section names after the "/", which `mp.attach` doesn't look at
    """

    def __init__(self, loaded: LoadedProgram, *, why_not: str = "") -> None:
        found, self.target, self._is_sleepable = parse_section(loaded.section)
        self.name = loaded.name
        self.section = loaded.section
        self.when = found.when if found else None
        self.mechanisms = found.mechanisms if found else Mechanism.NONE
        self._loaded = loaded
        self._why_not = why_not or ("" if found else f"section {loaded.section!r} is for nothing that mp.attach does")

    @property
    def is_loaded(self) -> bool:
        """Whether the kernel has it."""
        return self._loaded.fd is not None

    def require_usable(self, usable: Mechanism, when: str) -> Mechanism:
        """The mechanisms in `usable` that can carry it. Raises NotSupportedError, UsageError."""
        if self._why_not:
            raise NotSupportedError(
                f"program {self.name!r} can't be attached: {self._why_not}",
                hint=f"sections that can be attached: {', '.join(SECTIONS)}",
            )
        if when != self.when:
            raise UsageError(
                f"program {self.name!r} runs at the {self.when} side, as its section {self.section!r} says, not {when}",
                hint="leave out when=",
            )
        if self._loaded.fd is None or self._loaded.fd.is_closed:
            raise UsageError(f"the object of program {self.name!r} is closed", hint="load it again: mp.load_object(…)")
        if not usable & self.mechanisms:
            raise NotSupportedError(
                f"program {self.name!r} (section {self.section!r}) can be attached by "
                f"{' or '.join(mechanism_names(self.mechanisms))}, and none of them is usable here",
                hint="`multiprobe doctor` shows what this kernel has",
            )
        return usable & self.mechanisms

    def load(self, hook: Hook) -> FileDescriptor:
        """Load one more instance of the program; the caller owns it."""
        loaded = self._loaded
        if hook == Hook(loaded.kind, loaded.expected_attach_type):
            assert loaded.fd is not None
            return FileDescriptor(os.dup(loaded.fd.fileno()), f"program {self.name}")
        return hook.load(loaded.insns, name=self.name, flags=_SLEEPABLE if self._is_sleepable else 0)

    def make_loader(self, functions: FunctionSet, *, when: str, pid: int | None, has_gate: bool) -> ObjectLoader:
        """What `mp.attach` loads instances with. Raises UsageError for what can't be built into compiled code."""
        if pid is not None:
            raise UsageError(
                f"pid= can't be built into program {self.name!r}", hint="its own code must check the process"
            )
        if has_gate:
            raise UsageError(f"program {self.name!r} can't be replaced while it runs, as budget= and careful= would")
        return ObjectLoader(self, functions, when=when)

    def __repr__(self) -> str:
        return f"<program {self.name} of section {self.section!r}>"


class ObjectLoader:
    """Loads the instances of an object's program that one attachment needs (see `loading.Loader`)."""

    paired = Mechanism.NONE
    may_misfit = True
    reads_arguments = False
    pid = None

    def __init__(self, program: ObjectProgram, functions: FunctionSet, *, when: str) -> None:
        self.program = program
        self.functions = functions
        self.when = when
        self.store = ObjectStore(program)

    def prepare(self, context: str, session_side: str = "", arguments: str | None = None) -> None:
        """Does nothing: objects are compiled."""

    def release(self) -> None:
        """Does nothing."""

    def function_from(self, context: str) -> str:
        """ "ip": the kernel's cookies are the user's."""
        return "ip"

    def load(self, hook: Hook, context: str, *, gate: Mapping[str, int] | None = None) -> FileDescriptor:
        """Load one more instance."""
        return self.program.load(hook)

    def close(self) -> None:
        """Nothing is owned."""


class ObjectStore:
    """In place of an attachment's maps: the object owns its maps, and its programs can't be paused."""

    can_idle = False

    def __init__(self, program: ObjectProgram) -> None:
        self.program = program

    def map(self, spec: object) -> NoReturn:
        """Raises UsageError: maps are found in the object."""
        raise UsageError(
            f"{spec!r} is used by no program of this attachment", hint="an object's maps: obj.maps['name']"
        )

    @property
    def control(self) -> NoReturn:
        """Raises UsageError: a watchdog switches programs off by it."""
        raise UsageError(f"program {self.program.name!r} can't be switched off, as watchdog= would")

    def activate(self) -> None:
        """The program acts from its first link on."""

    def deactivate(self) -> None:
        """The program acts until its last link is gone."""

    def losses(self) -> dict[str, int]:
        """Empty: the programs of objects count none."""
        return {}

    def close(self) -> None:
        """Nothing is owned."""


class _Maps(dict[str, ForeignMap]):
    """Maps by their names. Those of variables can also be asked for by the file's whole name: of NAME.bss, libbpf keeps
    eight characters of NAME, with `_` for what a map's name may not contain.

    prefix: the file's name up to its first dot
    """

    def __init__(self, maps: Mapping[str, ForeignMap], *, prefix: str) -> None:
        super().__init__(maps)
        self._prefix = prefix

    def __missing__(self, name: str) -> ForeignMap:
        prefix, dot, section = name.partition(".")
        if not dot or prefix != self._prefix:
            raise KeyError(name)
        cut = re.sub(r"[^A-Za-z0-9_.]", "_", prefix[: max(8, 15 - len(dot + section))])
        found = {known for known in self if known.endswith(dot + section) and known.partition(".")[0]}
        matching = [known for known in found if cut.startswith(known.partition(".")[0])]
        if len(matching) != 1:
            raise KeyError(name)
        return self[matching[0]]


class BpfObject(Closing):
    """A loaded object file; from `mp.load_object`. Close it, or leave its `with` block, to free its programs and maps.

    name: of the file; programs, maps: by their names in it. Attachments of its programs stay attached when it is
        closed.
    variables: the values of global variables (.data, .bss, .rodata), by name: `variables[name]` reads one,
        `variables[name] = value` writes it; integers, enums, pointers and bool are numbers, everything else bytes
    """

    def __init__(
        self, name: str, programs: dict[str, ObjectProgram], maps: dict[str, ForeignMap], variables: Variables
    ) -> None:
        self.name = name
        self.programs = programs
        self.maps = maps
        self.variables = variables

    def close(self) -> None:
        """Close the descriptors of programs and maps; the kernel keeps those that attachments use."""
        for program in self.programs.values():
            if program._loaded.fd:
                program._loaded.fd.close()
        for one in self.maps.values():
            one.close()

    def __repr__(self) -> str:
        return f"<object {self.name}: programs {', '.join(self.programs)}; maps {', '.join(self.maps)}>"


def load_object(
    path: str | os.PathLike[str],
    *,
    programs: Iterable[str] | None = None,
    variables: Mapping[str, int | bytes] | None = None,
    kernel: Kernel | None = None,
) -> BpfObject:
    """Load a BPF object file (ELF, from `clang -target bpf`) with libbpf: relocations, CO-RE and maps included.

    path: the file; kernel: the `mp.Kernel` whose mechanisms count, the running one if not given
    programs: the names of the programs to load, also of those in sections that begin with "?"; all others if not given
    variables: first values of global variables by name, constants (.rodata) included: ints, or bytes of their size

    Loads each program whose section says how to attach it and whose kind this kernel has; attaching another one says
    why it was not loaded. Needs the system's libbpf 1.0 or newer.

    Raises OSError (the file can't be read), UsageError (no such program or variable, a value that does not fit),
    DataError (not a BPF object), NotSupportedError (no libbpf), NotPermittedError, VerifierError, KernelError.
    """
    name = os.path.basename(path_of(path))
    data = _read(path, name)
    prefix = name.partition(".")[0]
    given = {} if variables is None else dict(variables)
    choice = _Choice(kernel, _names(programs))

    def initialize(types: bytes) -> Iterator[tuple[str, int, bytes]]:
        choice.require_known()
        known = find_variables(types) if given else []
        for one, value in given.items():
            variable = named(known, one)
            yield variable.section, variable.offset, variable.encode(value)

    loaded, maps, types = libbpf.load(data, prefix, choice, initialize)
    found = _Maps({one.name: ForeignMap(one) for one in maps}, prefix=prefix)
    made = {one.name: ObjectProgram(one, why_not=choice.why_not.get(one.name, "")) for one in loaded}
    return BpfObject(name, made, found, Variables(types, found))


def _names(programs: Iterable[str] | None) -> frozenset[str] | None:
    if programs is None:
        return None
    if isinstance(programs, str | bytes) or not isinstance(programs, Iterable):
        raise UsageError(f"invalid programs={programs!r}: expected a list of names")
    return frozenset(programs)


def _read(path: str | os.PathLike[str], name: str) -> bytes:
    """The file, if it can be an object for BPF: libbpf isn't asked about anything else."""
    with open(path, "rb") as file:
        data = file.read()
    if machine(data) != EM_BPF:
        raise DataError(f"{name} is an object file for another machine than BPF", hint="compile it with -target bpf")
    return data


class _Choice:
    """Says how libbpf is to load each program, and keeps why it isn't to load one. Asks the kernel only if it must."""

    def __init__(self, kernel: Kernel | None, names: frozenset[str] | None = None) -> None:
        self._kernel = kernel
        self._names = names
        self._known: list[str] = []
        self.why_not: dict[str, str] = {}

    def require_known(self) -> None:
        """Raise UsageError for a name that no program has."""
        if unknown := sorted((self._names or frozenset()).difference(self._known)):
            raise UsageError(
                f"the object has no program {unknown[0]!r}", hint=f"its programs: {', '.join(self._known) or 'none'}"
            )

    def __call__(self, name: str, section: str, kind: int, attach_type: int, may_load: bool) -> Wish | None:
        self._known.append(name)
        found, target, _ = parse_section(section)
        if self._names is not None and name not in self._names:
            self.why_not[name] = "it was left out: programs= does not name it"
            return Wish(False, kind, attach_type)
        if self._names is None and not may_load:
            self.why_not[name] = f"its section begins with '?': load it by programs=[{name!r}]"
            return Wish(False, kind, attach_type)
        if found is None:
            if kind:
                return None if may_load else Wish(True, kind, attach_type)
            self.why_not[name] = f"neither libbpf nor mp.attach knows its section {section!r}"
            return Wish(False, kind, attach_type)
        if found.needs and not self._offers(found.when) & found.needs:
            return self._without_batches(name, found)
        if found.attach_type == AttachType.TRACE_FSESSION and not self._has_fsession:
            self.why_not[name] = "this kernel has no sessions by single trampolines"
            return Wish(False, found.kind, found.attach_type)
        if found.kind == ProgType.TRACING and not found.needs and not target:
            self.why_not[name] = f"its section {section!r} names no function to load it for"
            return Wish(False, found.kind, found.attach_type)
        is_new = found.attach_type == AttachType.TRACE_FSESSION  # libbpf 1.1 does not know whom its section names
        return Wish(True, found.kind, found.attach_type, target if is_new else None)

    def _without_batches(self, name: str, found: Section) -> Wish:
        alone = _ALONE.get(found.attach_type)
        if alone is not None and (found.when != "session" or self._has_fsession):
            return Wish(True, found.kind, alone, STAND_IN)
        names = " or ".join(mechanism_names(found.needs))
        self.why_not[name] = f"this kernel has no {names} for programs that run at {found.when}"
        return Wish(False, found.kind, found.attach_type)

    @property
    def _has_fsession(self) -> bool:
        self._kernel = self._kernel or Kernel()
        return has_fsession(self._kernel)

    def _offers(self, when: str) -> Mechanism:
        self._kernel = self._kernel or Kernel()
        return usable_mechanisms(self._kernel, when=when)
