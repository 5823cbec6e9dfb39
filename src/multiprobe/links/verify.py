"""Reading links back: is each one where it was planned to be? (The kernel resolves some names on its own.)"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from multiprobe.kernel.mechanism import Mechanism
from multiprobe.links.mechanisms import kprobe_multi, tracing_multi

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from multiprobe.functions.sets import FunctionSet
    from multiprobe.links.mechanisms.linked import Held
    from multiprobe.syscalls.fd import FileDescriptor


def differences(mechanism: Mechanism, functions: FunctionSet, held: Held, refused: Collection[int]) -> list[str]:
    """What the kernel says of the links that the plan did not say, in words; nothing where all is as planned.

    Links whose addresses the kernel hides (kptr_restrict) or can't tell are taken on trust.
    """
    if mechanism not in (Mechanism.KPROBE_MULTI, Mechanism.TRACING_MULTI) or not held.links:
        return []
    expected = functions.addresses()
    n = len(expected) - len(refused)
    found = _read_back(mechanism, held.links, n)
    if found is None or found == expected:
        return []
    planned = sorted(address for place, address in enumerate(expected) if place not in refused)
    return _compare(planned, sorted(found), functions)


def _read_back(mechanism: Mechanism, links: Sequence[FileDescriptor], n: int) -> array[int] | None:
    """The addresses of all links together, or None where one doesn't tell; `n` is how many there should be."""
    found = array("Q")
    for link in links:
        part = _read_one(mechanism, link, n if len(links) == 1 else None)
        if part is None:
            return None
        found += part
    return found


def _read_one(mechanism: Mechanism, link: FileDescriptor, n: int | None) -> array[int] | None:
    if mechanism == Mechanism.KPROBE_MULTI:
        answer = kprobe_multi.read_back(link, kprobe_multi.count(link) if n is None else n)
        return answer[0] if answer else None
    told = tracing_multi.read_back(link, tracing_multi.count(link) if n is None else n)
    return told[1] if told and any(told[1]) else None


def _compare(planned: list[int], found: list[int], functions: FunctionSet) -> list[str]:
    if found == planned:
        return []
    call_sites = functions.call_offsets()
    missing = set(planned) - set(found)
    extra = set(found) - set(planned)
    for place, address in enumerate(functions.addresses()):  # some kernels tell the call site, behind the ENDBR
        site = address + call_sites[place]
        if address in missing and site in extra:
            missing.discard(address)
            extra.discard(site)
    names = {address: functions.label(place) for place, address in enumerate(functions.addresses())}
    return [f"{names[address]} ({address:#x}) is not on the link" for address in sorted(missing)] + [
        f"{address:#x} is on the link and was not planned" for address in sorted(extra)
    ]
