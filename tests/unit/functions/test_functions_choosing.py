"""Selecting functions: patterns, lists, types and sets."""

from __future__ import annotations

import subprocess

import pytest
from kernel_files import BASE, Files

from multiprobe.errors import NoMatchError, PatternError, UsageError
from multiprobe.functions.kernel import Kernel
from multiprobe.functions.pattern import parse_pattern
from multiprobe.functions.sets import FunctionSet
from multiprobe.kernel.mechanism import Mechanism


def names(chosen: FunctionSet) -> list[str]:
    return [chosen.label(place) for place in range(len(chosen))]


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["tcp_*"], ["tcp_sendmsg", "tcp_recvmsg", "tcp_mod_probe [nf_tables]"]),
        (["tcp_*", "!tcp_recv*"], ["tcp_sendmsg", "tcp_mod_probe [nf_tables]"]),
        (["!tcp_recv*", "tcp_*"], ["tcp_sendmsg", "tcp_mod_probe [nf_tables]"]),
        (["*msg"], ["tcp_sendmsg", "tcp_recvmsg"]),
        (["*_se*m*"], ["tcp_sendmsg"]),
        (["t*_*v*g"], ["tcp_recvmsg"]),
        (["?cp_sendmsg"], ["tcp_sendmsg"]),
        (["tcp_[rs]e*"], ["tcp_sendmsg", "tcp_recvmsg"]),
        (["tcp_[!r]*msg"], ["tcp_sendmsg"]),
        (["/tcp_.*msg/"], ["tcp_sendmsg", "tcp_recvmsg"]),
        (["/cp_sendmsg/"], []),
        (["nf_tables:*"], ["nf_hook [nf_tables]", "s_next [nf_tables]", "tcp_mod_probe [nf_tables]"]),
        (["nf_*:tcp_*"], ["tcp_mod_probe [nf_tables]"]),
        (["vmlinux:tcp_*"], ["tcp_sendmsg", "tcp_recvmsg"]),
        (["nf_tables:/.*_next/"], ["s_next [nf_tables]"]),
        (["s_next*"], ["s_next", "s_next", "s_next [nf_tables]"]),
        (["*", "!*"], []),
        (["tcp_recvmsg", "tcp_sendmsg"], ["tcp_recvmsg", "tcp_sendmsg"]),
        (["tcp_recvmsg", "tcp_send*"], ["tcp_sendmsg", "tcp_recvmsg"]),
        ([hex(BASE + 0x200)], ["tcp_recvmsg"]),
        (["tcp_sendmsg+0x10"], ["tcp_sendmsg+0x10"]),
        (["nf_tables:s_next"], ["s_next [nf_tables]"]),
        (["*_sys_getpid"], ["__do_sys_getpid"]),
        (["__x64_*"], ["__x64_sys_getpid"]),
        (["*getpid", "!__x64_*"], []),
    ],
)
def test_patterns(kernel: Kernel, patterns: list[str], expected: list[str]) -> None:
    assert names(kernel.functions(*patterns)) == expected


def test_everything_is_every_address_once(kernel: Kernel) -> None:
    chosen = kernel.functions("*")
    assert list(chosen.rows) == list(range(kernel.table.n_distinct))
    assert len(set(chosen.addresses())) == len(chosen)
    assert list(kernel.functions().rows) == list(chosen.rows)


def test_ctrl_c_ends_an_expression_that_tries_for_ever(kernel: Kernel) -> None:
    with pytest.raises(KeyboardInterrupt), subprocess.Popen(["sh", "-c", "sleep 0.2; kill -INT $PPID"]):
        kernel.functions("/(.*.*.*.*.*.*.*.*.*.*)*!/")


@pytest.mark.parametrize(
    "text", ["", "!", "/unclosed", "/(/", "//", ":tcp", "tcp_*:", "0xzz", "a b", "x+y", "[z-a]", "näme"]
)
def test_what_cant_be_read_is_refused_with_a_hint(text: str) -> None:
    with pytest.raises(PatternError) as caught:
        parse_pattern(text)
    assert caught.value.pattern == text
    assert caught.value.hint


@pytest.mark.parametrize(
    ("request_", "code", "words"),
    [
        ("nosuch", "unknown_name", ["no function is called nosuch"]),
        ("tcp_sendmgs", "unknown_name", ["there is tcp_sendmsg"]),
        ("helper", "unknown_name", ["helper.isra.0"]),
        ("__tcp_sendmsg", "unknown_name", ["there is tcp_sendmsg"]),
        ("nosuch:tcp_sendmsg", "unknown_name", ["it is in vmlinux"]),
        ("s_next", "ambiguous", [hex(BASE + 0x400), hex(BASE + 0x500), "[nf_tables]", "s_next*"]),
        (hex(BASE + 0x111), "inside_function", ["tcp_sendmsg+0x1"]),
        ("0x1000", "wrong_address", ["no function"]),
        ("tcp_sendmsg+0x5000", "wrong_offset", ["outside"]),
    ],
)
def test_refusals_say_what_to_do(kernel: Kernel, request_: str, code: str, words: list[str]) -> None:
    chosen = kernel.functions(request_)
    assert len(chosen) == 0
    (refusal,) = chosen.unresolved
    assert (refusal.request, refusal.code) == (request_, code)
    assert all(word in refusal.reason for word in words)


def test_lists_answer_for_every_request(kernel: Kernel) -> None:
    chosen = kernel.by_symbols(["tcp_recvmsg", "nosuch", "tcp_sendmsg", "tcp_recvmsg", "s_next", "noprobe"])
    assert names(chosen) == ["tcp_recvmsg", "tcp_sendmsg", "noprobe"]
    assert chosen.positions is not None
    assert list(chosen.positions) == [0, 2, 5]
    assert [refusal.code for refusal in chosen.unresolved] == ["unknown_name", "listed_twice", "ambiguous"]


def test_two_names_of_one_function_are_listed_twice(kernel: Kernel) -> None:
    chosen = kernel.by_symbols(["__x64_sys_getpid", "__do_sys_getpid"])
    assert names(chosen) == ["__x64_sys_getpid"]
    assert chosen.unresolved[0].code == "listed_twice"
    assert "__x64_sys_getpid" in chosen.unresolved[0].reason


@pytest.mark.parametrize("shift", [0, 4])
def test_addresses_of_symbols_and_of_calls_mean_the_same(kernel: Kernel, shift: int) -> None:
    chosen = kernel.by_addresses([BASE + 0xB00 + shift, BASE + 0x110 + shift])
    assert names(chosen) == ["do_exit", "tcp_sendmsg"]
    assert list(chosen.addresses()) == [BASE + 0xB00, BASE + 0x110]


def test_the_call_address_counts_only_where_ftrace_calls(kernel: Kernel) -> None:
    chosen = kernel.by_addresses([BASE + 0x204, BASE + 0x110, BASE + 0x114])
    assert [refusal.code for refusal in chosen.unresolved] == ["inside_function", "listed_twice"]


def test_many_addresses_at_once_are_answered_as_one_by_one(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    table = kernel.table
    wanted = [address + 4 * (row % 2) for row, address in enumerate(table.addresses)] + [0x10, BASE + 0x110]
    slow = kernel.by_addresses(wanted)
    monkeypatch.setattr("multiprobe.functions.request.MANY", 0)
    fast = kernel.by_addresses(wanted)
    assert list(fast.rows) == list(slow.rows)
    assert fast.positions == slow.positions
    assert fast.unresolved == slow.unresolved
    exact = kernel.by_addresses(table.addresses[: table.n_distinct][::-1])
    assert list(exact.rows) == list(range(table.n_distinct))[::-1]
    assert exact.unresolved == ()


def test_offsets_leave_single_kprobes_only(kernel: Kernel) -> None:
    chosen = kernel.functions("tcp_sendmsg+0x10", "tcp_recvmsg")
    assert chosen.offsets is not None
    assert list(chosen.mechanisms()) == [Mechanism.KPROBE, Mechanism.KERNEL]
    assert list(chosen.mechanisms(when="return")) == [0, Mechanism.KERNEL]
    assert list(chosen.addresses()) == [BASE + 0x120, BASE + 0x200]
    assert chosen.refusals(Mechanism.KPROBE_MULTI)[0].code == "offset"
    assert str(chosen[0]) == "tcp_sendmsg+0x10"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"takes": "struct sock *"}, {"tcp_sendmsg", "tcp_recvmsg", "printk_va", "noprobe"}),
        ({"takes": "struct sock *", "position": 0}, {"tcp_sendmsg", "tcp_recvmsg", "printk_va"}),
        ({"takes": "struct sock *", "position": 1}, {"noprobe"}),
        ({"returns": "struct sock"}, {"returns_struct"}),
        ({"takes": "struct sock *", "n_args": 1}, {"tcp_recvmsg", "printk_va"}),
        ({"module": "nf_*"}, {"nf_hook", "s_next", "tcp_mod_probe"}),
    ],
)
def test_choosing_by_type(kernel: Kernel, options: dict[str, object], expected: set[str]) -> None:
    assert {function.name for function in kernel.functions(**options)} == expected  # type: ignore[arg-type]


def test_types_that_dont_exist_are_an_error(kernel: Kernel, files: Files) -> None:
    with pytest.raises(UsageError, match="struct sokc"):
        kernel.functions(takes="struct sokc *")
    with pytest.raises(UsageError, match="takes="):
        kernel.functions("*", position=1)
    with pytest.raises(Exception, match="no types"):
        files.kernel(btf=None).functions(takes="struct sock *")


def test_algebra(kernel: Kernel) -> None:
    tcp, msg = kernel.functions("tcp_*"), kernel.functions("tcp_recvmsg", "tcp_sendmsg", "nosuch")
    assert names(tcp & msg) == ["tcp_sendmsg", "tcp_recvmsg"]
    assert names(msg & tcp) == ["tcp_recvmsg", "tcp_sendmsg"]
    assert names(tcp - msg) == ["tcp_mod_probe [nf_tables]"]
    assert names(msg | tcp) == ["tcp_recvmsg", "tcp_sendmsg", "tcp_mod_probe [nf_tables]"]
    assert [refusal.request for refusal in (tcp | msg).unresolved] == ["nosuch"]
    aliases = kernel.functions("__x64_sys_getpid") | kernel.functions("__do_sys_getpid")
    assert names(aliases) == ["__x64_sys_getpid"] or names(aliases) == ["__do_sys_getpid"]
    assert len(aliases) == 1


def test_sets_of_two_kernels_dont_mix(files: Files) -> None:
    with pytest.raises(UsageError, match="different"):
        _ = files.kernel().functions("tcp_*") | files.kernel().functions("tcp_*")


def test_membership_and_sequence(kernel: Kernel) -> None:
    chosen = kernel.functions("tcp_*")
    assert "tcp_sendmsg" in chosen
    assert "do_exit" not in chosen
    assert BASE + 0x110 in chosen
    assert chosen[1] in chosen
    assert str(chosen[-1]) == "tcp_mod_probe [nf_tables]"
    assert [function.name for function in chosen] == [chosen[place].name for place in range(len(chosen))]


def test_attachable_and_refused_split_a_set(kernel: Kernel) -> None:
    chosen = kernel.functions("*")
    for when in ("entry", "return", "session"):
        for mask in range(1, 16):
            yes, no = chosen.attachable(mask, when=when), chosen.refused(mask, when=when)
            assert sorted([*yes.rows, *no.rows]) == list(chosen.rows)
            assert chosen.n_attachable(mask, when=when) == len(yes)
            refusals = no.refusals(mask, when=when)
            assert len(refusals) == len(no)
            assert all(refusal.code and refusal.reason for refusal in refusals)


def test_one_function(kernel: Kernel) -> None:
    assert kernel.function("tcp_sendmsg").address == BASE + 0x110
    assert kernel.function(BASE + 0x114).name == "tcp_sendmsg"
    with pytest.raises(NoMatchError, match="3 functions are called s_next"):
        kernel.function("s_next")
    with pytest.raises(UsageError):
        kernel.by_symbols(["tcp_*"])


@pytest.mark.parametrize("text", ["tcp_sendmsg+-5", "tcp_sendmsg+0x10000000000000000", "0x-1", "0x10000000000000000"])
def test_numbers_that_no_address_has(kernel: Kernel, text: str) -> None:
    with pytest.raises(PatternError, match="invalid number"):
        kernel.functions(text)
