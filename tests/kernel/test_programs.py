"""Programs in a real kernel: every hook accepts them, they do what plain Python does, and `ctx` tells the truth."""

from __future__ import annotations

import os
import sys
from array import array
from collections.abc import Iterator
from pathlib import Path
from struct import pack

import pytest

import multiprobe as mp
from multiprobe.compiler.code import Code
from multiprobe.compiler.compiling import compile_program
from multiprobe.compiler.shape import Shape
from multiprobe.kernel.btf.format import find_function, parse_sections
from multiprobe.maps.cpus import load_n_cpus
from multiprobe.maps.index import build_index
from multiprobe.maps.set_spec import MapSetSpec
from multiprobe.maps.store import MapSet
from multiprobe.syscalls import bpf
from multiprobe.syscalls.fd import FileDescriptor
from multiprobe.uapi.bpf import AttachType, ProgType

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS / "properties"), str(TESTS / "unit" / "compiler")]

from differential import compiled  # noqa: E402
from prepared import Case, load, prepare  # noqa: E402

N_PROGRAMS = int(os.environ.get("MULTIPROBE_PROGRAMS", "20"))
ADDRESSES = [0xFFFFFFFF81000000 + 4096 * place for place in range(50)]

calls = mp.PerFunction(mp.u64)
halves = mp.PerFunction(mp.u32)
slots = mp.Array(mp.i64, 100)
hundred = mp.Array(mp.u64, 100)
states = mp.Array(mp.u32, 50_000)
each_cpu = mp.Array(mp.u64, 100, per_cpu=True)
table = mp.Hash((mp.u32, mp.u64), mp.u64, 1000)


@mp.program
def count(ctx):
    calls[ctx.function] += 1


@mp.program
def everything(ctx):
    """Each construct that needs something of the verifier."""
    total = ctx.arg(0) + ctx.arg(7) + ctx.arg_count + ctx.cookie + ctx.ip
    for i in range(6):
        if i == ctx.cpu:
            continue
        total += i // ctx.arg(1) if ctx.arg(1) else i
        slots[i * 3] = total
    n = 0
    while n < ctx.arg(2) and n < 6:
        n += 1
        total ^= n << n
    slots[n] += total
    calls[n] += total
    halves[ctx.function] |= 5
    if (ctx.pid, total) in table or ctx.tid == 1:
        del table[ctx.pid, total]
    table[ctx.pid, total] += max(n, 3)
    table[ctx.pid, n] = min(total, ctx.time)
    if calls[ctx.function] > 10 and slots[total] < 0:
        return
    slots[7] = -total % 5


@mp.program
def anywhere(ctx):
    """Arrays whose sizes are no powers of two, at indices that LLVM could join with a bound or an offset."""
    hundred[ctx.pid] += 1
    if not hundred[ctx.tid]:
        hundred[ctx.tid] = ctx.time
    if not states[ctx.function]:
        states[ctx.function] = ctx.pid
    hundred[ctx.arg(0) + 2 * ctx.arg(1)] |= 1
    each_cpu[ctx.pid] += 1
    if not each_cpu[ctx.arg(0) >> 57]:
        each_cpu[ctx.arg(0) >> 57] = 5
    if not calls[ctx.function]:
        calls[ctx.function] = ctx.time
    if not calls[ctx.pid * 3]:
        calls[ctx.pid * 3] += hundred[ctx.arg(1) // 8]


@mp.program(when="return")
def returned(ctx):
    if mp.i32(ctx.ret) < 0:
        calls[ctx.function] += 1
    slots[ctx.ret & 63] += ctx.cookie


@mp.program(when="session")
def session(ctx):
    if not ctx.is_return:
        ctx.session = ctx.time + ctx.arg(0)
    elif ctx.ret < 0:
        calls[ctx.function] += ctx.time - ctx.session


PROGRAMS = [(count, "entry"), (everything, "entry"), (anywhere, "entry"), (returned, "return"), (session, "session")]
#: How programs of each hook are loaded: context, program type, and the attach type of each side.
HOOKS = {
    "kprobe_multi": ("kprobe_multi", ProgType.KPROBE, (42, 42, AttachType.TRACE_KPROBE_SESSION)),
    "kprobe": ("kprobe", ProgType.KPROBE, (0, 0)),
    "trampoline": ("tracing", ProgType.TRACING, (24, 25, AttachType.TRACE_FSESSION)),
    "tracing_multi": ("tracing", ProgType.TRACING, (59, 60, AttachType.TRACE_FSESSION_MULTI)),
}
ARRAYS = ("out", "items")
SIDES = ("entry", "return", "session")
CASES = [
    (program, when, hook, Shape(function_from=function_from, has_pid=has_pid))
    for program, when in PROGRAMS
    for hook, (_, _, attach_types) in HOOKS.items()
    for function_from in (("ip",) if hook == "kprobe_multi" else ("ip", "cookie"))
    for has_pid in ((False, True) if program is count else (False,))
    if SIDES.index(when) < len(attach_types)
]


@pytest.fixture(scope="module")
def kernel() -> mp.Kernel:
    return mp.Kernel()


@pytest.fixture(scope="module")
def function_ids() -> dict[str, int]:
    sections = parse_sections(Path("/sys/kernel/btf/vmlinux").read_bytes(), is_split=False)
    names = ("bpf_fentry_test1", "bpf_session_cookie", "bpf_session_is_return")
    return {name: find_function(sections, name) or 0 for name in names}


def open_store(program) -> MapSet:
    spec = MapSetSpec(
        tuple(program.maps.values()),
        n_functions=len(ADDRESSES),
        n_cpus=load_n_cpus(),
        index=build_index(ADDRESSES),
        cookies=array("Q", range(len(ADDRESSES))),
        arg_counts=bytes(len(ADDRESSES)),
    )
    return MapSet(spec)


def require(kernel: mp.Kernel, hook: str, when: str) -> None:
    """Skip what this kernel can't have. (Programs for kprobe.multi load everywhere.)"""
    if hook == "tracing_multi" and not kernel.has("tracing_multi"):
        pytest.skip("this kernel has no tracing_multi")
    if when == "session" and not (
        kernel.has("kprobe_multi") if hook == "kprobe_multi" else kernel.has("tracing_multi")
    ):
        pytest.skip(f"this kernel has no {'kprobe_session' if hook == 'kprobe_multi' else 'fsession'}")


@pytest.mark.parametrize(("program", "when", "hook", "shape"), CASES)
def test_the_verifier_accepts(program, when: str, hook: str, shape: Shape, kernel, function_ids) -> None:
    require(kernel, hook, when)
    context, kind, attach_types = HOOKS[hook]
    code = compile_program(program, context=context, when=when, shape=shape)
    with open_store(program) as store:
        values = store.values([program.maps[name] for name in code.maps])
        values |= {f"kfunc:{name}": number for name, number in function_ids.items()} | {"pid": 1}
        bpf.prog_load(
            kind,
            code.link(values),
            name=program.name,
            expected_attach_type=attach_types[SIDES.index(when)],
            attach_btf_id=function_ids["bpf_fentry_test1"] if hook == "trampoline" else 0,
        ).close()


@pytest.mark.parametrize("megabytes", [1, 16, 64])
def test_map_values_may_be_large(megabytes: int) -> None:
    from multiprobe.maps.maps import SharedArray

    shared = SharedArray(megabytes << 20, name="large")
    shared.memory[-1] = 7
    found = bpf.map_lookup(shared.fd, bytes(4), megabytes << 20)
    shared.close()
    assert found is not None
    assert found[-1] == 7


def random_cases() -> Iterator[Case]:
    """As many as are asked for; from files, if somebody prepared them."""
    files = os.environ.get("MULTIPROBE_PREPARED", "")
    if files:
        for path in files.split(":"):
            yield from load(path)
    else:
        yield from (prepare(seed)[1] for seed in range(N_PROGRAMS))


def test_random_programs_agree_with_python() -> None:
    n, too_large = 0, []
    for seed, source, code, hits, expected in random_cases():
        try:
            found = as_the_kernel_runs(source, code, hits)
        except mp.VerifierError as error:  # 6.12 and 7.3 follow one of 5,000 for a million steps
            if "too large" not in str(error):
                raise
            too_large.append(seed)
            continue
        assert found == expected, f"seed {seed}:\n{source}"
        n += 1
    assert n >= min(N_PROGRAMS, 20)
    assert len(too_large) <= n // 1000, too_large
    print(f"{n} programs agree, too large for the verifier: {too_large}")


def as_the_kernel_runs(source: str, code: Code, hits: list[list[int]]) -> dict[str, dict[int, int]]:
    """What the maps hold after a program was run for each hit."""
    program = compiled(source)
    specs = [program.maps[name] for name in code.maps]
    with (
        MapSet(MapSetSpec(tuple(specs), n_functions=1, n_cpus=1)) as store,
        bpf.prog_load(ProgType.RAW_TRACEPOINT, code.link(store.values(specs)), name="random") as loaded,
    ):
        store.activate()
        for hit in hits:
            bpf.prog_test_run(loaded, context=pack("<12Q", *hit, *[0] * 6))
        found: dict[str, dict[int, int]] = {"out": {}, "items": {}, "table": {}, "narrow": {}}
        for name, spec in zip(code.maps, specs, strict=True):
            opened, short = store.map(spec), name.rpartition(".")[2]
            numbers = enumerate(opened.totals()) if short in ARRAYS else opened.as_dict().items()
            found[short] = {key: number for key, number in numbers if number or short not in ARRAYS}
    return found


# What ctx tells at a real hit

seen = mp.Hash((mp.u32, mp.u32), mp.u64, 1000)
FIELDS = {"arg0": 0, "arg1": 1, "arg5": 5, "function": 10, "cookie": 11, "ip": 12, "ret": 13, "hits": 14, "pid": 15}


@mp.program
def observe(ctx):
    f = ctx.function
    seen[f, 0] = ctx.arg(0)
    seen[f, 1] = ctx.arg(1)
    seen[f, 5] = ctx.arg(5)
    seen[f, 10] = f
    seen[f, 11] = ctx.cookie
    seen[f, 12] = ctx.ip
    seen[f, 14] += 1
    seen[f, 15] = ctx.pid


@mp.program(when="return")
def observe_return(ctx):
    f = ctx.function
    seen[f, 13] = ctx.ret
    seen[f, 11] = ctx.cookie
    seen[f, 12] = ctx.ip
    seen[f, 14] += 1


NAMES = [f"bpf_fentry_test{n}" for n in range(1, 7)]
#: The arguments with which the kernel calls them in BPF_PROG_TEST_RUN (net/bpf/test_run.c); each returns their sum.
GIVEN = [(1,), (2, 3), (4, 5, 6), (7, 8, 9, 10), (11, 12, 13, 14, 15), (16, 17, 18, 19, 20, 21)]


def run_the_test_functions(function_ids: dict[str, int]) -> None:
    """Have the kernel call bpf_fentry_test1 and the others once each."""
    nothing = pack("<BBhi", 0xB7, 0, 0, 0) + pack("<BBhi", 0x95, 0, 0, 0)
    options = {"expected_attach_type": AttachType.TRACE_FENTRY, "attach_btf_id": function_ids["bpf_fentry_test1"]}
    with bpf.prog_load(ProgType.TRACING, nothing, name="trigger", **options) as trigger, held(trigger):
        bpf.prog_test_run(trigger)


def held(program: FileDescriptor) -> FileDescriptor:
    return bpf.raw_tracepoint_open(program)


@pytest.mark.parametrize("with_cookies", [False, True])
@pytest.mark.parametrize("mechanism", ["kprobe_multi", "tracing_multi", "trampoline", "kprobe"])
@pytest.mark.parametrize("program", [observe, observe_return], ids=["entry", "return"])
def test_one_program_under_any_mechanism(program, mechanism, with_cookies, kernel, function_ids) -> None:
    if not kernel.has(mechanism):
        pytest.skip(f"this kernel has no {mechanism}")
    functions = kernel.by_symbols(NAMES)
    cookies = [0xFEDCBA9876543210 + n for n in range(6)] if with_cookies else None
    with mp.attach(program, functions, mechanisms=mechanism, cookies=cookies) as attachment:
        run_the_test_functions(function_ids)
        table = attachment.map(seen).as_dict()
        missed = attachment.missed()
    found = [{name: table.get((index, place), 0) for name, place in FIELDS.items()} for index in range(6)]
    assert [one["hits"] for one in found] == [1] * 6
    assert [one["ip"] for one in found] == [function.address for function in functions]
    if cookies:
        assert [one["cookie"] for one in found] == cookies
    if program is observe:
        assert [one["arg0"] for one in found] == [given[0] for given in GIVEN]
        assert [one["arg1"] for one in found[1:]] == [given[1] for given in GIVEN[1:]]
        assert found[5]["arg5"] == 21
        assert [one["function"] for one in found] == list(range(6))
        assert {one["pid"] for one in found} == {os.getpid()}
    else:
        assert [one["ret"] for one in found] == [1 + 1, *(sum(given) for given in GIVEN[1:])]
    assert not any(missed.values()), missed


def test_registers_are_where_we_think() -> None:
    from multiprobe.arch import native
    from multiprobe.kernel.btf.types import load_btf

    btf = load_btf()
    members = {member.name: member.bit_offset // 8 for member in btf.members(btf.type_ids("pt_regs")[0])}
    arch = native().registers
    wanted = dict(zip(arch.argument_names, arch.arguments, strict=True))
    wanted |= {"ax": arch.returned, "sp": arch.stack_pointer}
    assert {name: members[name] for name in wanted} == wanted
