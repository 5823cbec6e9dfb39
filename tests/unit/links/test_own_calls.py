"""Functions of the kernel that a program itself calls, on fake kernels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import multiprobe as mp
from fake_kernel import LIKE_6_12, LIKE_7_3, FakeFunction, FakeKernel
from fake_kernel.objects import Map
from multiprobe.compiler.code import Code
from multiprobe.errors import NoMatchError
from multiprobe.links.helper_calls import called_by
from multiprobe.links.own_calls import called_names
from multiprobe.links.plan import programs
from multiprobe.uapi.bpf import FuncId

times = mp.PerFunction(mp.u64)
calls = mp.PerFunction(mp.u64)
tallies = mp.Hash(mp.u32, mp.u64)
CLOCK = "bpf_ktime_get_ns"


@mp.program
def last_call(ctx):
    times[ctx.function] = ctx.time


@mp.program
def count(ctx):
    calls[ctx.function] += 1


@mp.program
def tally(ctx):
    tallies[ctx.tid] += 1


@mp.program(when="session")
def both(ctx):
    ctx.session = 1


@pytest.fixture(params=[LIKE_6_12, LIKE_7_3], ids=["6.12", "7.3"])
def fake(request: pytest.FixtureRequest, directory: Path) -> Iterator[FakeKernel]:
    with FakeKernel(directory, request.param) as booted:
        yield booted
    assert booted.left() == []


def test_what_the_program_calls_is_left_out_of_a_pattern(fake: FakeKernel) -> None:
    with mp.attach(last_call, "bpf_ktime_*") as attachment:
        report = attachment.report
        assert fake.attached() == {"bpf_ktime_get_coarse_ns"}
        assert [function.name for function in attachment.functions] == ["bpf_ktime_get_coarse_ns"]
    assert (report.requested, report.attached) == (2, 1)
    assert [(one.request, one.code) for one in report.skipped] == [(CLOCK, "own_call")]
    assert "called by the program itself" in report.skipped[0].reason


def test_a_plan_says_the_same(fake: FakeKernel) -> None:
    report = mp.plan("bpf_ktime_*", program=last_call).report
    assert report.attached == 1
    assert [(one.request, one.code) for one in report.skipped] == [(CLOCK, "own_call")]


def test_a_program_that_does_not_call_it_is_attached(fake: FakeKernel) -> None:
    with mp.attach(count, "bpf_ktime_*") as attachment:
        assert attachment.report.attached == 2
        assert not attachment.report.skipped
        assert CLOCK in fake.attached()


@pytest.mark.parametrize("functions", [[CLOCK], CLOCK, [CLOCK, "tcp_ack"]])
def test_who_asks_for_it_by_its_symbol_gets_it(fake: FakeKernel, functions: str | list[str]) -> None:
    with mp.attach(last_call, functions) as attachment:
        assert CLOCK in fake.attached()
        assert not attachment.report.skipped


def test_all_or_nothing_is_all(fake: FakeKernel) -> None:
    with mp.attach(last_call, "bpf_ktime_*", on_bad="error"):
        assert CLOCK in fake.attached()


def test_nothing_else_was_chosen(fake: FakeKernel) -> None:
    with pytest.raises(NoMatchError, match="called by the program itself"):
        mp.attach(last_call, "bpf_ktime_get_n*")
    assert not fake.attached()


def test_maps_are_made_once_and_codes_compiled_once(fake: FakeKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = []
    real = programs.compile_program
    monkeypatch.setattr(programs, "compile_program", lambda *a, **how: compiled.append(how["shape"]) or real(*a, **how))
    fake.calls.clear()
    with mp.attach(last_call, "bpf_ktime_*"):
        assert fake.calls.count("MAP_CREATE") == sum(isinstance(one, Map) for one in fake.objects.values())
    assert len(compiled) == 1


def test_what_can_not_be_attached_anyway_is_skipped_once(directory: Path) -> None:
    functions = [FakeFunction("bpf_ktime_get_coarse_ns"), FakeFunction(CLOCK, is_traceable=False, on_blacklist=True)]
    with FakeKernel(directory / "untraceable", LIKE_6_12, functions=functions):
        for report in (mp.plan("bpf_ktime_*", program=last_call).report, attached_report()):
            assert [one.request for one in report.skipped] == [CLOCK]
            assert report.skipped[0].code != "own_call"


def attached_report() -> mp.Report:
    with mp.attach(last_call, "bpf_ktime_*") as attachment:
        return attachment.report


def test_what_a_helper_calls_is_left_out_too(directory: Path) -> None:
    names = (
        "__htab_map_lookup_elem", "htab_map_update_elem", "htab_lru_map_update_elem", "pcpu_init_value.part.0",
        "alloc_htab_elem.isra.0", "alloc_htab_elements", "_raw_spin_lock", "bpf_map_update_elem",
    )  # fmt: skip
    with FakeKernel(directory / "helpers", LIKE_6_12, functions=[FakeFunction(name) for name in names]) as booted:
        with mp.attach(tally, "*") as attachment:
            left_out = {one.request: one.reason for one in attachment.report.skipped if one.code == "own_call"}
            assert booted.attached() == {
                "htab_lru_map_update_elem", "pcpu_init_value.part.0", "alloc_htab_elements", "_raw_spin_lock",
            }  # fmt: skip
        assert "by the program itself" in left_out["bpf_map_update_elem"]
        assert "by bpf_map_update_elem, which the program calls" in left_out["alloc_htab_elem.isra.0"]
        assert "by bpf_map_lookup_elem, which the program calls" in left_out["__htab_map_lookup_elem"]
        with mp.attach(tally, ["htab_map_update_elem"]):
            assert booted.attached() == {"htab_map_update_elem"}


@pytest.mark.parametrize(
    ("spec", "updates"),
    [
        (mp.Hash(mp.u32, mp.u64), "htab_map_update_elem"),
        (mp.Hash(mp.u32, mp.u64, per_cpu=True), "htab_percpu_map_update_elem"),
        (mp.LruHash(mp.u32, mp.u64), "htab_lru_map_update_elem"),
        (mp.LruHash(mp.u32, mp.u64, per_cpu=True), "htab_lru_percpu_map_update_elem"),
    ],
)
def test_each_kind_of_hash_table_has_its_own(spec: mp.Hash, updates: str) -> None:
    found = {name for name in called_by(FuncId.MAP_UPDATE_ELEM, [spec]) if name.endswith("_map_update_elem")}
    assert found - {f"__{updates}"} == {updates}
    assert "lookup_elem_raw" in called_by(FuncId.MAP_DELETE_ELEM, [spec])


def test_arrays_are_reached_without_a_helper() -> None:
    assert not list(called_by(FuncId.MAP_LOOKUP_ELEM, [mp.Array(mp.u64, 1), mp.PerFunction(mp.u64)]))


def test_names_of_what_is_called() -> None:
    call = b"\x85\x00\x00\x00"
    other = b"\x85\x10\x00\x00"  # a function of the program
    insns = [call + b"\x05\0\0\0", other + b"\x08\0\0\0", call + b"\xad\0\0\0", b"\x95" + bytes(7)]
    found = called_names(Code(b"".join(insns), (), (), frozenset(), ()), {})
    assert {CLOCK, "bpf_get_func_ip", "bpf_get_func_ip_kprobe_multi"} < found.keys()
    assert "bpf_get_smp_processor_id" not in found
