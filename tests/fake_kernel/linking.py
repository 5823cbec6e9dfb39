"""LINK_CREATE: kprobe.multi, tracing_multi, trampolines and perf events, with the checks that the kernel makes."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from itertools import chain
from typing import TYPE_CHECKING

from fake_kernel.functions import FakeFunction
from fake_kernel.memory import Attr, Refused, numbers, refuse_if
from fake_kernel.objects import Event, Link, Probe, Program
from multiprobe.uapi.bpf import AttachType, LinkType, ProgType

if TYPE_CHECKING:
    from fake_kernel.kernel import FakeKernel

MAX_COUNT, MAX_TRAMPOLINE = 1 << 20, 38
_KPROBE_MULTI = (AttachType.TRACE_KPROBE_MULTI, AttachType.TRACE_KPROBE_SESSION)
_WHEN = {
    AttachType.TRACE_FENTRY: "entry",
    AttachType.TRACE_FEXIT: "return",
    AttachType.TRACE_FSESSION: "session",
    AttachType.TRACE_FENTRY_MULTI: "entry",
    AttachType.TRACE_FEXIT_MULTI: "return",
    AttachType.TRACE_FSESSION_MULTI: "session",
}


def open_link(kernel: FakeKernel, program: Program, attr: Attr) -> int:
    """link_create"""
    attach_type = attr.u32(8)
    if program.kind == ProgType.KPROBE:
        if attach_type == AttachType.PERF_EVENT:
            return _perf_event(kernel, program, attr)
        return _kprobe_multi(kernel, program, attr)
    refuse_if(program.kind != ProgType.TRACING or attach_type != program.attach_type, errno.EINVAL)
    return _trampoline(kernel, program, attr) if program.target else _tracing_multi(kernel, program, attr)


def open_tracepoint(kernel: FakeKernel, program: Program, name: str) -> int:
    """bpf_raw_tp_link_attach"""
    refuse_if(name not in kernel.tracepoints, errno.ENOENT)
    return _installed(kernel, Link(kind=LinkType.RAW_TRACEPOINT, mechanism=name, when="entry", program=program))


def _installed(kernel: FakeKernel, made: Link) -> int:
    assert made.program is not None
    made.holds = [one for one in (made.program, made.event) if one]
    return kernel.install(kernel.add(made))


def _check_refusals(kernel: FakeKernel, mechanism: str, functions: Iterable[FakeFunction]) -> None:
    for function in functions:
        number = kernel.refusals.get((mechanism, function.name))
        refuse_if(number, number or 0)


def _kprobe_multi(kernel: FakeKernel, program: Program, attr: Attr) -> int:
    """bpf_kprobe_multi_link_attach (kernel/trace/bpf_trace.c)"""
    attach_type, flags, count = attr.u32(8), attr.u32(16), attr.u32(20)
    symbols, addresses, cookies = attr.u64(24), attr.u64(32), attr.u64(40)
    is_session = attach_type == AttachType.TRACE_KPROBE_SESSION
    refuse_if(attach_type not in _KPROBE_MULTI or (is_session and not kernel.profile.has_kprobe_session), errno.EINVAL)
    refuse_if(not kernel.profile.has_kprobe_multi, errno.EOPNOTSUPP)
    refuse_if(program.attach_type != attach_type or flags & ~1 or bool(symbols) == bool(addresses), errno.EINVAL)
    refuse_if(not count, errno.EINVAL)
    refuse_if(count > MAX_COUNT, errno.E2BIG)
    refuse_if(symbols, errno.EOPNOTSUPP)  # nobody here asks by name
    wanted = numbers(addresses, count, "Q")
    given = numbers(cookies, count, "Q") if cookies else [0] * count
    refuse_if(count > kernel.max_functions, errno.ENOMEM)
    functions = [kernel.by_address.get(one) or kernel.by_call_site.get(one) for one in wanted]
    found = [one for one in functions if one is not None and one.is_traceable]
    refuse_if(len(found) < count, errno.ENOENT)
    _check_refusals(kernel, "kprobe_multi", found)
    probes = [Probe(function, cookie) for function, cookie in zip(found, given, strict=True)]
    if cookies:
        probes.sort(key=lambda probe: probe.function.address)
    when = "session" if is_session else "return" if flags & 1 else "entry"
    return _installed(kernel, Link(
        kind=LinkType.KPROBE_MULTI, mechanism="kprobe_multi", when=when, program=program, probes=probes
    ))  # fmt: skip


def _room(kernel: FakeKernel, functions: Iterable[FakeFunction]) -> None:
    """Every trampoline takes so many programs."""
    wanted = set(functions)
    on = [link for link in kernel.links if link.mechanism in ("trampoline", "tracing_multi")]
    used = list(chain.from_iterable(link.probes for link in on)) if len(on) >= MAX_TRAMPOLINE else []
    for function in wanted if used else ():
        refuse_if(sum(probe.function == function for probe in used) >= MAX_TRAMPOLINE, errno.E2BIG)


def _tracing_multi(kernel: FakeKernel, program: Program, attr: Attr) -> int:
    """bpf_tracing_multi_attach (kernel/trace/bpf_trace.c)"""
    ids, cookies, count = attr.u64(16), attr.u64(24), attr.u32(32)
    refuse_if(not ids or not count or attr.u32(12), errno.EINVAL)
    refuse_if(count > MAX_COUNT, errno.E2BIG)
    wanted = numbers(ids, count, "I")
    given = numbers(cookies, count, "Q") if cookies else [0] * count
    refuse_if(len(set(wanted)) < count, errno.EINVAL)
    refuse_if(count > kernel.max_functions, errno.ENOMEM)
    assert program.btf is not None
    assert program.btf.types is not None
    probes = []
    for number, cookie in sorted(zip(wanted, given, strict=True)):
        function = program.btf.types.functions.get(number)
        if function is None:
            raise Refused(errno.EINVAL)
        refuse_if(not function.module and len(kernel.named(function.name)) > 1, errno.ENOENT)
        refuse_if(not function.is_traceable, errno.ENOENT)
        _check_trampoline(kernel, function, program.attach_type, is_sleepable=program.is_sleepable)
        probes.append(Probe(function, cookie))
    functions = [probe.function for probe in probes]
    _check_refusals(kernel, "tracing_multi", functions)
    _room(kernel, functions)
    return _installed(kernel, Link(
        kind=LinkType.TRACING_MULTI, mechanism="tracing_multi", when=_WHEN[AttachType(program.attach_type)],
        program=program, probes=probes,
    ))  # fmt: skip


def _check_trampoline(
    kernel: FakeKernel, function: FakeFunction, attach_type: int, *, is_sleepable: bool = False
) -> None:
    leaves = attach_type not in (AttachType.TRACE_FENTRY, AttachType.TRACE_FENTRY_MULTI)
    refuse_if(len(function.parameters) > 12 or function.on_deny_list, errno.EINVAL)
    refuse_if(leaves and (function.is_noreturn or function.returns.startswith("struct")), errno.EINVAL)
    refuse_if(is_sleepable and not function.may_sleep, errno.EINVAL)


def _trampoline(kernel: FakeKernel, program: Program, attr: Attr) -> int:
    """bpf_tracing_prog_attach (kernel/bpf/syscall.c)"""
    function = program.target
    assert function is not None
    refuse_if(not function.is_traceable, errno.EBUSY)
    refuse_if(any(link.program is program for link in kernel.links), errno.EBUSY)
    _check_refusals(kernel, "trampoline", [function])
    _room(kernel, [function])
    return _installed(kernel, Link(
        kind=LinkType.TRACING, mechanism="trampoline", when=_WHEN[AttachType(program.attach_type)], program=program,
        probes=[Probe(function, attr.u64(24))],
    ))  # fmt: skip


def _perf_event(kernel: FakeKernel, program: Program, attr: Attr) -> int:
    """bpf_perf_link_attach"""
    event = kernel.descriptors.get(attr.u32(4))
    if not isinstance(event, Event):
        raise Refused(errno.EBADF)
    assert event.function is not None
    refuse_if(program.attach_type in _KPROBE_MULTI or attr.u32(12), errno.EINVAL)
    refuse_if(any(link.event is event for link in kernel.links), errno.EEXIST)
    return _installed(kernel, Link(
        kind=LinkType.PERF_EVENT, mechanism="kprobe", when="return" if event.is_return else "entry", program=program,
        probes=[Probe(event.function, attr.u64(16))], event=event,
    ))  # fmt: skip
