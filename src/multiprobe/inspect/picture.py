"""Describes one function of the running kernel: its entry, the trampoline, the programs, everything attached to it.

`picture` reads, from the other modules of this package; the values are snapshots.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from multiprobe.arch import native
from multiprobe.errors import NoMatchError, NotPermittedError, NotSupportedError, UsageError
from multiprobe.functions.pattern import WILDCARDS
from multiprobe.inspect import ops as ftrace_ops
from multiprobe.inspect.callsite import SITE_BYTES, destination, is_trampoline, trampoline_name
from multiprobe.inspect.disassembly import Instruction, disassemble, disassemble_routine
from multiprobe.inspect.observed import ObservedLink, ObservedProgram, list_links
from multiprobe.inspect.sources import NAMES
from multiprobe.inspect.targets import Target
from multiprobe.inspect.tracefs import Enabled, TracefsProbe, parse_enabled
from multiprobe.inspect.trampoline import TrampolineCall, program_calls, read_calls

if TYPE_CHECKING:
    from collections.abc import Iterable

    from multiprobe.arch.facts import CallSite
    from multiprobe.inspect.names import Symbol
    from multiprobe.inspect.ops import Ops
    from multiprobe.inspect.sources import Missing, Sources

MAX_IMAGE = 4096  # a trampoline's image is a page at the most
_TRACING = ("tracing_multi", "trampoline")


@dataclass(frozen=True, slots=True)
class Attached:
    """A link on the function. link: the link; target: its cookie and offset there."""

    link: ObservedLink
    target: Target


@dataclass(frozen=True, slots=True)
class Trampoline:
    """The image of a function's BPF trampoline.

    name, address: its symbol; code: its machine code, bytes
    instructions, calls: `code` disassembled, and the calls in it; both empty without capstone
    """

    name: str
    address: int
    code: bytes
    instructions: tuple[Instruction, ...]
    calls: tuple[TrampolineCall, ...]


@dataclass(frozen=True, slots=True)
class JitedRoutine:
    """The machine code of one function of a program."""

    name: str
    address: int
    instructions: tuple[Instruction, ...]


@dataclass(frozen=True, slots=True)
class FunctionPicture:
    """The entry of a function, and everything attached there.

    name, module, address: of its symbol; entry: its first instructions, empty without capstone
    site, trampoline, enabled, ops: the call site, the BPF trampoline, the line of enabled_functions and ftrace's ops;
        None where there is none, and where they can't be read, which `missing` then says
    destination: where the entry leads, a key of `callsite.DESTINATIONS`, or "" where the entry can't be read
    probes, attached: its kprobes and its links; programs: with `programs=True`, their machine code
    names: the symbol for each address that instructions refer to
    """

    name: str
    module: str
    address: int
    site: CallSite | None
    destination: str
    entry: tuple[Instruction, ...]
    enabled: Enabled | None
    ops: tuple[Ops, ...] | None
    probes: tuple[TracefsProbe, ...]
    trampoline: Trampoline | None
    attached: tuple[Attached, ...]
    programs: tuple[JitedRoutine, ...]
    names: dict[int, str]
    missing: tuple[Missing, ...]


def picture(sources: Sources, function: str, *, programs: bool = False) -> FunctionPicture:
    """Look at a function, by name, `module:name` or address; with `programs`, at its programs' machine code too.

    Raises NoMatchError for an unknown name, UsageError for one that several functions have.
    """
    symbol = find_function(sources, function)
    links = sources.attempt("links", lambda: list_links(sources)) or ()
    attached = attachments(links, symbol)
    site = _read_site(sources, symbol)
    entry = _without_padding(try_disassemble(sources, site.code, symbol.address), site.address) if site else ()
    enabled = _read_enabled(sources, symbol) if site is None or site.is_patched else None
    found = _find_trampoline(sources, symbol, site, enabled, attached)
    trampoline = _read_trampoline(sources, found, site) if found else None
    routines = read_programs(sources, (on.link.program for on in attached)) if programs else ()
    instructions = [*entry, *(trampoline.instructions if trampoline else ())]
    instructions += [instruction for routine in routines for instruction in routine.instructions]
    return FunctionPicture(
        name=symbol.name,
        module=symbol.module,
        address=symbol.address,
        site=site,
        destination=destination(site, _symbol_at(sources, site.target)) if site else "",
        entry=entry,
        enabled=enabled,
        ops=ftrace_ops.ops_on(sources.objects, site.address) if sources.objects and site else None,
        probes=tuple(probe for probe in sources.probes if symbol.address <= probe.address < symbol.end),
        trampoline=trampoline,
        attached=_with_cookies(attached, trampoline),
        programs=routines,
        names=names_of(sources, instructions),
        missing=tuple(sources.missing),
    )


def find_function(sources: Sources, function: str) -> Symbol:
    """The symbol of a function given by name, `module:name` or address."""
    names = sources.names
    if names is None:
        why = next(item for item in sources.missing if item.what == NAMES)
        raise NotPermittedError(f"looking up {function!r}: {why.why}", hint=why.advice)
    if function.startswith("0x"):
        try:
            symbol = names.at(int(function, 16))
        except (ValueError, OverflowError):
            raise UsageError(f"invalid address {function!r}: expected a hexadecimal number") from None
        if symbol is None:
            raise NoMatchError(f"no function at address {function}")
        return symbol
    module, colon, name = function.rpartition(":")
    home = None if not colon else "" if module == "vmlinux" else module
    found = names.named(name, home)
    if not found:
        similar = name if WILDCARDS.intersection(name) else f"*{name}*"
        hint = f"`multiprobe functions '{similar}'` lists the functions with such names"
        raise NoMatchError(f"this kernel has no function {function!r}", hint=hint)
    if len(found) > 1:
        addresses = ", ".join(f"{symbol.address:#x}" for symbol in found)
        raise UsageError(f"{len(found)} functions are named {name}", hint=f"give one by its address: {addresses}")
    return found[0]


def attachments(links: tuple[ObservedLink, ...], symbol: Symbol) -> tuple[Attached, ...]:
    """The links that are on a function, each with what it has there."""
    found = []
    for link in links:
        for target in link.targets:
            is_here = target.address == symbol.address if target.address else target.name == symbol.name
            if is_here:
                found.append(Attached(link, target))
    return tuple(found)


def _symbol_at(sources: Sources, address: int | None) -> Symbol | None:
    return sources.names.at(address) if sources.names and address else None


def _read_site(sources: Sources, symbol: Symbol) -> CallSite | None:
    parse_site = native().parse_site
    if parse_site is None:
        sources.miss("call sites and trampolines", f"this version can't decode them on {native().machine}")
        return None
    size = min(SITE_BYTES, symbol.end - symbol.address)
    code = sources.memory.read(symbol.address, size) if sources.memory else None
    if code is None:
        if sources.memory is not None:
            sources.miss("the function's entry", f"the kernel hides the memory at {symbol.address:#x}")
        return None
    return parse_site(code, symbol.address)


def _read_enabled(sources: Sources, symbol: Symbol) -> Enabled | None:
    entries = [entry for entry in parse_enabled(sources.enabled or "", symbol.name) if entry.module == symbol.module]
    if len(entries) > 1:
        sources.miss(
            "the line of enabled_functions", f"enabled_functions has {len(entries)} functions named {symbol.name}"
        )
    return entries[0] if len(entries) == 1 else None


def _find_trampoline(
    sources: Sources, symbol: Symbol, site: CallSite | None, enabled: Enabled | None, attached: tuple[Attached, ...]
) -> Symbol | None:
    """The symbol of the function's trampoline: from the call itself, else ftrace's tables, else its name."""
    names = sources.names
    if names is None:
        return None
    candidates = [site.target if site else None]
    if sources.objects and site:
        candidates.append(ftrace_ops.direct_target(sources.objects, site.address))
    for candidate in candidates:
        found = names.at(candidate) if candidate else None
        if found is not None and is_trampoline(found):
            return found
    wanted = [enabled.direct] if enabled and enabled.direct else []
    wanted += [
        trampoline_name(on.target.btf_obj_id, on.target.btf_id)
        for on in attached
        if on.target.btf_obj_id and on.target.btf_id
    ]
    for name in wanted:
        images = names.named(name)
        if images:
            return images[-1]
    return None


def _read_trampoline(sources: Sources, symbol: Symbol, site: CallSite | None) -> Trampoline | None:
    if sources.memory is None or sources.names is None or native().parse_site is None:
        return Trampoline(symbol.name, symbol.address, b"", (), ())
    code = sources.memory.read(symbol.address, min(symbol.end - symbol.address, MAX_IMAGE))
    if code is None:
        sources.miss("the trampoline's image", f"the kernel hides the memory at {symbol.address:#x}")
        return Trampoline(symbol.name, symbol.address, b"", (), ())
    instructions = try_disassemble(sources, code, symbol.address, is_routine=True)
    if instructions:
        last = instructions[-1]
        code = code[: last.address + len(last.code) - symbol.address]

    def name_of(address: int) -> str:
        return describe_address(sources, address)

    calls = read_calls(instructions, name_of, resume=site.resume if site else None)
    return Trampoline(symbol.name, symbol.address, code, instructions, calls)


def try_disassemble(
    sources: Sources, code: bytes, address: int, *, is_routine: bool = False
) -> tuple[Instruction, ...]:
    """The instructions; without capstone none, which is noted as missing."""
    try:
        return disassemble_routine(code, address) if is_routine else disassemble(code, address)
    except NotSupportedError as error:
        sources.miss("disassembly", str(error), error.hint)
        return ()


def _without_padding(instructions: tuple[Instruction, ...], site: int) -> tuple[Instruction, ...]:
    """A short function's instructions, up to its call site at least, without the padding behind it."""
    end = len(instructions)
    while end and instructions[end - 1].address > site and instructions[end - 1].mnemonic.startswith(("int3", "nop")):
        end -= 1
    return instructions[:end]


def _with_cookies(attached: tuple[Attached, ...], trampoline: Trampoline | None) -> tuple[Attached, ...]:
    """The same, with cookies that only the trampoline's image tells."""
    cookies = {call.target: call.cookie for call in program_calls(trampoline.calls)} if trampoline else {}
    found = []
    for on in attached:
        cookie = cookies.get(on.link.program.address)
        if on.target.cookie is None and on.link.kind in _TRACING and cookie is not None:
            on = replace(on, target=replace(on.target, cookie=cookie))
        found.append(on)
    return tuple(found)


def read_programs(sources: Sources, found: Iterable[ObservedProgram]) -> tuple[JitedRoutine, ...]:
    """The machine code of programs, each once."""
    programs = {program.prog_id: program for program in found}
    routines = []
    for program in programs.values():
        if not program.images:
            sources.miss(f"machine code of {program}", "the kernel hides it, or the program isn't jited", "run as root")
        for image in program.images:
            code = image.code
            if not code and sources.memory is not None:
                code = sources.memory.read(image.address, image.size) or b""
            name = describe_address(sources, image.address) or str(program)
            routines.append(JitedRoutine(name, image.address, try_disassemble(sources, code, image.address)))
    return tuple(routines)


def describe_address(sources: Sources, address: int) -> str:
    """`symbol` or `symbol+0x10`, or "" for an address that belongs to none."""
    symbol = _symbol_at(sources, address)
    if symbol is None:
        return ""
    return symbol.name if symbol.address == address else f"{symbol.name}+{address - symbol.address:#x}"


def names_of(sources: Sources, instructions: Iterable[Instruction]) -> dict[int, str]:
    """The symbols of the kernel that instructions lead to, by address."""
    targets = {instruction.target for instruction in instructions if instruction.target is not None}
    return {target: name for target in targets if (name := describe_address(sources, target))}
