"""Selecting and planning for another kernel, from copies of its files, without root."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from kernel_files import Files

from multiprobe.cli.main import run
from multiprobe.errors import UsageError
from multiprobe.functions.kernel import Kernel

BUILT_IN = "kprobe_multi_link_handler bpf_trampoline_link_prog perf_kprobe_init"


@pytest.fixture
def copies(files: Files, tmp_path: Path) -> Path:
    directory = tmp_path / "copies"
    (directory / "btf").mkdir(parents=True)
    symbols = (files.directory / "kallsyms").read_text()
    symbols += "".join(f"ffffffff81003200 d {name}\n" for name in BUILT_IN.split())
    (directory / "kallsyms").write_text(symbols)
    (directory / "available_filter_functions_addrs").write_text((files.directory / "addrs").read_text())
    (directory / "btf" / "vmlinux").write_bytes((files.directory / "btf").read_bytes())
    (directory / "blacklist").write_text((files.directory / "blacklist").read_text())
    return directory


def test_the_same_as_from_files(files: Files, copies: Path) -> None:
    one, other = files.kernel(), Kernel.from_directory(str(copies), release="test")
    assert other.release == "test"
    assert not other.is_running
    for when in ("entry", "return", "session"):
        assert one.functions("*").mechanisms(when=when) == other.functions("*").mechanisms(when=when)


def test_what_is_missing_is_told(copies: Path) -> None:
    (copies / "available_filter_functions_addrs").unlink()
    assert any("available" in problem for problem in Kernel.from_directory(str(copies)).problems())
    (copies / "kallsyms").unlink()
    for place in (copies, copies / "nothing"):
        with pytest.raises(UsageError) as caught:
            Kernel.from_directory(str(place))
        assert "/proc/kallsyms" in caught.value.hint


def test_commands(copies: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["functions", "tcp_*", "--json", "--kernel-files", str(copies)]) == 0
    listed = [json.loads(line)["function"] for line in capsys.readouterr().out.splitlines()]
    assert listed == ["tcp_sendmsg", "tcp_recvmsg", "tcp_mod_probe"]
    assert run(["count", "tcp_*", "untraceable", "--json", "--dry-run", f"--kernel-files={copies}"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert (plan["type"], plan["attached"], plan["mechanisms"]) == ("plan", 3, {"kprobe_multi": 3})
    assert (plan["links"], plan["system_calls"]) == (1, 2)
    assert [refusal["code"] for refusal in plan["skipped"]] == ["not_traceable"]


def test_another_kernel_is_only_planned_for(copies: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["count", "tcp_*", "--kernel-files", str(copies)]) == 2
    assert "--dry-run" in capsys.readouterr().err


def test_a_set_is_a_value_and_leads_back_to_its_kernel(files: Files) -> None:
    """A set holds the table, with the paths it was read from, and no open kernel."""
    kernel = files.kernel()
    chosen = kernel.functions("tcp_*")
    assert not hasattr(chosen, "kernel")
    assert Kernel.of(chosen.table) is kernel, "types are not read twice"
    del kernel
    again = Kernel.of(chosen.table)
    assert again is Kernel.of(chosen.table), "nor where only the set is kept"
    assert (again.is_running, again.release) == (False, "test")
    assert again.table is chosen.table
    assert again.btf.name(chosen.btf_ids()[0]) == chosen[0].name
    running = Kernel(root=str(files.root()), use_cache=False)
    origin = running.table.origin
    assert origin.files is None
    assert origin.modules == {"nf_tables": "0xffffffff82000000"}
    assert not Kernel.of(running.table).gone_modules(["nf_tables"])
