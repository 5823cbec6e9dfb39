"""Every construct that docs/language.md names: accepted by the verifier at every hook, and right when it runs."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from struct import pack

import pytest

import multiprobe as mp
from multiprobe.compiler.compiling import compile_program
from multiprobe.maps.set_spec import MapSetSpec
from multiprobe.maps.store import MapSet
from multiprobe.syscalls import bpf
from multiprobe.uapi.bpf import ProgType

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS / "properties"), str(TESTS / "unit" / "compiler")]

from construct_reference import expected, program_of  # noqa: E402
from constructs import HITS, sources  # noqa: E402

SOURCES = sources()
#: The two programs with what the page says of values: overflow, signs, division, shifts, conversions, comparisons.
INTEGERS = SOURCES[:2]


@pytest.mark.parametrize(("names", "source"), SOURCES, ids=[names[0] for names, _ in SOURCES])
def test_constructs_do_what_python_does(names: list[str], source: str) -> None:
    program = program_of(source)
    code = compile_program(program, context="raw_tracepoint", when="entry", is_cached=False)
    specs = [program.maps[name] for name in code.maps]
    out = next(program.maps[name] for name in code.maps if name == "out")
    for hit in HITS:
        with MapSet(MapSetSpec(tuple(specs), n_functions=1, n_cpus=1)) as store:
            with bpf.prog_load(ProgType.RAW_TRACEPOINT, code.link(store.values(specs)), name="construct") as loaded:
                store.activate()
                bpf.prog_test_run(loaded, context=pack("<12Q", *hit, *[0] * 8))
            found = list(store.map(out).totals())[: len(names)]
        assert dict(zip(names, found, strict=True)) == expected(names, source, hit), hit


@pytest.mark.parametrize("context", ["kprobe_multi", "tracing"])
@pytest.mark.parametrize(("names", "source"), SOURCES, ids=[names[0] for names, _ in SOURCES])
def test_constructs_are_accepted_at_hooks(names: list[str], source: str, context: str) -> None:
    program = program_of(source)
    code = compile_program(program, context=context, when="entry", is_cached=False)
    specs = [program.maps[name] for name in code.maps]
    with MapSet(MapSetSpec(tuple(specs), n_functions=1, n_cpus=1)) as store:
        if context == "tracing":
            from multiprobe.kernel.btf.format import find_function, parse_sections

            types = parse_sections(Path("/sys/kernel/btf/vmlinux").read_bytes(), is_split=False)
            kind, attach = ProgType.TRACING, {"expected_attach_type": 24}
            attach["attach_btf_id"] = find_function(types, "bpf_fentry_test6") or 0
        else:
            kind, attach = ProgType.KPROBE, {"expected_attach_type": 42}
        bpf.prog_load(kind, code.link(store.values(specs)), name="construct", **attach).close()


@pytest.mark.parametrize("mechanism", ["kprobe_multi", "tracing_multi", "trampoline", "kprobe"])
@pytest.mark.parametrize(("names", "source"), INTEGERS, ids=[names[0] for names, _ in INTEGERS])
def test_integers_are_the_same_under_any_mechanism(names: list[str], source: str, mechanism: str) -> None:
    if not mp.Kernel().has(mechanism):
        pytest.skip(f"this kernel has no {mechanism}")
    given = mp.Array(mp.u64, 4)
    program = program_of(re.sub(r"ctx\.arg\((\d)\)", r"given[\1]", source), given=given)
    with mp.attach(program, "__x64_sys_getsid", mechanisms=mechanism) as attachment:
        out = next(spec for name, spec in program.maps.items() if name == "out")
        for hit in HITS:
            attachment.map(given).memory[:32] = pack("<4Q", *hit[:4])
            os.getsid(0)
            found = list(attachment.map(out).totals())[: len(names)]
            assert dict(zip(names, found, strict=True)) == expected(names, source, hit), hit


rounds = mp.PerFunction(mp.u64)


@mp.program(loop_limit=10)
def endless(ctx):
    n = 0
    while True:
        n += 1
        rounds[ctx.function] = n


@pytest.mark.parametrize("mechanism", ["kprobe_multi", "tracing_multi", "trampoline", "kprobe"])
def test_a_loop_that_wants_more_is_cut_off_and_counted(mechanism: str) -> None:
    if not mp.Kernel().has(mechanism):
        pytest.skip(f"this kernel has no {mechanism}")
    with mp.attach(endless, "__x64_sys_getsid", mechanisms=mechanism, pid=os.getpid()) as attachment:
        os.getsid(0)
        assert attachment.read(rounds).tolist() == [10]
        assert attachment.missed()["cut_loops"] == 1
