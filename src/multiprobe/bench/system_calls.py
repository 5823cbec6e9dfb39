"""The system calls that attaching takes, with nothing around them: what `mp.attach` is compared with."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from multiprobe.kernel.mechanism import Mechanism
from multiprobe.links.mechanisms import kprobe, trampoline
from multiprobe.syscalls import bpf
from multiprobe.uapi.bpf import AttachType, ProgType

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from multiprobe.functions.sets import FunctionSet
    from multiprobe.syscalls.fd import FileDescriptor

RETURN_0 = bytes([0xB7, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0])


def attach(functions: FunctionSet, mechanism: Mechanism) -> Mapping[str, float]:
    """Seconds to load an empty program and attach it, and to close what that took: one after another if singles."""
    functions.addresses()  # known from here on
    with ExitStack() as held:
        began = time.perf_counter()
        for descriptor in _OPENERS[mechanism](functions):
            held.push(descriptor)
        attached = time.perf_counter()
        held.close()
        return {"attach": attached - began, "detach": time.perf_counter() - attached}


def _kprobe_multi(functions: FunctionSet) -> Iterator[FileDescriptor]:
    yield (program := _program(ProgType.KPROBE, AttachType.TRACE_KPROBE_MULTI))
    yield bpf.link_create_kprobe_multi(program, functions.addresses())


def _tracing_multi(functions: FunctionSet) -> Iterator[FileDescriptor]:
    kind = AttachType.TRACE_FENTRY_MULTI
    yield (program := _program(ProgType.TRACING, kind))
    yield bpf.link_create_tracing_multi(program, kind, functions.btf_ids())


def _kprobe(functions: FunctionSet) -> Iterator[FileDescriptor]:
    pmu = kprobe.pmu()
    yield (program := _program(ProgType.KPROBE, 0))
    for address in functions.addresses():
        link, event = kprobe.open_probe(program, address, 0, is_return=False, pmu=pmu)
        yield event
        yield link


def _trampoline(functions: FunctionSet) -> Iterator[FileDescriptor]:
    for btf_id in functions.btf_ids():
        yield (program := _program(ProgType.TRACING, AttachType.TRACE_FENTRY, btf_id))
        yield trampoline.open_link(program, 0, when="entry")


_OPENERS = {
    Mechanism.KPROBE_MULTI: _kprobe_multi,
    Mechanism.TRACING_MULTI: _tracing_multi,
    Mechanism.KPROBE: _kprobe,
    Mechanism.TRAMPOLINE: _trampoline,
}


def _program(kind: ProgType, attach_type: int, btf_id: int = 0) -> FileDescriptor:
    return bpf.prog_load(kind, RETURN_0, name="empty", expected_attach_type=attach_type, attach_btf_id=btf_id)
