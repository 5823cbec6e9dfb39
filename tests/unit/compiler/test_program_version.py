"""The cache's key holds the compiler's version: whoever changes what is generated must raise it."""

from __future__ import annotations

from hashlib import sha256

import pytest

import multiprobe as mp
from multiprobe.compiler import digest
from multiprobe.compiler.backend.codegen import generate
from multiprobe.compiler.compiling import compile_ahead, compile_program
from multiprobe.compiler.frontend.statements import build
from multiprobe.compiler.shape import Shape

calls = mp.PerFunction(mp.u64)
slots = mp.Array(mp.i32, 10)
table = mp.Hash((mp.u8, mp.u64), mp.u32)

#: The version, and a digest of what it generates for `sample`. If only the digest differs: raise digest.VERSION too.
EXPECTED = (30, "aaa21e0e345eac8c")


@mp.helper
def clamp(x, high):
    return high if x > high else x


@mp.program
def sample(ctx):
    n = 0
    total = ctx.arg(0) // ctx.arg(7) + ctx.arg_count + ctx.cookie
    for i in range(5):
        if (i, total) in table or not total % 3:
            continue
        total += clamp(i, 3) << n
    while n < total and n >= mp.i64(ctx.ip):
        n += 1
    calls[ctx.function] += total
    calls[n] ^= -n
    slots[n] = mp.i8(total) >> 3
    table[ctx.cpu, total] += max(n, 3)
    del table[ctx.pid, ctx.time]


def generated() -> str:
    routine = build(sample)
    specs = [sample.maps[name] for name in routine.maps]
    text = ""
    for context in ("kprobe_multi", "kprobe", "tracing"):
        for shape in (Shape(has_pid=True, n_arguments=(1, 255)), Shape(has_marks=True, is_in_namespace=True)):
            text += generate(routine, specs, context=context, when="entry", shape=shape, target="bpfel").text()
    return sha256(text.encode()).hexdigest()[:16]


def test_other_code_has_another_version() -> None:
    assert (digest.VERSION, generated()) == EXPECTED


def test_compiling_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    from multiprobe.compiler import pipeline

    assert compile_ahead(sample) == 20
    assert compile_ahead(sample, when="return") == 8, "kprobes have no arguments then"
    monkeypatch.setattr(pipeline, "compile_now", None)
    compile_program(sample, context="kprobe_multi", when="entry")
