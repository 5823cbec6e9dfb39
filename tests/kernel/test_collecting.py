"""Histograms and stacks on a real kernel, under every mechanism."""

from __future__ import annotations

import errno
from collections.abc import Iterator

import pytest
from collecting import GIVEN, MECHANISMS, NAMES, RETURNED, Calls, require

import multiprobe as mp
from multiprobe.kernel.resolve import Resolver

logs = mp.Histogram(mp.log2(bits=2))
lines = mp.Histogram(mp.linear(0, 20, 4))
each = mp.Histogram(per_function=True, counter=mp.u32)
stacks = mp.StackTraces()
ids = mp.Hash((mp.i64, mp.i64), mp.u64)


@mp.program
def fill(ctx):
    logs.add(ctx.arg(0))
    lines.add(ctx.arg(0))
    each.add(ctx.function, ctx.arg(0))


@mp.program(when="return")
def fill_return(ctx):
    logs.add(ctx.ret)
    lines.add(mp.i32(ctx.ret) - 20)
    each.add(ctx.function, mp.u32(ctx.ret))


@mp.program
def take(ctx):
    ids[stacks.id(ctx), stacks.id(ctx, user=True)] += 1


@pytest.fixture(scope="module")
def kernel() -> mp.Kernel:
    return mp.Kernel()


@pytest.fixture(scope="module")
def calls() -> Iterator[Calls]:
    made = Calls()
    yield made
    made.close()


@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize("program", [fill, fill_return], ids=["entry", "return"])
def test_histograms(program, mechanism: str, kernel, calls) -> None:
    require(kernel, mechanism)
    with mp.attach(program, kernel.by_symbols(NAMES), mechanisms=mechanism) as attachment:
        calls.run(3)
        found = {spec: attachment.read(spec) for spec in (logs, lines, each)}
        bounds = attachment.map(logs).bounds()
        missed = attachment.missed()
    numbers = [given[0] for given in GIVEN] if program is fill else RETURNED
    shift = 0 if program is fill else 20
    for spec, chosen in ((logs, numbers), (lines, [number - shift for number in numbers])):
        expected = [0] * spec.buckets.n_buckets
        for number in chosen:
            expected[spec.buckets.bucket(number)] += 3
        assert found[spec].tolist() == expected
    assert found[each].shape == (6, each.buckets.n_buckets)
    for place, number in enumerate(numbers):
        assert found[each][place].nonzero()[0].tolist() == [each.buckets.bucket(number)]
    assert found[each].sum() == 18
    assert bounds.shape == (logs.buckets.n_buckets, 2)
    assert not any(missed.values()), missed


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_stacks(mechanism: str, kernel, calls) -> None:
    require(kernel, mechanism)
    with mp.attach(take, kernel.by_symbols(NAMES[:1]), mechanisms=mechanism) as attachment:
        calls.run(4)
        found = attachment.map(ids).as_dict()
        opened = attachment.map(stacks)
        resolver = Resolver.load()
        ((kernel_id, user_id),) = found
        frames = [resolver.caller(address).name for address in opened.addresses(kernel_id)]
        user = opened.addresses(user_id)
        both = opened.read([kernel_id, user_id, kernel_id, -14])
        opened.clear()
        emptied = opened.addresses(kernel_id)
        missed = attachment.missed()
    assert found == {(kernel_id, user_id): 4}
    assert kernel_id >= 0
    assert user_id >= 0
    assert "bpf_prog_test_run_tracing" in frames
    assert "__sys_bpf" in frames or "__se_sys_bpf" in frames or "__x64_sys_bpf" in frames
    assert user
    assert all(address < 1 << 47 for address in user)
    assert set(both) == {kernel_id, user_id, -14}
    assert both[-14] == emptied == []
    assert not any(missed.values()), missed


@pytest.mark.parametrize("max_entries", [1, 3])
def test_stacks_that_meet_or_have_no_room_are_counted(kernel, calls, max_entries: int) -> None:
    tiny = mp.StackTraces(max_entries=max_entries)

    @mp.program
    def take_tiny(ctx):
        ids[tiny.id(ctx), ctx.function] += 1

    with mp.attach(take_tiny, kernel.by_symbols(NAMES)) as attachment:
        calls.run(5)
        found = attachment.map(ids).as_dict()
        missed = attachment.missed()
    lost = {code: sum(n for (stack, _), n in found.items() if stack == code) for code in (-errno.EEXIST, -errno.ENOMEM)}
    assert [missed["stack_collisions"], missed["failed_stacks"]] == list(lost.values())
    assert sum(lost.values()) > 0
    assert sum(found.values()) == 30
