"""What the program of one attachment is compiled to, and which maps it is linked with, before any of it is made."""

from __future__ import annotations

from array import array
from copy import copy
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING

from multiprobe.binaries.mixed import kernel_of, kernel_part, parts_of
from multiprobe.binaries.sets import UserFunctionSet
from multiprobe.compiler.compiling import compile_program
from multiprobe.compiler.frontend.arguments import find_arguments, kernel_parameters
from multiprobe.compiler.frontend.typed import KernelTypes
from multiprobe.compiler.shape import ANY_NUMBER, MAX_ARGUMENTS, PER_FUNCTION, SLEEPABLE, Shape
from multiprobe.errors import NotSupportedError
from multiprobe.functions.kernel import Kernel
from multiprobe.kernel.mechanism import Mechanism
from multiprobe.kernel.tasks import ALL_TASKS, Tasks
from multiprobe.maps.index import build_index, find_shift
from multiprobe.maps.layout import find_hot_maps
from multiprobe.maps.set_spec import MapSetSpec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TypeAlias

    from multiprobe.binaries.mixed import AnyFunctionSet
    from multiprobe.compiler.code import Code
    from multiprobe.compiler.frontend.arguments import Labelled
    from multiprobe.compiler.program import Program
    from multiprobe.compiler.shape import Argument
    from multiprobe.links.plan.plan import LinkPlan

    Codes: TypeAlias = dict[tuple[str, Shape], Code]


@dataclass(frozen=True, slots=True)
class ProgramSettings:
    """How a program is made for one attachment, whatever the functions.

    tasks: the processes in which it runs
    has_gate: instances can be replaced while attached, and their hits are counted
    codes: what was compiled, by kind of hook and shape, for any functions; added to
    """

    tasks: Tasks = ALL_TASKS
    has_gate: bool = False
    codes: Codes = field(default_factory=dict)


CONTEXTS = {
    Mechanism.KPROBE_MULTI: "kprobe_multi",
    Mechanism.TRACING_MULTI: "tracing",
    Mechanism.TRAMPOLINE: "tracing",
    Mechanism.KPROBE: "kprobe",
    Mechanism.UPROBE_MULTI: "uprobe",
}
"""The kind of hook that a program is compiled for, by mechanism."""


def sides_of(mechanism: Mechanism, paired: Mechanism) -> tuple[str, ...]:
    """The sides for which a program is compiled each by itself; `paired`: the mechanisms where a session is two."""
    return ("entry", "return") if mechanism & paired else ("",)


class ProgramPlan:
    """A program on the functions of one attachment: its code for each kind of hook, and its maps.

    functions: in the order of their indices; cookies: the user's, in the same order, or None
    contexts: the kinds of hook that the plan uses ("kprobe_multi", "kprobe", "tracing", "uprobe")
    paired: mask of the mechanisms in use for which a session is two programs

    With children, `tasks` are first those that will be marked, until `for_tasks` gives the marks.
    """

    def __init__(
        self,
        program: Program,
        functions: AnyFunctionSet,
        settings: ProgramSettings,
        *,
        contexts: set[str],
        when: str,
        n_cpus: int,
        cookies: array[int] | None = None,
        paired: Mechanism = Mechanism.NONE,
    ) -> None:
        self.program = program
        self.functions = functions
        self.contexts = contexts
        self.when = when
        self.n_cpus = n_cpus
        self.tasks = settings.tasks.to_mark()
        self.has_gate = settings.has_gate
        self.paired = paired
        self._codes = settings.codes
        self._by_hook: dict[tuple[str, str, str | None], Code] = {}
        asks_for = program.asks_for | ({"function"} if self.has_gate else set())
        returns = functions.returns() if "ret" in asks_for and when != "entry" else b""
        self._returns = returns
        self.returns = returns[0] if len(set(returns)) == 1 else PER_FUNCTION if returns else Shape().returns
        has_arg = "arg" in asks_for and contexts - {"tracing"}  # trampolines know the number of arguments
        self._limits = functions.argument_limits() if has_arg else b""
        self.n_arguments = _range_of(self._limits) if self._limits else Shape().n_arguments
        if self.returns == PER_FUNCTION or self._has_limits:
            asks_for |= {"function"}
        self.asks_for = asks_for
        self.cookies = cookies
        self.has_cookies = cookies is not None or "cookie" in asks_for
        self.hot_maps = find_hot_maps(program.maps, len(functions), n_cpus)

    @property
    def _has_limits(self) -> bool:
        return self.n_arguments[0] < self.n_arguments[1]

    @property
    def kernel(self) -> Kernel | None:
        """The kernel whose functions are attached; None if only functions of binaries are."""
        return kernel_of(self.functions)

    def for_tasks(self, tasks: Tasks) -> ProgramPlan:
        """The same for other processes."""
        made = copy(self)
        made.tasks, made._by_hook = tasks, {}
        return made

    # The maps

    @cached_property
    def maps(self) -> MapSetSpec:
        """The maps that instances are linked with."""
        asks_for, functions = self.asks_for, self.functions
        index = build_index(self._indexed[0], base=self._indexed[1]) if self._indexed else None
        if index is not None:
            self._index_shift = index.shift  # need not be found once more
        has_cookie_table = "cookie" in asks_for and (index is not None or "uprobe" in self.contexts)
        return MapSetSpec(
            tuple(self.program.maps.values()),
            n_functions=len(functions),
            n_cpus=self.n_cpus,
            index=index,
            cookies=self._cookie_table() if has_cookie_table else None,
            arg_counts=functions.slots() if "arg_count" in asks_for and self.contexts - {"tracing"} else None,
            arg_limits=self._limits if self._has_limits else None,
            returns=self._returns if self.returns == PER_FUNCTION else None,
            has_hits=self.has_gate,
            has_sessions=bool(self.paired),
        )

    @cached_property
    def _indexed(self) -> tuple[array[int], int] | None:
        """The addresses by which programs find functions, and the index of the first one; None if none does."""
        wanted = self.asks_for & {"function", "cookie", "arg_count"}
        by_address = "kprobe_multi" in self.contexts or (self.has_cookies and "function" in self.asks_for)
        first, functions = kernel_part(self.functions)
        return (functions.addresses(), first) if functions and wanted and by_address else None

    def _cookie_table(self) -> array[int]:
        return array("Q", bytes(8 * len(self.functions))) if self.cookies is None else self.cookies

    # The code

    def hooks(self, mechanisms: Mechanism) -> Iterator[tuple[str, str]]:
        """The kinds of hook, with the side of a session, of these mechanisms for functions of the kernel."""
        for mechanism in Mechanism.KERNEL & mechanisms:
            for side in sides_of(mechanism, self.paired):
                yield CONTEXTS[mechanism], side

    def code(self, context: str, session_side: str = "", operands: str | None = None) -> Code:
        """The program compiled for that kind of hook, from the disk cache if it is there.

        operands: where sites of USDT probes keep their arguments
        """
        key = (context, session_side, operands)
        if key not in self._by_hook:
            shape = self._shape(context, session_side, operands)
            if (context, shape) not in self._codes:
                self._codes[context, shape] = self._compile(context, shape)
            self._by_hook[key] = self._codes[context, shape]
        return self._by_hook[key]

    def _compile(self, context: str, shape: Shape) -> Code:
        types = [
            part.table.types.btf
            for part in parts_of(self.functions)
            if isinstance(part, UserFunctionSet) and part.table.types
        ]
        return compile_program(
            self.program, context=context, when=self.when, shape=shape, kernel=self.kernel, programs=types
        )

    def _shape(self, context: str, session_side: str, operands: str | None) -> Shape:
        return Shape(
            function_from=self.function_from(context),
            has_pid=self.tasks.pid is not None and self.tasks.marks is None,
            has_marks=self.tasks.marks is not None,
            leaves_out_own=not self.tasks.has_own and self.tasks.marks is None,
            is_in_namespace=self.tasks.namespace is not None,
            index_shift=self._index_shift,
            has_gate=self.has_gate,
            returns=self.returns,
            arguments=self._arguments,
            n_arguments=Shape().n_arguments if context == "tracing" else self.n_arguments,
            session_side=session_side,
            is_sleepable=self.program.sleepable and context in SLEEPABLE,
            hot_maps=self.hot_maps,
            operands=operands,
        )

    def function_from(self, context: str) -> str:
        """Where programs of that kind take ctx.function from: the link's cookie, unless cookies are the user's."""
        if context == "uprobe":
            return "cookie"
        return "ip" if context == "kprobe_multi" or self.has_cookies else "cookie"

    @cached_property
    def _index_shift(self) -> int:
        return find_shift(self._indexed[0]) if self._indexed else Shape().index_shift

    @cached_property
    def _arguments(self) -> tuple[Argument, ...] | None:
        if "args" not in self.asks_for:
            return None
        types = KernelTypes.of(self.kernel or Kernel())
        each = (
            user_parameters(part, types) if isinstance(part, UserFunctionSet) else kernel_parameters(part, types)
            for part in parts_of(self.functions)
        )
        return find_arguments(self.program, chain.from_iterable(each), types)


def plan_program(
    program: Program,
    functions: AnyFunctionSet,
    plan: LinkPlan,
    settings: ProgramSettings,
    *,
    n_cpus: int,
    cookies: array[int] | None = None,
) -> ProgramPlan:
    """The program on the functions that a plan attaches, which come in order, as their cookies do."""
    possible = plan.possible
    return ProgramPlan(
        program,
        functions,
        settings,
        contexts={CONTEXTS[mechanism] for mechanism in possible},
        when=plan.when,
        n_cpus=n_cpus,
        cookies=cookies,
        paired=plan.paired & possible,
    )


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
