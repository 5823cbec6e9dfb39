"""Verdicts compared with the kernel, function by function: allowed ones attach, refused ones are refused."""

from __future__ import annotations

import random
from array import array
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

import multiprobe as mp
from multiprobe.errors import MultiprobeError
from multiprobe.functions import verdict
from multiprobe.kernel.mechanism import MECHANISMS, Mechanism, mechanism_names
from multiprobe.links.mechanisms import kprobe
from multiprobe.links.mechanisms.kernel_btf import open_kernel_btf
from multiprobe.syscalls import bpf
from multiprobe.syscalls.fd import FileDescriptor
from multiprobe.uapi.bpf import AttachType, ProgType

RETURN_ZERO = bytes.fromhex("b7000000000000009500000000000000")
#: Refused for reasons that asking for one function alone can't show: our own rule, no id to ask with, a namesake taken
#: in its place, or the kernel's word for functions that only other builds refuse.
NOT_ASKED = {"unsafe", "no_btf", "ambiguous_type", "duplicate_name", "instance_unknown", "deny_listed"}
#: Refused by us on every kernel, by the kernel only where it has a list of them (noreturn_deny; seen: 6.12 and 7.3
#: do, 6.1 does not): without it the trampoline is never left, nor freed.
SOMETIMES = {"noreturn"}
PER_RULE = 6
SIDES = {
    ("tracing_multi", "entry"): AttachType.TRACE_FENTRY_MULTI,
    ("tracing_multi", "return"): AttachType.TRACE_FEXIT_MULTI,
    ("trampoline", "entry"): AttachType.TRACE_FENTRY,
    ("trampoline", "return"): AttachType.TRACE_FEXIT,
}


@mp.program
def nothing(ctx):
    pass


@pytest.fixture(scope="module")
def kernel() -> mp.Kernel:
    return mp.Kernel()


def attach_one(kernel: mp.Kernel, row: int, mechanism: str, when: str) -> None:
    """Attach an empty program to one function, and detach it; raises what the kernel answers."""
    table = kernel.table
    with ExitStack() as stack:
        keep = stack.enter_context
        if mechanism == "kprobe_multi":
            prog = keep(
                bpf.prog_load(
                    ProgType.KPROBE, RETURN_ZERO, name="empty", expected_attach_type=AttachType.TRACE_KPROBE_MULTI
                )
            )
            keep(bpf.link_create_kprobe_multi(prog, array("Q", [table.addresses[row]]), is_return=when == "return"))
        elif mechanism == "kprobe":
            prog = keep(bpf.prog_load(ProgType.KPROBE, RETURN_ZERO, name="empty"))
            opened = kprobe.open_probe(prog, table.addresses[row], 0, is_return=when == "return", pmu=kprobe.pmu())
            for fd in opened:
                keep(fd)
        else:
            _attach_by_id(stack, table.btf_ids[row], table.module(row), mechanism, SIDES[mechanism, when])


def _attach_by_id(stack: ExitStack, btf_id: int, module: str, mechanism: str, attach_type: int) -> None:
    is_batch = mechanism == "tracing_multi"
    btf: FileDescriptor | None = stack.enter_context(open_kernel_btf(module)) if module else None
    prog = stack.enter_context(
        bpf.prog_load(
            ProgType.TRACING,
            RETURN_ZERO,
            name="empty",
            expected_attach_type=attach_type,
            attach_btf_id=0 if is_batch else btf_id,
            attach_btf_obj_fd=btf.fileno() if btf else 0,
        )
    )
    if is_batch:
        stack.enter_context(bpf.link_create_tracing_multi(prog, attach_type, array("I", [btf_id])))
    else:
        stack.enter_context(bpf.raw_tracepoint_open(prog))


def samples(kernel: mp.Kernel, bit: int, when: str) -> Iterator[tuple[str, int]]:
    """(code, row) of some functions that each rule refuses for a mechanism, and of some that none does ("")."""
    table = kernel.table
    by_code: dict[str, list[int]] = defaultdict(list)
    for row, facts in enumerate(table.facts[: table.n_distinct]):
        code, _ = verdict.refusal_of(facts, "", mask=bit, when=when)
        by_code[code].append(row)
    generator = random.Random(20261122)
    for code, rows in sorted(by_code.items()):
        for row in generator.sample(rows, min(len(rows), PER_RULE)):
            yield code, row


def can_be_asked_by_id(kernel: mp.Kernel, row: int) -> bool:
    """Whether a type id leads the kernel to this function: it finds the address by the type's name."""
    table = kernel.table
    return bool(table.btf_ids[row]) and len(table.rows_of_name(table.name(row))) == 1


@pytest.mark.parametrize("when", ["entry", "return"])
@pytest.mark.parametrize("mechanism", mechanism_names(Mechanism.KERNEL))
def test_the_kernel_agrees(kernel: mp.Kernel, mechanism: str, when: str) -> None:
    if not kernel.has(mechanism):
        pytest.skip(f"this kernel has no {mechanism}")
    bit = MECHANISMS[mechanism]
    disagreements = []
    asked = defaultdict(int)
    for code, row in samples(kernel, bit, when):
        if code in NOT_ASKED or (bit & verdict.BY_BTF and not can_be_asked_by_id(kernel, row)):
            continue
        asked[code] += 1
        try:
            attach_one(kernel, row, mechanism, when)
        except MultiprobeError as error:
            if not code:
                disagreements.append(f"{kernel.table.name(row)} allowed, and refused by the kernel: {error}")
        else:
            if code and code not in SOMETIMES:
                disagreements.append(f"{kernel.table.name(row)} refused ({code}), and attached by the kernel")
    print(mechanism, when, dict(asked))
    assert asked[""]
    assert disagreements == []


def test_a_batch_of_everything_is_taken_whole(kernel: mp.Kernel) -> None:
    if not kernel.has("kprobe_multi"):
        pytest.skip("this kernel has no kprobe_multi")
    addresses = kernel.functions("*").attachable(Mechanism.KPROBE_MULTI).addresses()
    assert len(addresses) > 40_000
    prog = bpf.prog_load(ProgType.KPROBE, RETURN_ZERO, name="empty", expected_attach_type=AttachType.TRACE_KPROBE_MULTI)
    with prog, bpf.link_create_kprobe_multi(prog, addresses):
        pass


@pytest.mark.once("7.3")
def test_names_with_several_types_are_never_given_one(kernel: mp.Kernel) -> None:
    """A trampoline made for another function's type overwrites arguments: `copy_array` of 6.1 has 3 or 5 parameters."""
    btf, table = kernel.btf, kernel.table
    types = defaultdict(set)
    for type_id in btf.functions.type_ids.tolist():
        parameters = tuple(param.type_id for param in btf.parameters(type_id))
        types[btf.name(type_id)].add((btf.target(btf.target(type_id)), parameters))
    ambiguous = {name for name, known in types.items() if len(known) > 1}
    if kernel.release.startswith("6.1."):
        assert "copy_array" in ambiguous
    print(len(ambiguous), "names have several types")
    for name in ambiguous:
        for row in table.rows_of_name(name):
            if not table.module(row):
                allowed = table.mechanisms[row] | table.return_mechanisms[row]
                assert (name, table.btf_ids[row], allowed & verdict.BY_BTF) == (name, 0, 0)
    traceable = [name for name in ambiguous if len(kernel.functions(name).attachable())]
    if traceable:
        with mp.attach(nothing, kernel.functions(*sorted(traceable))) as attachment:
            assert not {"trampoline", "tracing_multi"} & set(attachment.report.mechanisms)
