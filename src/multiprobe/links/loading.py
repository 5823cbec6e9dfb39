"""Loads the instances of a program that one attachment needs: compiled for each kind of hook, linked with its maps."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

from multiprobe.compiler.backend.debug_info import debug_info
from multiprobe.compiler.code import KFUNC
from multiprobe.compiler.shape import SLEEPABLE
from multiprobe.compiler.verifier import explain
from multiprobe.errors import KernelError, NotPermittedError, VerifierError
from multiprobe.functions.kernel import Kernel
from multiprobe.maps.store import MapSet
from multiprobe.syscalls import bpf
from multiprobe.uapi.bpf import F_SLEEPABLE
from multiprobe.uapi.btf import FUNC_INFO_SIZE, KIND_FUNC, LINE_INFO_SIZE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from multiprobe.binaries.mixed import AnyFunctionSet
    from multiprobe.compiler.backend.debug_info import DebugInfo
    from multiprobe.compiler.code import Code
    from multiprobe.kernel.mechanism import Mechanism
    from multiprobe.links.mechanisms.linked import Hook
    from multiprobe.links.objects import ObjectStore
    from multiprobe.links.plan.programs import ProgramPlan
    from multiprobe.syscalls.fd import FileDescriptor


_Key = tuple[str, str, str | None]
"""What the code depends on in one attachment: the kind of hook, the side of a session, where a site's arguments are."""
_NOT_SLEEPABLE = " is not sleepable"
"""The verifier's words for a function on which no sleepable program may run (kernel/bpf/verifier.c)."""


class Loader(Protocol):
    """What an attachment loads its programs with: a `ProgramLoader`, or an object's."""

    paired: Mechanism

    @property
    def may_misfit(self) -> bool: ...

    @property
    def reads_arguments(self) -> bool: ...

    @property
    def functions(self) -> AnyFunctionSet: ...

    @property
    def pid(self) -> int | None: ...

    @property
    def when(self) -> str: ...

    @property
    def store(self) -> MapSet | ObjectStore: ...

    def prepare(self, context: str, session_side: str = "", arguments: str | None = None) -> None:
        """Compile the program for that kind of hook, and for sites of USDT probes that keep their arguments there."""

    def function_from(self, context: str) -> str:
        """Where programs of that kind take ctx.function from: "ip" or "cookie"."""

    def load(self, hook: Hook, context: str, *, gate: Mapping[str, int] | None = None) -> FileDescriptor:
        """Load one more instance of the program."""

    def release(self) -> None:
        """Give back what loaded programs no longer need."""

    def close(self) -> None:
        """Give everything back."""


class ProgramLoader:
    """The maps of one attachment, and instances of its program linked with them. Owns the maps (`store`)."""

    may_misfit = False

    def __init__(self, planned: ProgramPlan) -> None:
        self.planned = planned
        self.program = planned.program
        self.functions = planned.functions
        self.when = planned.when
        self.tasks = planned.tasks
        self.paired = planned.paired
        self.reads_arguments = not planned.asks_for.isdisjoint(("arg", "arg_count"))
        self.store = MapSet(planned.maps)
        self.store.set_own(os.getpid())
        self._debug: dict[_Key, tuple[FileDescriptor, DebugInfo]] = {}

    @property
    def pid(self) -> int | None:
        """The process, if only one is measured, without its children."""
        return self.tasks.only

    def function_from(self, context: str) -> str:
        """Where programs of that kind take ctx.function from: "ip" or "cookie"."""
        return self.planned.function_from(context)

    def load(self, hook: Hook, context: str, *, gate: Mapping[str, int] | None = None) -> FileDescriptor:
        """Load one more instance of the program. `gate` has the values of its gate, if any."""
        code = self.planned.code(context, hook.session_side, hook.arguments)
        specs = [self.program.maps[name] for name in code.maps]
        values = self.store.values(specs) | self._kernel_functions(code)
        values |= gate or {}
        values |= self.tasks.values()
        flags = F_SLEEPABLE if self.program.sleepable and context in SLEEPABLE else 0
        btf, info = self._debug.get((context, hook.session_side, hook.arguments), (None, None))
        try:
            return hook.load(
                code.link(values),
                name=self.program.name,
                flags=flags,
                btf_fd=btf.fileno() if btf else 0,
                func_info=(FUNC_INFO_SIZE, info.func_info if info else b""),
                line_info=(LINE_INFO_SIZE, info.line_info if info else b""),
            )
        except VerifierError as error:
            if flags and _NOT_SLEEPABLE in error.log:
                raise KernelError("loading a sleepable program", error.errno, subject=self.program.name) from None
            raise explain(error, code, self.program) from None

    def prepare(self, context: str, session_side: str = "", arguments: str | None = None) -> None:
        """Compile the program for that kind of hook, and load the debug information that its instances share until
        `release`."""
        code, key = self.planned.code(context, session_side, arguments), (context, session_side, arguments)
        if key in self._debug:
            return
        python = self.program.function.__code__
        info = debug_info(code, name=self.program.name, file=python.co_filename, first_line=python.co_firstlineno)
        try:
            self._debug[key] = bpf.btf_load(info.btf), info
        except (KernelError, NotPermittedError):
            return  # programs run without it: only words would be missing

    def _kernel_functions(self, code: Code) -> dict[str, int]:
        """The BTF ids of the kernel functions that the code calls, by relocation key ("kfunc:NAME")."""
        keys = {relocation.key for relocation in code.relocations if relocation.kind == KFUNC}
        if not keys:
            return {}
        names, kernel = {key: key.removeprefix("kfunc:") for key in keys}, self.planned.kernel
        if kernel is None:  # which has read its functions; to do so for a program of user space takes a second
            types = Kernel().btf_of("")
            return {key: ids[0] for key, name in names.items() if types and (ids := types.type_ids(name, KIND_FUNC))}
        table = kernel.table
        return {key: table.btf_ids[row] for key, name in names.items() for row in table.rows_of_name(name)[:1]}

    def release(self) -> None:
        """Give back what loaded programs no longer need."""
        for btf, _ in self._debug.values():
            btf.close()
        self._debug.clear()

    def close(self) -> None:
        """Give everything back, the maps too."""
        self.release()
        self.store.close()
