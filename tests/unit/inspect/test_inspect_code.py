"""Call sites and trampolines, from bytes that real kernels made, and from bytes made to mislead."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from images import MIXED_7_3, RETURN_6_1, RETURN_6_12, Recorded

from multiprobe.arch.x86_64 import parse_site
from multiprobe.errors import NotSupportedError
from multiprobe.inspect.callsite import (
    DESTINATIONS,
    destination,
    is_trampoline,
    trampoline_name,
)
from multiprobe.inspect.disassembly import disassemble, disassemble_routine
from multiprobe.inspect.names import Symbol
from multiprobe.inspect.trampoline import TrampolineCall, program_calls, read_calls

FUNCTION = 0xFFFFFFFF99739D10
ENDBR, SEALED_6_12, SEALED_7_3 = "f30f1efa", "660f1f00", "0f1f40d6"


@pytest.mark.parametrize("prefix", ["", ENDBR, SEALED_6_12, SEALED_7_3])
def test_a_site_lies_behind_endbr_or_what_replaced_it(prefix: str) -> None:
    site = parse_site(bytes.fromhex(prefix + "0f1f440000" + "c3cccc"), FUNCTION)
    assert site.address == FUNCTION + len(prefix) // 2
    assert site.resume == site.address + 5
    assert (site.kind, site.target, site.is_patched) == ("nop", None, False)
    assert destination(site, None) == "nowhere"


def test_a_patched_site_and_its_target() -> None:
    site = parse_site(bytes.fromhex("f30f1efae8f7783eff8d4701c3"), FUNCTION)
    assert (site.kind, site.target, site.is_patched) == ("call", 0xFFFFFFFF98B21610, True)
    jump = parse_site(bytes.fromhex("e900000000"), FUNCTION)
    assert (jump.kind, jump.target) == ("jump", FUNCTION + 5)


@pytest.mark.parametrize(
    ("name", "module", "expected"),
    [
        ("bpf_trampoline_6442517518", "bpf", "direct"),
        ("ftrace_caller", "", "ftrace"),
        ("ftrace_regs_caller", "", "ftrace"),
        ("ftrace_trampoline", "__builtin__ftrace", "ftrace_trampoline"),
        ("kprobe_optinsn_page", "__builtin__kprobes", "kprobe"),
        ("bpf_trampoline_link_prog", "", "other"),
        ("vfs_read", "", "other"),
    ],
)
def test_where_a_site_leads(name: str, module: str, expected: str) -> None:
    site = parse_site(bytes.fromhex("e8f7783eff"), FUNCTION)
    assert destination(site, Symbol(name, module, 0x1000, 0x2000)) == expected
    assert expected in DESTINATIONS


def test_other_entries() -> None:
    assert destination(parse_site(b"\xcc\x1f\x44\x00\x00", FUNCTION), None) == "breakpoint"
    assert destination(parse_site(b"\x55\x48\x89\xe5\x90", FUNCTION), None) == "none"
    assert destination(parse_site(bytes.fromhex("e8f7783eff"), FUNCTION), None) == "other"


@given(st.binary(max_size=24), st.integers(0, (1 << 64) - 1))
def test_any_bytes_can_be_looked_at(code: bytes, address: int) -> None:
    site = parse_site(code, address)
    assert site.kind in ("nop", "call", "jump", "breakpoint", "none")
    assert (site.target is None) == (site.kind not in ("call", "jump"))
    assert destination(site, None) in DESTINATIONS


def test_names_of_trampolines() -> None:
    assert trampoline_name(1, 66574) == "bpf_trampoline_6442517518"
    assert is_trampoline(Symbol("bpf_trampoline_6442517518", "bpf", 1, 2))
    assert not is_trampoline(Symbol("bpf_trampoline_link_prog", "", 1, 2))


def calls_of(image: Recorded) -> tuple[TrampolineCall, ...]:
    instructions = disassemble_routine(image.code, image.address)
    return read_calls(instructions, lambda address: image.names.get(address, ""), resume=image.resume)


@pytest.mark.parametrize("image", [RETURN_6_1, RETURN_6_12, MIXED_7_3], ids=["6.1", "6.12", "7.3"])
def test_an_image_ends_at_its_return(image: Recorded) -> None:
    instructions = disassemble_routine(image.code, image.address)
    code = b"".join(instruction.code for instruction in instructions)
    assert code == image.code.rstrip(b"\0").removesuffix(b"\xcc")
    assert instructions[-1].mnemonic.startswith("ret")


@pytest.mark.parametrize("image", [RETURN_6_1, RETURN_6_12], ids=["6.1", "6.12"])
def test_one_program_after_the_function(image: Recorded) -> None:
    calls = calls_of(image)
    assert [call.kind for call in calls] == ["glue", "function", "enter", "program", "exit", "glue"]
    (program,) = program_calls(calls)
    assert (program.side, program.cookie) == ("return", 0x1234567890ABCDEF)
    assert program.name.endswith("_single_return")
    assert program.program is not None
    assert program.program >> 48 in (0xFF55, 0xFF60)


def test_many_programs_on_both_sides() -> None:
    runs = [(call.name.split("_", 3)[3], call.side, call.cookie) for call in program_calls(calls_of(MIXED_7_3))]
    assert runs == [
        ("multi_session", "entry", 77),
        ("multi_entry", "entry", 0x80000001),
        ("multi_entry", "entry", 5),
        ("multi_session", "return", 77),
        ("single_return", "return", 0x1234567890ABCDEF),
    ]


def read(code: str, names: dict[int, str]) -> tuple[TrampolineCall, ...]:
    return read_calls(disassemble(bytes.fromhex(code), 0x1000), lambda address: names.get(address, ""), resume=0x5000)


@pytest.mark.parametrize(
    ("load", "cookie"),
    [
        ("48bfefcdab9078563412", 0x1234567890ABCDEF),
        ("bf01000080", 0x80000001),
        ("48c7c7ffffffff", (1 << 64) - 1),
        ("31ff", 0),
    ],
)
def test_every_way_to_load_a_cookie(load: str, cookie: int) -> None:
    code = load + "48897dd0" + "48bf00d00ac00ab459ff" + "488d75d0"
    at = 0x1000 + len(code) // 2 + 5
    code += "e8" + (0x3000 - at).to_bytes(4, "little").hex()
    (call,) = read(code, {0x3000: "__bpf_prog_enter_recur"})
    assert (call.kind, call.cookie, call.program) == ("enter", cookie, 0xFF59B40AC00AD000)


def test_a_cookie_that_was_overwritten_is_not_told() -> None:
    # mov $5, %edi; mov %rdi, -0x30(%rbp); mov %rax, -0x30(%rbp); lea -0x30(%rbp), %rsi; call
    code = "bf05000000" + "48897dd0" + "488945d0" + "488d75d0"
    at = 0x1000 + len(code) // 2 + 5
    (call,) = read(code + "e8" + (0x3000 - at).to_bytes(4, "little").hex(), {0x3000: "__bpf_prog_enter"})
    assert call.cookie is None


def test_the_function_may_be_called_by_its_address_on_the_stack() -> None:
    (call,) = read("ffd0", {})  # call *%rax
    assert (call.kind, call.target) == ("function", 0x5000)


def test_large_constants_are_hexadecimal() -> None:
    (instruction,) = disassemble(bytes.fromhex("48bf00d00ac00ab459ff"), 0)
    assert instruction.text == "movabsq $0xff59b40ac00ad000, %rdi"


def test_code_that_jumps_over_its_return_is_read_on() -> None:
    code = bytes.fromhex("7401" + "c3" + "90" + "c3" + "90")  # je over the first ret
    assert [instruction.mnemonic for instruction in disassemble_routine(code, 0x1000)] == ["je", "retq", "nop", "retq"]


@given(st.binary(max_size=64))
def test_any_bytes_can_be_disassembled(code: bytes) -> None:
    instructions = disassemble(code, 0x1000)
    assert b"".join(instruction.code for instruction in instructions) == code[: sum(len(i.code) for i in instructions)]
    read_calls(instructions, lambda _: "", resume=None)


def test_without_capstone_an_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "capstone", None)
    with pytest.raises(NotSupportedError, match="capstone") as refused:
        disassemble(b"\xc3", 0)
    assert refused.value.hint == "pip install 'multiprobe[inspect]'"
