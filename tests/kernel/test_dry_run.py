"""Plans: what a dry run tells is what attaching then does, also when it is told from copies of the kernel's files."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import multiprobe as mp
from multiprobe.kernel.tracing import find_tracefs
from multiprobe.links.mechanisms.culprits import Culprits
from multiprobe.links.plan.mechanisms import Mechanisms
from multiprobe.links.plan.preview import instruction_rate, preview


@mp.program
def empty(ctx):
    return


@pytest.fixture(scope="module")
def kernel() -> mp.Kernel:
    return mp.Kernel()


def copy_files(directory: Path) -> None:
    """This kernel's files, as they would be taken along to another machine."""
    tracefs = Path(find_tracefs() or "")
    shutil.copyfile("/proc/kallsyms", directory / "kallsyms")
    for name in ("available_filter_functions_addrs", "available_filter_functions"):
        if (tracefs / name).exists():
            shutil.copyfile(tracefs / name, directory / name)
    shutil.copytree("/sys/kernel/btf", directory / "btf")
    blacklist = Path("/sys/kernel/debug/kprobes/blacklist")
    if blacklist.exists():
        shutil.copyfile(blacklist, directory / "blacklist")


@pytest.mark.once("7.3")
@pytest.mark.parametrize("when", ["entry", "session"])
def test_from_copies_of_the_files_as_on_the_kernel_itself(
    kernel: mp.Kernel, tmp_path: Path, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Culprits, "load", lambda _build_id: Culprits({}))  # what was refused here is not in the files
    copy_files(tmp_path)
    other = mp.Kernel.from_directory(str(tmp_path))
    mechanisms = Mechanisms(max_singles=0)
    plans = [preview(one.functions("vmlinux:*"), mechanisms, when=when).to_json(rate=1e9) for one in (kernel, other)]
    assert plans[0] == plans[1]
    assert plans[0]["attached"] > 30_000  # type: ignore[operator]


@pytest.mark.parametrize("when", ["entry", "return", "session"])
def test_what_is_planned_is_done(kernel: mp.Kernel, when: str) -> None:
    functions = kernel.functions("vfs_get*", "migrate_disable", "do_exit")
    plan = preview(functions, Mechanisms(), when=when).to_json(rate=instruction_rate())
    assert plan["attach_seconds"] > 0  # type: ignore[operator]
    with mp.attach(empty, functions, when=when) as attachment:
        done = attachment.report.to_json()
    for name in ("requested", "attached", "links", "mechanisms", "skipped"):
        assert plan[name] == done[name], name


def test_more_than_the_user_allows_one_by_one(kernel: mp.Kernel) -> None:
    functions = kernel.functions("vfs_read", "vfs_write", "vfs_open")
    with pytest.raises(mp.UsageError, match="the limit is 2") as caught:
        mp.attach(empty, functions, mechanisms=mp.Mechanisms("kprobe", max_singles=2))
    assert "max_singles" in caught.value.hint
    with mp.attach(empty, functions, mechanisms=mp.Mechanisms("kprobe", max_singles=3)) as attachment:
        assert attachment.report.attached == 3
