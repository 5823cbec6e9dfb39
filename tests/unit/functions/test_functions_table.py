"""Which symbols are functions, and their facts and mechanisms."""

from __future__ import annotations

import pytest
from kernel_files import BASE, Files

from multiprobe.functions import verdict
from multiprobe.functions.describe import why
from multiprobe.functions.kernel import Kernel
from multiprobe.functions.pattern import parse_pattern
from multiprobe.kernel.btf.format import RETURNS_UNKNOWN
from multiprobe.kernel.mechanism import Mechanism, mechanism_names

ALL = {"tracing_multi", "kprobe_multi", "trampoline", "kprobe"}
BY_ADDRESS = {"kprobe_multi", "kprobe"}


def row_of(kernel: Kernel, name: str) -> int:
    rows = kernel.table.rows_of_name(name)
    assert len(rows) == 1, name
    return rows[0]


@pytest.mark.parametrize(
    "name",
    [
        "__pfx_tcp_sendmsg",
        "tcp_recvmsg.cold",
        "_stext",
        "_text",
        "_etext",
        "_sinittext",
        "__SCT__static",
        "data_that_looks_like_text",
        "per_cpu_thing",
        "bpf_prog_1234_name",
    ],
)
def test_what_is_no_function_is_left_out(kernel: Kernel, name: str) -> None:
    assert kernel.table.rows_of_name(name) == []


def test_rows_are_sorted_by_address_and_aliases_come_last(kernel: Kernel) -> None:
    table = kernel.table
    distinct = list(table.addresses[: table.n_distinct])
    assert distinct == sorted(set(distinct))
    alias = row_of(kernel, "__x64_sys_getpid")
    assert alias >= table.n_distinct
    assert table.distinct_row(alias) == row_of(kernel, "__do_sys_getpid")


def test_call_offsets_tell_where_ftrace_calls(kernel: Kernel) -> None:
    table = kernel.table
    assert table.call_offsets[row_of(kernel, "tcp_sendmsg")] == 4
    assert table.call_offsets[row_of(kernel, "tcp_recvmsg")] == 0


@pytest.mark.parametrize(
    ("name", "code", "entry", "leave"),
    [
        ("tcp_sendmsg", "", ALL, ALL),
        ("printk_va", "variadic", BY_ADDRESS, BY_ADDRESS),
        ("takes_many", "too_many_arguments", BY_ADDRESS, BY_ADDRESS),
        ("takes_big", "big_struct", BY_ADDRESS, BY_ADDRESS),
        ("returns_struct", "struct_return", BY_ADDRESS, BY_ADDRESS),
        ("returns_wide", "return_too_large", ALL, BY_ADDRESS),
        ("do_exit", "noreturn", ALL, BY_ADDRESS),
        ("rcu_note", "unsafe", set(), set()),
        ("migrate_disable", "unsafe", set(), set()),
        ("untraceable", "not_traceable", set(), set()),
        ("helper.isra.0", "no_btf", BY_ADDRESS, BY_ADDRESS),
        ("shadowed", "duplicate_name", BY_ADDRESS, BY_ADDRESS),
        ("noprobe", "no_kprobe", ALL - {"kprobe"}, ALL - {"kprobe"}),
        ("early_setup", "init_section", set(), set()),
        ("copy_array", "ambiguous_type", BY_ADDRESS, BY_ADDRESS),
        ("alike", "", ALL, ALL),
        ("nf_hook", "no_btf", BY_ADDRESS, BY_ADDRESS),
        ("__do_sys_getpid", "", ALL, ALL),
    ],
)
def test_verdicts(kernel: Kernel, name: str, code: str, entry: set[str], leave: set[str]) -> None:
    table = kernel.table
    row = row_of(kernel, name)
    found = kernel.functions(name)[0].verdict
    assert found.code == code
    assert set(found.names) == set(mechanism_names(table.mechanisms[row])) == entry
    assert set(mechanism_names(table.return_mechanisms[row])) == leave
    assert found.return_mechanisms == table.return_mechanisms[row]
    assert found.reason.startswith(name) is bool(code)


def test_columns_agree_with_the_rules_applied_one_by_one(kernel: Kernel) -> None:
    table = kernel.table
    for row in range(table.n):
        assert table.mechanisms[row] == verdict.mask_of(table.facts[row])
        assert table.return_mechanisms[row] == verdict.mask_of(table.facts[row], when="return")


def test_slots_and_btf_ids(kernel: Kernel) -> None:
    table = kernel.table
    row = row_of(kernel, "tcp_sendmsg")
    assert table.slots[row] == 2
    assert kernel.btf.name(table.btf_ids[row]) == "tcp_sendmsg"
    assert table.btf_ids[row_of(kernel, "helper.isra.0")] == 0
    assert table.slots[row_of(kernel, "helper.isra.0")] == 255


def test_the_number_of_arguments_is_not_known_of_every_function(kernel: Kernel) -> None:
    names = ["tcp_sendmsg", "tcp_recvmsg", "printk_va", "helper.isra.0", "copy_array", "tcp_sendmsg+0x8"]
    functions = kernel.by_symbols(names)
    assert [functions.label(n) for n in range(len(functions))] == names
    assert functions.slots() == bytes([2, 1, 1, 255, 255, 2])
    assert functions.argument_limits() == bytes([2, 1, 255, 255, 255, 255])
    assert kernel.by_symbols(["tcp_sendmsg"]).argument_limits() == bytes([2])


def test_a_name_with_several_types_has_none(kernel: Kernel) -> None:
    """Whoever looks a type up by name gets none: no arguments, no result, no id to make a trampoline with."""
    table, row = kernel.table, row_of(kernel, "copy_array")
    assert (table.btf_ids[row], table.slots[row], table.returns[row]) == (0, 255, RETURNS_UNKNOWN)
    (told,), _ = why(kernel, parse_pattern("copy_array"))
    assert told["signature"] == ""
    assert {one["code"] for rule in told["rules"] for one in rule["against"]} == {"ambiguous_type"}
    assert "copy_array" not in {function.name for function in kernel.functions(n_args=3)}
    assert "copy_array" not in {function.name for function in kernel.functions(n_args=5)}
    assert table.btf_ids[row_of(kernel, "alike")]


def test_namesakes_in_another_module_are_no_duplicates_for_trampolines(kernel: Kernel) -> None:
    table = kernel.table
    by_module = {table.module(row): table.facts[row] & verdict.DUPLICATE_NAME for row in table.rows_of_name("s_next")}
    assert by_module[""]
    assert not by_module["nf_tables"]


def test_unsafe_lifts_only_our_own_refusal(kernel: Kernel) -> None:
    assert kernel.functions("rcu_note", unsafe=True).mechanisms() == bytes([Mechanism.KERNEL])
    chosen = kernel.functions("migrate_disable", unsafe=True)
    assert set(mechanism_names(chosen.mechanisms()[0])) == BY_ADDRESS
    assert chosen[0].verdict.code == "deny_listed"
    assert kernel.functions("untraceable", unsafe=True).n_attachable() == 0


def test_a_list_without_addresses_is_matched_by_name(files: Files) -> None:
    kernel = files.kernel(available="names")
    assert kernel.functions("tcp_sendmsg").n_attachable() == 1
    assert kernel.functions("__x64_sys_getpid").n_attachable(Mechanism.KPROBE_MULTI) == 1
    assert kernel.functions("untraceable")[0].verdict.code == "not_traceable"
    assert kernel.functions("s_next*").n_attachable(Mechanism.KPROBE_MULTI) == 3


def test_namesakes_of_which_only_some_are_listed_are_refused(files: Files) -> None:
    names = (files.directory / "names").read_text().replace("s_next\n", "", 1)
    files.write("names", names)
    kernel = files.kernel(available="names")
    codes = {function.verdict.code for function in kernel.functions("vmlinux:s_next*")}
    assert codes == {"instance_unknown"}
    assert kernel.functions("nf_tables:s_next").n_attachable() == 1


def test_without_the_list_nothing_is_attachable_and_the_reason_says_so(files: Files) -> None:
    kernel = files.kernel(available=None)
    assert kernel.functions("*").n_attachable() == 0
    assert kernel.functions("tcp_sendmsg")[0].verdict.code == "list_unreadable"
    assert any("traceable" in problem for problem in kernel.problems())


def test_without_types_only_addresses_serve(files: Files) -> None:
    kernel = files.kernel(btf=None)
    assert set(kernel.functions("tcp_sendmsg")[0].verdict.names) == BY_ADDRESS


def test_hidden_addresses_leave_names_and_types(files: Files) -> None:
    kernel = files.kernel(kallsyms="zeroed", available="names")
    assert kernel.table.is_zeroed
    found = kernel.functions("tcp_sendmsg")
    assert set(found[0].verdict.names) == {"tracing_multi", "trampoline"}
    assert "hides" in found.refusals(Mechanism.KPROBE_MULTI)[0].reason
    assert kernel.table.rows_of_name("data_that_looks_like_text") == []
    assert kernel.by_addresses([BASE + 0x110]).unresolved[0].code == "address_hidden"


def test_offers_come_from_the_kernels_own_symbols(files: Files) -> None:
    assert files.kernel().offers == 0
    files.write("kallsyms", f"{BASE:016x} T perf_kprobe_init\n{BASE + 64:016x} t kprobe_multi_link_handler\n")
    kernel = files.kernel()
    assert kernel.has("kprobe")
    assert kernel.has("kprobe_multi")
    assert not kernel.has("tracing_multi")


def test_an_empty_kernel_has_no_functions(files: Files) -> None:
    files.write("kallsyms", f"{BASE:016x} D jiffies\n")
    kernel = files.kernel()
    assert len(kernel.functions("*")) == 0
    assert kernel.by_symbols(["jiffies"]).unresolved[0].code == "unknown_name"
    assert kernel.by_addresses([BASE]).unresolved[0].code == "wrong_address"
