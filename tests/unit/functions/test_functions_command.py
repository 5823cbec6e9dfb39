"""`multiprobe functions`: table, JSON, --why, and how it ends."""

from __future__ import annotations

import json
import re

import pytest
from click.testing import CliRunner, Result
from kernel_files import Files

import multiprobe
from multiprobe.cli.functions import command
from multiprobe.errors import NoMatchError, UsageError
from multiprobe.functions.kernel import Kernel

FIELDS = {"type", "function", "address", "module", "verdict", "mechanisms", "reason"}
BUILT_IN = "kprobe_multi_link_handler bpf_trampoline_link_prog perf_kprobe_init bpf_multi_func"


@pytest.fixture
def kernel(files: Files, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    text = (files.directory / "kallsyms").read_text()
    files.write("kallsyms", text + "".join(f"ffffffff81003200 d {name}\n" for name in BUILT_IN.split()))
    kernel = files.kernel()
    monkeypatch.setattr(multiprobe, "Kernel", lambda: kernel, raising=False)
    return kernel


def run(*arguments: str) -> Result:
    return CliRunner().invoke(command, list(arguments))


def rows(result: Result) -> list[dict[str, object]]:
    assert result.exception is None, result.exception
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_json_has_the_fields_that_scripts_rely_on(kernel: Kernel) -> None:
    found = rows(run("*", "--json"))
    assert len(found) == kernel.table.n_distinct
    for row in found:
        assert set(row) >= FIELDS
        assert row["type"] == "function"
        assert re.fullmatch(r"0x[0-9a-f]+", str(row["address"]))
        assert (row["verdict"] == "attachable") is bool(row["mechanisms"])
        assert row["verdict"] in ("attachable", "refused")
        assert row["mechanisms"] or row["reason"]


def test_table_gives_each_function_a_line_and_its_reason(kernel: Kernel) -> None:
    result = run("tcp_*", "untraceable")
    lines = result.stdout.splitlines()
    assert len(lines) == 5
    assert lines[0].split() == ["FUNCTION", "MODULE", "MECHANISMS", "WHY", "NOT"]
    assert [line.split()[0] for line in lines[1:]] == ["tcp_sendmsg", "tcp_recvmsg", "untraceable", "tcp_mod_probe"]
    assert "is not traceable" in lines[3]
    assert "4 functions: 3 attachable, 1 refused" in result.stderr


def test_attachable_and_refused_share_all_functions(kernel: Kernel) -> None:
    yes, no = rows(run("*", "--attachable", "--json")), rows(run("*", "--refused", "--json"))
    assert {row["verdict"] for row in yes} == {"attachable"}
    assert {row["verdict"] for row in no} == {"refused"}
    assert len(yes) + len(no) == kernel.table.n_distinct


def test_requests_that_name_nothing_are_shown_too(kernel: Kernel) -> None:
    found = rows(run("tcp_sendmsg", "nosuch", "--json"))
    assert [(row["function"], row["verdict"], row["address"] is None) for row in found] == [
        ("tcp_sendmsg", "attachable", False),
        ("nosuch", "refused", True),
    ]


@pytest.mark.parametrize("arguments", [["nosuch"], ["nosuch*"], ["tcp_*", "!*"], ["--why", "nosuch"]])
def test_nothing_matched(kernel: Kernel, arguments: list[str]) -> None:
    result = run(*arguments)
    assert isinstance(result.exception, NoMatchError)
    assert result.exception.exit_status == 3


@pytest.mark.parametrize(
    "arguments", [[], ["tcp_*", "--why", "x"], ["--why", "tcp_*"], ["x", "--attachable", "--refused"]]
)
def test_usage(kernel: Kernel, arguments: list[str]) -> None:
    assert isinstance(run(*arguments).exception, UsageError)


def test_why_tells_every_rule_with_its_source(kernel: Kernel) -> None:
    text = run("--why", "migrate_disable").stdout
    assert "void migrate_disable(void)" in text
    assert "calls itself" in text
    assert "btf_id_deny: EINVAL" in text
    assert "see above" in text
    assert "at the entry only" in run("--why", "do_exit").stdout


def test_why_explains_all_namesakes_and_aliases(kernel: Kernel) -> None:
    text = run("--why", "s_next").stdout
    assert text.count("duplicate_name: s_next has the same name") == 2
    assert "3 functions are called s_next" in text
    assert "also called __do_sys_getpid" in run("--why", "__x64_sys_getpid").stdout


def test_why_as_json(kernel: Kernel) -> None:
    (answer,) = rows(run("--why", "printk_va", "--json"))
    refused = {rule["mechanism"] for rule in answer["rules"] if not rule["allowed"]}  # type: ignore[attr-defined]
    assert refused == {"tracing_multi", "trampoline"}
    assert answer["slots"] == 1


def test_what_the_kernel_lacks_is_not_offered(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (files.directory / "kallsyms").read_text()
    files.write("kallsyms", text + "ffffffff81003200 d bpf_trampoline_link_prog\n")
    bare = files.kernel()
    monkeypatch.setattr(multiprobe, "Kernel", lambda: bare, raising=False)
    found = {row["function"]: row for row in rows(run("tcp_sendmsg", "printk_va", "--json"))}
    assert found["tcp_sendmsg"]["mechanisms"] == ["trampoline"]
    assert found["printk_va"]["verdict"] == "refused"
    assert "built without" in str(found["printk_va"]["reason"])


def test_a_kernel_without_lists_says_so(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = files.kernel(available=None)
    monkeypatch.setattr(multiprobe, "Kernel", lambda: bare, raising=False)
    result = run("tcp_*")
    assert "which functions are traceable is not known" in result.stderr
    assert "could not be read" in result.stdout
