"""Loads the instances of a program that one attachment needs: compiled for each kind of hook, linked with its maps."""

from __future__ import annotations

import os
from array import array
from itertools import chain
from typing import TYPE_CHECKING, Protocol

from multiprobe.binaries.mixed import kernel_of, kernel_part, parts_of
from multiprobe.binaries.sets import UserFunctionSet
from multiprobe.compiler.backend.debug_info import debug_info
from multiprobe.compiler.code import KFUNC
from multiprobe.compiler.compiling import compile_program
from multiprobe.compiler.frontend.arguments import find_arguments, kernel_parameters
from multiprobe.compiler.frontend.typed import KernelTypes
from multiprobe.compiler.shape import ANY_NUMBER, MAX_ARGUMENTS, PER_FUNCTION, SLEEPABLE, Shape
from multiprobe.compiler.verifier import explain
from multiprobe.errors import KernelError, NotPermittedError, NotSupportedError, VerifierError
from multiprobe.functions.kernel import Kernel
from multiprobe.kernel.mechanism import Mechanism
from multiprobe.kernel.tasks import ALL_TASKS, Tasks
from multiprobe.maps.cpus import load_n_cpus
from multiprobe.maps.index import build_index
from multiprobe.maps.layout import find_hot_maps
from multiprobe.maps.store import MapSet
from multiprobe.syscalls import bpf
from multiprobe.uapi.bpf import F_SLEEPABLE
from multiprobe.uapi.btf import FUNC_INFO_SIZE, KIND_FUNC, LINE_INFO_SIZE

if TYPE_CHECKING:
    from array import array
    from collections.abc import Iterator, Mapping

    from multiprobe.binaries.mixed import AnyFunctionSet
    from multiprobe.compiler.backend.debug_info import DebugInfo
    from multiprobe.compiler.code import Code
    from multiprobe.compiler.frontend.arguments import Labelled
    from multiprobe.compiler.program import Program
    from multiprobe.compiler.shape import Argument
    from multiprobe.links.mechanisms.linked import Hook
    from multiprobe.links.objects import ObjectStore
    from multiprobe.maps.index import FunctionIndex
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
    """The maps of one attachment, and instances of its program linked with them. Owns the maps (`store`).

    functions: in the order of their indices; cookies: the user's, in the same order, or None
    contexts: the kinds of hook that the plan uses ("kprobe_multi", "kprobe", "tracing", "uprobe")
    has_gate: instances can be replaced while attached, and their hits are counted
    paired: mask of the mechanisms in use for which a session is two programs
    """

    may_misfit = False

    def __init__(
        self,
        program: Program,
        functions: AnyFunctionSet,
        cookies: array[int] | None,
        *,
        contexts: set[str],
        when: str,
        tasks: Tasks = ALL_TASKS,
        has_gate: bool = False,
        paired: Mechanism = Mechanism.NONE,
    ) -> None:
        self.program = program
        self.functions = functions
        self.when = when
        self.tasks = tasks
        self.has_gate = has_gate
        self.paired = paired
        asks_for = program.asks_for | ({"function"} if has_gate else set())
        returns = functions.returns() if "ret" in asks_for and when != "entry" else b""
        self.returns = returns[0] if len(set(returns)) == 1 else PER_FUNCTION if returns else Shape().returns
        self.arguments = self._arguments() if "args" in asks_for else None
        has_arg = "arg" in asks_for and contexts - {"tracing"}  # trampolines know the number of arguments
        limits = functions.argument_limits() if has_arg else b""
        self.n_arguments = _range_of(limits) if limits else Shape().n_arguments
        has_limits = self.n_arguments[0] < self.n_arguments[1]
        if self.returns == PER_FUNCTION or has_limits:
            asks_for |= {"function"}
        self.reads_arguments = not asks_for.isdisjoint(("arg", "arg_count"))
        self.has_cookies = cookies is not None or "cookie" in asks_for
        index = self._index(contexts, asks_for)
        has_cookie_table = "cookie" in asks_for and (index is not None or "uprobe" in contexts)
        self.index_shift = index.shift if index else Shape().index_shift
        n_functions, n_cpus = len(functions), load_n_cpus()
        self.hot_maps = find_hot_maps(program.maps, n_functions, n_cpus)
        self.store = MapSet(
            program.maps.values(),
            n_functions=n_functions,
            n_cpus=n_cpus,
            index=index,
            cookies=self._cookie_table(cookies) if has_cookie_table else None,
            arg_counts=functions.slots() if "arg_count" in asks_for and contexts - {"tracing"} else None,
            arg_limits=limits if has_limits else None,
            returns=returns if self.returns == PER_FUNCTION else None,
            has_hits=has_gate,
            has_sessions=bool(paired),
        )
        self.store.set_own(os.getpid())
        self._codes: dict[_Key, Code] = {}
        self._debug: dict[_Key, tuple[FileDescriptor, DebugInfo]] = {}

    @property
    def pid(self) -> int | None:
        """The process, if only one is measured, without its children."""
        return self.tasks.only

    def _index(self, contexts: set[str], asks_for: frozenset[str]) -> FunctionIndex | None:
        wanted = asks_for & {"function", "cookie", "arg_count"}
        by_address = "kprobe_multi" in contexts or (self.has_cookies and "function" in asks_for)
        first, functions = kernel_part(self.functions)
        return build_index(functions.addresses(), base=first) if functions and wanted and by_address else None

    def _arguments(self) -> tuple[Argument, ...]:
        types = KernelTypes.of(self._kernel() or Kernel())
        each = (
            user_parameters(part, types) if isinstance(part, UserFunctionSet) else kernel_parameters(part, types)
            for part in parts_of(self.functions)
        )
        return find_arguments(self.program, chain.from_iterable(each), types)

    def _cookie_table(self, cookies: array[int] | None) -> array[int]:
        return array("Q", bytes(8 * len(self.functions))) if cookies is None else cookies

    def function_from(self, context: str) -> str:
        """Where programs of that kind take ctx.function from: the link's cookie, unless cookies are the user's."""
        if context == "uprobe":
            return "cookie"
        return "ip" if context == "kprobe_multi" or self.has_cookies else "cookie"

    def load(self, hook: Hook, context: str, *, gate: Mapping[str, int] | None = None) -> FileDescriptor:
        """Load one more instance of the program. `gate` has the values of its gate, if any."""
        code = self.code(context, hook.session_side, hook.arguments)
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
        code, key = self.code(context, session_side, arguments), (context, session_side, arguments)
        if key in self._debug:
            return
        python = self.program.function.__code__
        info = debug_info(code, name=self.program.name, file=python.co_filename, first_line=python.co_firstlineno)
        try:
            self._debug[key] = bpf.btf_load(info.btf), info
        except (KernelError, NotPermittedError):
            return  # programs run without it: only words would be missing

    def code(self, context: str, session_side: str = "", arguments: str | None = None) -> Code:
        """The program compiled for that kind of hook, from the disk cache if it is there."""
        key = (context, session_side, arguments)
        if key not in self._codes:
            shape = Shape(
                function_from=self.function_from(context),
                has_pid=self.tasks.pid is not None and self.tasks.marks is None,
                has_marks=self.tasks.marks is not None,
                leaves_out_own=not self.tasks.has_own and self.tasks.marks is None,
                is_in_namespace=self.tasks.namespace is not None,
                index_shift=self.index_shift,
                has_gate=self.has_gate,
                returns=self.returns,
                arguments=self.arguments,
                n_arguments=Shape().n_arguments if context == "tracing" else self.n_arguments,
                session_side=session_side,
                is_sleepable=self.program.sleepable and context in SLEEPABLE,
                hot_maps=self.hot_maps,
                operands=arguments,
            )
            self._codes[key] = compile_program(
                self.program,
                context=context,
                when=self.when,
                shape=shape,
                kernel=self._kernel(),
                programs=[part.table.types.btf for part in parts_of(self.functions)
                          if isinstance(part, UserFunctionSet) and part.table.types],
            )  # fmt: skip
        return self._codes[key]

    def _kernel_functions(self, code: Code) -> dict[str, int]:
        """The BTF ids of the kernel functions that the code calls, by relocation key ("kfunc:NAME")."""
        keys = {relocation.key for relocation in code.relocations if relocation.kind == KFUNC}
        if not keys:
            return {}
        names, kernel = {key: key.removeprefix("kfunc:") for key in keys}, self._kernel()
        if kernel is None:  # which has read its functions; to do so for a program of user space takes a second
            types = Kernel().btf_of("")
            return {key: ids[0] for key, name in names.items() if types and (ids := types.type_ids(name, KIND_FUNC))}
        table = kernel.table
        return {key: table.btf_ids[row] for key, name in names.items() for row in table.rows_of_name(name)[:1]}

    def _kernel(self) -> Kernel | None:
        """The kernel whose functions are attached; None if only functions of binaries are."""
        return kernel_of(self.functions)

    def release(self) -> None:
        """Give back what loaded programs no longer need."""
        for btf, _ in self._debug.values():
            btf.close()
        self._debug.clear()

    def close(self) -> None:
        """Give everything back, the maps too."""
        self.release()
        self.store.close()


def user_parameters(functions: UserFunctionSet, types: KernelTypes) -> Iterator[Labelled]:
    """The labels of functions of a binary, and the parameters that can be read.

    Raises NotSupportedError without types.
    """
    known = functions.table.types
    if known is None:
        raise NotSupportedError(
            "ctx.args needs the types of the functions, which were not read",
            hint="choose them by binary.functions(…, types=True), or use ctx.arg(n)",
        )
    module = types.add_program(known.btf)
    for place, prototype in enumerate(functions.prototypes()):
        found = {}
        if prototype is not None:
            for one, where in zip(known.btf.parameters(prototype.type_id), prototype.places, strict=False):
                if one.name and where.position is not None:
                    found[one.name] = (where.position, types.ref(module, one.type_id))
        yield functions.label(place), found


def _range_of(limits: bytes) -> tuple[int, int]:
    """The smallest and the largest number; ANY_NUMBER for all that make the same code."""
    fewest, most = (ANY_NUMBER if n >= MAX_ARGUMENTS else n for n in (min(limits), max(limits)))
    return fewest, most
