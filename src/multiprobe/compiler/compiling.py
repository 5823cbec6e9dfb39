"""From a Program to a Code, by way of the disk cache.

On the path to the first attached function: imports neither LLVM nor `ast` nor `inspect` unless there is something to
compile. Knows the order of the steps; each of them lives in a module of its own.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from multiprobe.compiler import cache
from multiprobe.compiler import shape as shapes
from multiprobe.compiler.digest import digest
from multiprobe.compiler.frontend.typed import KernelTypes
from multiprobe.errors import NotSupportedError
from multiprobe.functions.kernel import Kernel
from multiprobe.maps.histogram import Histogram

if TYPE_CHECKING:
    from collections.abc import Sequence

    from multiprobe.compiler.code import Code
    from multiprobe.compiler.program import Program
    from multiprobe.compiler.shape import Shape
    from multiprobe.functions.kernel import Kernel
    from multiprobe.kernel.btf.types import Btf


def compile_program(
    program: Program,
    *,
    context: str,
    when: str,
    shape: Shape | None = None,
    is_cached: bool = True,
    kernel: Kernel | None = None,
    programs: Sequence[Btf] = (),
) -> Code:
    """The program's code for a kind of hook ("kprobe_multi", "kprobe", "tracing", "uprobe") and a side of the function.

    From the disk cache if it was compiled before (unless not `is_cached`); a program that uses the kernel's types is
    compiled for `kernel` (the running one, if None) and kept for it alone. `programs` are the types to which the names
    of arguments in `shape` lead. Raises CompileError (the language),
    NotSupportedError (the hook can't answer what the program asks), UsageError.
    """
    chosen = shapes.Shape() if shape is None else shape
    shapes.check(context, when, chosen)
    kernel_id = ""
    if program.uses_types:
        kernel = kernel or _running()
        kernel_id = kernel.build_id
        is_cached = is_cached and bool(kernel_id)
    if not is_cached:
        return _compile(program, context, when, chosen, kernel, programs)[0]
    key = digest(program, context=context, when=when, shape=chosen, kernel_id=kernel_id)
    found = cache.load(key)
    if found is None:
        found, is_lasting = _compile(program, context, when, chosen, kernel, programs)
        if is_lasting:
            cache.save(key, found)
    return found


def _running() -> Kernel:
    return Kernel()


def _compile(
    program: Program, context: str, when: str, shape: Shape, kernel: Kernel | None, programs: Sequence[Btf]
) -> tuple[Code, bool]:
    """The code, and whether it may be kept: the key knows nothing of modules, whose types may change."""
    from multiprobe.compiler.pipeline import compile_now  # with LLVM: only where the cache doesn't have the code

    types = KernelTypes.of(kernel or _running())
    for btf in programs:
        types.add_program(btf)
    code = compile_now(program, context=context, when=when, shape=shape, types=types)
    return code, not types.has_modules and (program.uses_types or not types.is_used)


def compile_ahead(program: Program, *, when: str | None = None, has_gate: bool = False) -> int:
    """Compile a program for every usual hook into the disk cache, before a slow machine has to; how many there are.

    `has_gate`: for attachments with a budget, or with care. What a hook can't answer is left out: attaching says so
    when it matters.
    """
    side = when or program.when or "entry"
    hooks = [("kprobe_multi", "ip"), ("tracing", "cookie"), ("tracing", "ip")]
    hooks += [("kprobe", "cookie"), ("kprobe", "ip")] if side != "session" else []
    shape, n = shapes.Shape(has_gate=has_gate), 0
    tasks = [replace(shape, leaves_out_own=True), replace(shape, has_marks=True), replace(shape, has_pid=True), shape]
    specs = sorted(program.maps.items())
    hot_maps = tuple(name for name, spec in specs if isinstance(spec, Histogram) and spec.per_function)
    tasks += [replace(one, hot_maps=hot_maps) for one in tasks[:2] if hot_maps]  # of all functions, on several CPUs
    for context, function_from in hooks:
        for one in tasks:
            try:
                compile_program(program, context=context, when=side, shape=replace(one, function_from=function_from))
            except NotSupportedError:
                continue
            n += 1
    return n
