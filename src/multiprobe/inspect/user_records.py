"""Converts functions of programs and libraries to JSON objects, one per line of `multiprobe inspect --json`. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from multiprobe.binaries.describe import function_record
from multiprobe.inspect.records import instruction_records, link_record, target_record

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from multiprobe.inspect.picture import JitedRoutine
    from multiprobe.inspect.processes import ProcessCode
    from multiprobe.inspect.records import Record
    from multiprobe.inspect.user_picture import UserFunctionPicture


def user_records(pictures: Iterable[UserFunctionPicture]) -> Iterator[Record]:
    """Of each function a `user_function`, then an `attachment` for each link, a `process` for each process."""
    routines: dict[int, tuple[JitedRoutine, dict[int, str]]] = {}
    for picture in pictures:
        name = str(picture.function)
        usdt = [{"probe": probe, "offset": offset} for probe, offset in picture.usdt]
        found = {"build_id": picture.build_id, "bytes": picture.code.hex(), "usdt": usdt}
        yield {**function_record(picture.function), **found}
        for on in picture.attached:
            target = {**target_record(on.target), "offset": on.offset}
            yield {"type": "attachment", "function": name, **link_record(on.link), **target}
        for one in picture.processes:
            yield {"type": "process", "function": name, **_process(one)}
        routines |= {routine.address: (routine, picture.names) for routine in picture.programs}
    for routine, names in routines.values():
        instructions = instruction_records(routine.instructions, names)
        yield {"type": "program", "name": routine.name, "address": hex(routine.address), "instructions": instructions}


def _process(one: ProcessCode) -> Record:
    return {
        "pid": one.pid,
        "command": one.command,
        "address": hex(one.address),
        "bytes": one.code.hex(),
        "state": one.state,
        "target": None if one.target is None else hex(one.target),
        "trampoline": None if one.trampoline is None else [hex(end) for end in one.trampoline],
    }
