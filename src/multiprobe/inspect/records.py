"""Converts the results of `inspect` to JSON objects, one per line of `multiprobe inspect --json`. Pure.

Addresses and cookies are 64-bit hexadecimal strings with 0x; ids and counts are numbers; null marks an unknown value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from multiprobe.inspect.disassembly import Instruction
    from multiprobe.inspect.observed import ObservedLink, ObservedProgram
    from multiprobe.inspect.overlap import Mix
    from multiprobe.inspect.owners import Owner
    from multiprobe.inspect.picture import FunctionPicture
    from multiprobe.inspect.sources import Missing
    from multiprobe.inspect.targets import Target
    from multiprobe.inspect.uprobes import UprobeTarget

Record = dict[str, Any]


def link_records(links: Iterable[ObservedLink]) -> Iterator[Record]:
    """`{"type": "link", …}` for each link, with all its functions."""
    for link in links:
        yield {
            "type": "link",
            **link_record(link),
            "functions": [_target(target) for target in link.targets],
            **_uprobes(link),
        }


def picture_records(picture: FunctionPicture) -> Iterator[Record]:
    """`{"type": "function"}`, then an `attachment` for each link, the `trampoline`, and each `program` asked for."""
    site, enabled = picture.site, picture.enabled
    yield {
        "type": "function",
        "function": picture.name,
        "module": picture.module,
        "address": hex(picture.address),
        "code": site.code.hex() if site else None,
        "call_site": hex(site.address) if site else None,
        "is_patched": site.is_patched if site else None,
        "instruction": site.kind if site else None,
        "target": _address(site.target) if site else None,
        "target_name": picture.names.get(site.target) if site and site.target else None,
        "leads_to": picture.destination or None,
        "ftrace_users": enabled.n_ops if enabled else None,
        "ftrace_flags": enabled.flags if enabled else "",
        "ftrace_lines": list(enabled.lines) if enabled else [],
        "ops": None if picture.ops is None else [ops.function for ops in picture.ops],
        "kprobes": [
            {"address": hex(probe.address), "kind": probe.kind, "state": list(probe.state)} for probe in picture.probes
        ],
        "trampoline": picture.trampoline.name if picture.trampoline else None,
    }
    for on in picture.attached:
        yield {"type": "attachment", "function": picture.name, **link_record(on.link), **_target(on.target)}
    trampoline = picture.trampoline
    if trampoline is not None:
        yield {
            "type": "trampoline",
            "name": trampoline.name,
            "address": hex(trampoline.address),
            "code": trampoline.code.hex(),
            "calls": [
                {
                    "address": hex(call.address),
                    "target": hex(call.target),
                    "name": call.name,
                    "kind": call.kind,
                    "side": call.side,
                    "cookie": _hex(call.cookie),
                }
                for call in trampoline.calls
            ],
            "instructions": instruction_records(trampoline.instructions, picture.names),
        }
    for routine in picture.programs:
        yield {
            "type": "program",
            "name": routine.name,
            "address": hex(routine.address),
            "instructions": instruction_records(routine.instructions, picture.names),
        }


def mix_records(mix: Mix) -> Iterator[Record]:
    """A `link` for each column, then a `mix` for each function: what is on it."""
    for link in mix.links:
        yield {"type": "link", **link_record(link)}
    for row, cells in zip(mix.rows, mix.cells, strict=True):
        yield {
            "type": "mix",
            "function": row.name,
            "module": row.module,
            "address": _address(row.address),
            "attachments": [
                {
                    "link": link.link_id,
                    "kind": link.kind,
                    "when": link.when,
                    "cookie": _hex(cell.cookie),
                    "offsets": list(cell.offsets),
                }
                for link, cell in zip(mix.links, cells, strict=True)
                if cell is not None
            ],
        }


def missing_records(missing: Iterable[Missing]) -> Iterator[Record]:
    """`{"type": "missing", …}` for everything that could not be read."""
    for item in missing:
        yield {"type": "missing", "what": item.what, "why": item.why, "advice": item.advice}


def _uprobes(link: ObservedLink) -> Record:
    return {"uprobes": [target_record(target) for target in link.uprobes], "pid": link.pid} if link.uprobes else {}


def target_record(target: UprobeTarget) -> Record:
    """An instruction of a file that a link is on."""
    return {
        "binary": target.path,
        "file_offset": hex(target.offset),
        "cookie": _hex(target.cookie),
        "semaphore": "" if target.semaphore == 0 else _hex(target.semaphore),
    }


def link_record(link: ObservedLink) -> Record:
    """A link without its functions."""
    return {
        "link": link.link_id,
        "kind": link.kind,
        "when": link.when,
        "program": _program(link.program),
        "n_functions": link.n_functions,
        "missed": link.missed,
        "owners": [_owner(owner) for owner in link.owners],
    }


def _program(program: ObservedProgram) -> Record:
    return {
        "id": program.prog_id,
        "name": program.name,
        "tag": program.tag,
        "recursion_misses": program.recursion_misses,
        "address": _address(program.address),
    }


def _owner(owner: Owner) -> Record:
    return {"pid": owner.pid, "command": owner.command, "fd": owner.fd}


def _target(target: Target) -> Record:
    return {
        "function": target.name,
        "module": target.module,
        "address": _address(target.address),
        "offset": target.offset,
        "btf_id": target.btf_id,
        "cookie": _hex(target.cookie),
    }


def _hex(number: int | None) -> str | None:
    return None if number is None else hex(number)


def _address(address: int | None) -> str | None:
    return hex(address) if address else None


def instruction_records(instructions: Sequence[Instruction], names: dict[int, str]) -> list[Record]:
    """Instructions, with the names of what they lead to."""
    return [
        {
            "address": hex(instruction.address),
            "code": instruction.code.hex(),
            "text": instruction.text,
            "target": _address(instruction.target),
            "target_name": names.get(instruction.target) if instruction.target is not None else None,
        }
        for instruction in instructions
    ]
