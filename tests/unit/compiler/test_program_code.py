"""Linking, its agreement with llvm-objdump, the disk cache, and the way to cached code that imports nothing heavy."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from struct import pack, unpack
from zlib import crc32

import pytest

import multiprobe as mp
from multiprobe.compiler import cache, pipeline
from multiprobe.compiler.code import Code
from multiprobe.compiler.compiling import compile_program
from multiprobe.compiler.digest import digest
from multiprobe.compiler.shape import Shape
from multiprobe.errors import UsageError

calls = mp.PerFunction(mp.u64)
table = mp.Hash(mp.u32, mp.u64)
FACTOR = 3


@mp.program
def count(ctx):
    calls[ctx.function] += 1


@mp.program
def pairing(ctx):
    if ctx.is_return:
        table[ctx.pid] += ctx.time - ctx.session
    else:
        ctx.session = ctx.time


def values_for(code: Code) -> dict[str, int]:
    """A number of its own for every hole."""
    return {key: 0x1000 + place for place, key in enumerate(sorted(code.keys))}


def as_elf(insns: bytes) -> bytes:
    """The smallest object file with these instructions."""
    names = b"\0.text\0.shstrtab\0"
    after = 64 + len(insns)
    header = pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 1, 247, 1, 0, 0, after + len(names), 0, 64, 0, 0, 64, 3, 2
    )
    text = pack("<IIQQQQIIQQ", 1, 1, 6, 0, 64, len(insns), 0, 0, 8, 0)
    strings = pack("<IIQQQQIIQQ", 7, 3, 0, 0, after, len(names), 0, 0, 1, 0)
    return header + insns + names + bytes(64) + text + strings


def disassemble(insns: bytes, directory: Path) -> list[str]:
    """What llvm-objdump makes of instructions, one a line."""
    tool = shutil.which("llvm-objdump")
    if tool is None:
        pytest.skip("llvm-objdump is not installed")
    (directory / "code.o").write_bytes(as_elf(insns))
    arguments = [tool, "-d", "--no-show-raw-insn", "--mcpu=v3", str(directory / "code.o")]
    text = subprocess.run(arguments, capture_output=True, text=True, check=True).stdout
    return [line.split("\t", 1)[1].strip() for line in text.splitlines() if "\t" in line and ":" in line.split("\t")[0]]


def test_linked_code_is_what_objdump_reads(tmp_path: Path) -> None:
    code = compile_program(count, context="kprobe_multi", when="entry")
    values = values_for(code)
    lines = disassemble(code.link(values), tmp_path)
    assert "<unknown>" not in lines
    assert lines[-2:] == ["r0 = 0", "exit"]
    assert {"call 173", "call 8", "lock *(u64 *)(r2 + 0) += r1"} <= set(lines)
    text = "\n".join(lines)
    for key in ("index.limit", "map0.stride", "map0.limit"):
        assert re.search(rf"{values[key]}\b", text), key
    for key in ("control", "index", "map0"):
        assert any(line.startswith("ld_pseudo") and line.endswith(f", 2, {values[key]}") for line in lines), key


def test_kernel_functions_and_map_descriptors(tmp_path: Path) -> None:
    code = compile_program(pairing, context="kprobe_multi", when="session")
    assert {one.kind for one in code.relocations} == {"map", "map_value", "kfunc"}
    values = values_for(code)
    linked = code.link(values)
    for relocation in code.relocations:
        insn = linked[relocation.insn * 8 : relocation.insn * 8 + 8]
        assert int.from_bytes(insn[4:8], "little") == values[relocation.key]
        assert insn[1] >> 4 == {"map": 1, "map_value": 2, "kfunc": 2}[relocation.kind]
    assert "<unknown>" not in disassemble(linked, tmp_path)


def test_what_linking_leaves_alone() -> None:
    code = compile_program(count, context="tracing", when="entry", shape=Shape(function_from="cookie"))
    linked = code.link(values_for(code))
    touched = {relocation.insn + more for relocation in code.relocations for more in (0, 1)}
    for place in range(len(linked) // 8):
        if place not in touched:
            assert linked[place * 8 : place * 8 + 8] == code.insns[place * 8 : place * 8 + 8]


def test_a_missing_value_is_named() -> None:
    code = compile_program(count, context="kprobe_multi", when="entry")
    with pytest.raises(UsageError, match=r"no value for map0, map0\.limit, map0\.stride"):
        code.link({"control": 1, "index": 2, "index.limit": 3})


def test_constants_are_linked_into_one_instruction() -> None:
    code = compile_program(count, context="tracing", when="entry", shape=Shape(function_from="cookie"))
    place = next(one.insn for one in code.relocations if one.key == "map0.limit") * 8
    linked = code.link(values_for(code) | {"map0.limit": (1 << 31) - 1})
    opcode, registers, _, immediate = unpack("<BBhi", linked[place : place + 8])
    assert (opcode, registers >> 4, immediate) == (0x25, 0, (1 << 31) - 1)  # compared with it
    for number in (1 << 31, -1):
        with pytest.raises(UsageError, match=r"map0\.limit is -?\d+, which doesn't fit in 31 bits"):
            code.link(values_for(code) | {"map0.limit": number})


def test_lines_lead_back_to_the_source() -> None:
    code = compile_program(pairing, context="tracing", when="session", shape=Shape(function_from="cookie"))
    lines = {place >> 10 for _, place in code.lines}
    assert lines >= {2, 3, 5}
    assert code.location_of(10_000) is not None
    assert code.lines == tuple(sorted(code.lines))


# The cache


def test_the_second_time_nothing_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    first = compile_program(count, context="kprobe_multi", when="entry")

    def never(*_: object, **__: object) -> Code:
        raise AssertionError("compiled again")

    monkeypatch.setattr(pipeline, "compile_now", never)
    assert compile_program(count, context="kprobe_multi", when="entry") == first
    with pytest.raises(AssertionError, match="compiled again"):
        compile_program(count, context="kprobe", when="entry")


def test_damaged_cut_off_and_foreign_files_are_not_believed() -> None:
    code = compile_program(count, context="kprobe_multi", when="entry")
    data = cache.encode("key", code)
    assert cache.decode("key", data) == code
    assert cache.decode("other", data) is None
    for length in range(0, len(data), 7):
        assert cache.decode("key", data[:length]) is None
    for place in range(0, len(data), 5):
        changed = bytearray(data)
        changed[place] ^= 0x10
        assert cache.decode("key", bytes(changed)) is None


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"\xff", b"[]", b"null", b'["key"]', b"[" * 100_000, b'["key",5,[],[],[],[],[]]'),
        *(b'["key","zz",[],[],[],[],[]]', b'["key","",[[1]],[],[],[],[]]', b'["key","",[["x","y","z"]],[],[],[],[]]'),
        *(b'["key","",[],5,[],[],[]]', b'["key","",[],[],[],[[1]],[]]', b'["key","",[],[],[],[[1e999,0]],[]]'),
        b'["other","",[],[],[],[],[]]',
    ],
)
def test_what_is_no_program_is_not_believed_though_the_checksum_is_right(body: bytes) -> None:
    assert cache.decode("key", cache.MAGIC + crc32(body).to_bytes(4, "little") + body) is None


def test_an_unusable_directory_is_no_reason_to_fail(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MULTIPROBE_CACHE", str(tmp_path / "file"))
    assert compile_program(count, context="kprobe_multi", when="entry").insns


def test_old_code_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "KEPT", 3)
    code = compile_program(count, context="kprobe_multi", when="entry")
    Path(cache.path_of("mine")).write_text("not written by multiprobe")
    for place in range(6):
        cache.save(f"{place:040x}", code)
        os.utime(cache.path_of(f"{place:040x}"), (place + 10, place + 10))
    kept = sorted(path.name for path in Path(cache.path_of("x")).parent.iterdir())
    assert kept[-1] == "mine"
    assert f"{5:040x}" in kept
    assert len(kept) == 3 + 1


def key_of(program: object, **changes: object) -> str:
    options = {"context": "kprobe_multi", "when": "entry", "shape": Shape()} | changes
    return digest(program, **options)  # type: ignore[arg-type]


def variant(number: int, spec: object, *, limit: int = 256) -> object:
    def program(ctx):
        spec[ctx.pid] += number * FACTOR

    return mp.program(program, loop_limit=limit)


def test_the_key_covers_all_that_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {
        key_of(variant(1, table)),
        key_of(variant(2, table)),
        key_of(variant(1, calls)),
        key_of(variant(1, mp.Hash(mp.u32, mp.u32))),
        key_of(variant(1, mp.Hash(mp.u64, mp.u64))),
        key_of(variant(1, mp.Array(mp.u64, 5))),
        key_of(variant(1, mp.Array(mp.u64, 6))),
        key_of(variant(1, table, limit=5)),
        key_of(variant(1, table), when="return"),
        key_of(variant(1, table), context="tracing"),
        key_of(variant(1, table), shape=Shape(has_pid=True)),
        key_of(variant(1, table), shape=Shape(index_shift=0)),
        key_of(count),
    }
    assert len(keys) == 13
    before = key_of(variant(1, table))
    assert before == key_of(variant(1, mp.Hash(mp.u32, mp.u64, max_entries=7))), "the size is linked, not compiled"
    monkeypatch.setitem(globals(), "FACTOR", 4)
    assert key_of(variant(1, table)) != before


@mp.helper
def twice(x):
    return x * FACTOR


@mp.program
def helped(ctx):
    table[0] += twice(ctx.arg(0))


def test_the_key_covers_helpers(monkeypatch: pytest.MonkeyPatch) -> None:
    before = key_of(helped)
    assert key_of(helped) == before
    monkeypatch.setitem(globals(), "FACTOR", 5)
    assert key_of(helped) != before


def test_keys_are_the_same_in_every_process(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\nfrom multiprobe.instruments.count import count\n"
        "from multiprobe.compiler.digest import digest\nfrom multiprobe.compiler.shape import Shape\n"
        "print(digest(count, context='tracing', when='entry', shape=Shape()))\n"
    )
    keys = {
        subprocess.run(
            [sys.executable, str(script)],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(keys) == 1


HEAVY = ("llvmlite", "numpy")


def test_cached_code_is_reached_without_heavy_imports(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\nbefore = set(sys.modules)\n"
        "from multiprobe.instruments.count import count\n"
        "from multiprobe.compiler.compiling import compile_program\n"
        "from multiprobe.maps.store import MapSet\nfrom multiprobe.maps.index import build_index\n"
        "code = compile_program(count, context='kprobe_multi', when='entry')\n"
        "code.link({key: 1 for key in code.keys})\n"
        f"print(*sorted((set(sys.modules) - before) & set({HEAVY!r})))\n"
    )
    command = [sys.executable, "-S", str(script)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    runs = [
        subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split()
        for _ in range(2)
    ]
    assert "llvmlite" in runs[0]
    assert "numpy" not in runs[0], "not even what compiles needs it"
    assert runs[1] == []
