"""Reading links back: is each one where it was planned to be? (The kernel resolves some names on its own.)"""

from __future__ import annotations

from multiprobe.kernel.mechanism import Mechanism

TYPE_CHECKING = False
if TYPE_CHECKING:
    from array import array
    from collections.abc import Collection

    from multiprobe.attach.outcome import Held
    from multiprobe.functions.sets import FunctionSet
    from multiprobe.syscalls.fd import FileDescriptor


def differences(mechanism: int, functions: FunctionSet, held: Held, refused: Collection[int]) -> list[str]:
    """What the kernel says of the links that the plan did not say, in words; nothing where all is as planned.

    Links whose addresses the kernel hides (kptr_restrict) or can't tell are taken on trust.
    """
    if mechanism not in (Mechanism.KPROBE_MULTI, Mechanism.TRACING_MULTI) or len(held.links) != 1:
        return []
    expected = functions.addresses()
    n = len(expected) - len(refused)
    found = _read_back(mechanism, held.links[0], n)
    if found is None or found == expected:
        return []
    planned = sorted(address for place, address in enumerate(expected) if place not in refused)
    return _compare(planned, sorted(found), functions)


def _read_back(mechanism: int, link: FileDescriptor, n: int) -> array[int] | None:
    if mechanism == Mechanism.KPROBE_MULTI:
        from multiprobe.attach import kprobe_multi

        answer = kprobe_multi.read_back(link, n)
        return answer[0] if answer else None
    from multiprobe.attach import tracing_multi

    told = tracing_multi.read_back(link, n)
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
