"""Coverage as LCOV: the writer on values, and the command on the fake kernel, whose vmlinux is compiled here."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import multiprobe as mp
from fake_kernel import LIKE_7_3, FakeKernel
from multiprobe.binaries import sources
from multiprobe.binaries.dwarf_lines import SourceLine
from multiprobe.binaries.sources import FunctionSources
from multiprobe.cli.main import run as command
from multiprobe.functions.sets import Function
from multiprobe.functions.verdict import Verdict
from multiprobe.instruments.coverage.covered import Coverage, CoveredFunction, lcov_lines
from multiprobe.instruments.workload import Workload

NAMES = ["vfs_read", "vfs_write", "ksys_read"]
SHIFT = 0x7000000


def function(name: str, address: int, module: str = "") -> Function:
    return Function(name, address, module, 0, Verdict(0, 0, "", "", 0))


def test_records() -> None:
    functions = [
        function("ran", 1), function("never", 2), function("inline_one", 3), function("inline_one", 4),
        function("unknown", 5), function("evil\nSF:x", 6),
    ]  # fmt: skip
    lines = {
        1: SourceLine("/src/b.c", 20), 2: SourceLine("/src/b.c", 10), 3: SourceLine("/src/a.h", 7),
        4: SourceLine("/src/a.h", 7), 6: SourceLine("/src/\n.c", 1),
    }  # fmt: skip
    covered = [CoveredFunction(functions[0], 3, None), CoveredFunction(functions[3], 1, None)]
    sample = Coverage(1.0, 3, functions, covered)  # type: ignore[arg-type]
    found = list(lcov_lines(sample, FunctionSources({("", address): line for address, line in lines.items()})))
    assert "\n".join(found).split("end_of_record")[:-1] == [
        "TN:\nSF:/src/\\n.c\nFN:1,evil\\nSF:x\nFNDA:0,evil\\nSF:x\nFNF:1\nFNH:0\nDA:1,0\nLF:1\nLH:0\n",
        "\nTN:\nSF:/src/a.h\nFN:7,inline_one\nFNDA:1,inline_one\nFNF:1\nFNH:1\nDA:7,1\nLF:1\nLH:1\n",
        "\nTN:\nSF:/src/b.c\nFN:10,never\nFN:20,ran\nFNDA:0,never\nFNDA:3,ran\nFNF:2\nFNH:1\nDA:10,0\nDA:20,3\nLF:2\nLH:1\n",
    ]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeKernel]:
    monkeypatch.setattr(sources, "VMLINUX", (str(tmp_path / "installed-{}"),))
    release = Workload.release

    def released(workload: Workload) -> None:
        kernel.fire("vfs_read", tgid=workload.pid)
        release(workload)

    with FakeKernel(tmp_path, LIKE_7_3) as kernel:
        monkeypatch.setattr(Workload, "release", released)
        yield kernel


@pytest.fixture
def vmlinux(fake: FakeKernel, tmp_path: Path) -> Path:
    """A kernel with the functions at their addresses, less SHIFT, and DWARF."""
    pytest.importorskip("elftools")
    if shutil.which("gcc") is None:
        pytest.skip("no compiler here: the test needs gcc")
    return linked(tmp_path, mp.Kernel().build_id)


def linked(folder: Path, build_id: str) -> Path:
    (folder / "fs.c").write_text(
        "".join(f'__attribute__((section("code_{name}"))) void {name}(void) {{ }}\n\n' for name in NAMES)
    )
    addresses = {one.name: one.address for one in mp.Kernel().functions(*NAMES)}
    places = [f"-Wl,--section-start=code_{name}={addresses[name] - SHIFT:#x}" for name in NAMES]
    flags = ["-O2", "-g", "-nostdlib", "-static", "-no-pie", "-fno-pic", "-fno-pie", "-mcmodel=kernel"]
    named = ["-fno-asynchronous-unwind-tables", f"-Wl,--build-id=0x{build_id}", "-Wl,-e,vfs_read"]
    path = folder / "vmlinux"
    subprocess.run(["gcc", *flags, *places, *named, "-o", str(path), "fs.c"], check=True, cwd=folder)
    note = ["objcopy", "--rename-section", ".note.gnu.build-id=.notes", str(path)]
    subprocess.run(note, check=True)
    return path


EXPECTED = """\
FN:1,vfs_read
FN:3,vfs_write
FN:5,ksys_read
FNDA:1,vfs_read
FNDA:0,vfs_write
FNDA:0,ksys_read
FNF:3
FNH:1
"""


def test_of_a_command(vmlinux: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.info"
    words = ["--lcov", str(out), "--vmlinux", str(vmlinux), "--", "true"]
    assert command(["coverage", *NAMES, "nf_hook_slow", *words]) == 0
    text = out.read_text()
    assert text.startswith(f"TN:\nSF:{tmp_path}/fs.c\n{EXPECTED}")
    assert text.count("end_of_record\n") == 1
    assert f"not in {out}: 1 function of kernel modules" in capsys.readouterr().err


def test_installed_lines_are_found(vmlinux: Path, tmp_path: Path) -> None:
    vmlinux.rename(tmp_path / f"installed-{mp.Kernel().release}")
    assert EXPECTED in mp.coverage(["true"], NAMES).lcov()


def test_a_kernel_of_another_build(fake: FakeKernel, vmlinux: Path) -> None:
    other = linked(vmlinux.parent, "12345678")
    with pytest.raises(mp.DataError, match=r"another build \(12345678\)"):
        mp.coverage(["true"], NAMES).lcov(vmlinux=other)


def test_the_measurement_does_not_begin_without_lines(
    fake: FakeKernel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("elftools")
    marker = tmp_path / "ran"
    assert command(["coverage", *NAMES, "--lcov", "x.info", "--", "touch", str(marker)]) == 5
    error = capsys.readouterr().err
    assert f"no source lines (DWARF) of the kernel {mp.Kernel().release} are installed" in error
    assert "-dbg on Debian" in error
    assert not marker.exists()


def test_a_vmlinux_is_for_lcov(fake: FakeKernel, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["coverage", *NAMES, "--vmlinux", "vmlinux", "--", "true"]) == 2
    assert "--vmlinux is only for --lcov" in capsys.readouterr().err
