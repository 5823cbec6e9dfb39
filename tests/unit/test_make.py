"""The first lines of make in a fresh clone, and the command that shows how long another one takes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
QUIETLY = ROOT / "tools/quietly"
SCRIPTS = sorted(set(re.findall(r"(?:tests|bench|tools)/[\w/]+\.py", (ROOT / "Makefile").read_text())))


def make(target: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """What make would run in a folder that holds nothing but the Makefile and what it depends on."""
    for name in ("Makefile", "pyproject.toml", "tools"):
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, folder / name)
    return subprocess.run(
        ["make", "-n", target],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
@pytest.mark.parametrize(("target", "needs_system"), [("unit", False), ("lint", False), ("test", True)])
def test_a_fresh_clone_begins_without_complaints(target: str, needs_system: bool, tmp_path: Path) -> None:
    ended = make(target, tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "pip install" in ended.stdout
    assert ("system-packages" in ended.stdout) == needs_system, "unit and lint need neither root nor QEMU"
    assert ("vm --fetch" in ended.stdout) == needs_system


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
def test_try_fetches_no_kernel_but_its_own(tmp_path: Path) -> None:
    ended = make("try", tmp_path)
    assert "system-packages" in ended.stdout
    assert "vm --fetch" not in ended.stdout
    begins = ended.stdout.index("tools/try-user-space")
    assert "count '*' --vm=6.12 " in ended.stdout[begins:]


FAKE_MULTIPROBE = """\
#!/bin/sh
case "$*" in $FAIL) exit 1;; *--icount*) echo hit;; *memory*) echo memory;; *) echo timed;; esac
"""
"""Prints what it is asked to measure."""


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
@pytest.mark.parametrize("fails", ["nothing", "*7.3*attach", "*7.3*memory*"])
def test_bench_replaces_its_results_once_all_is_measured(fails: str, tmp_path: Path) -> None:
    (tmp_path / ".venv/bin").mkdir(parents=True)
    for name, text in (("multiprobe", FAKE_MULTIPROBE), ("python", "#!/bin/sh\n")):
        (tmp_path / ".venv/bin" / name).write_text(text)
        (tmp_path / ".venv/bin" / name).chmod(0o755)
    results = tmp_path / "bench/results/7.3.jsonl"
    results.parent.mkdir(parents=True)
    results.write_text("before\n")
    for name in ("Makefile", "pyproject.toml", "tools"):
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, tmp_path / name)
    ended = subprocess.run(
        ["make", "-o", "setup", "bench"],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "FAIL": fails},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode == 0) == (fails == "nothing"), ended.stderr
    timed = [place for place, line in enumerate(ended.stdout.splitlines()) if "start events" in line]
    others = [place for place, line in enumerate(ended.stdout.splitlines()) if "--icount" in line or "memory" in line]
    assert max(timed) < min(others, default=len(ended.stdout)), "what is timed comes first"
    made = "timed\ntimed\ntimed\nhit\nmemory\n" if fails == "nothing" else "before\n"
    assert results.read_text() == made
    assert (tmp_path / "build/bench/before/7.3.jsonl").read_text() == "before\n"


@pytest.mark.parametrize("script", [name for name in SCRIPTS if "argparse" in (ROOT / name).read_text()])
def test_what_a_target_runs_finds_its_modules(script: str) -> None:
    """Campaigns that no other test runs; each from a folder of its own, as Python finds modules beside a script."""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    line = [sys.executable, str(ROOT / script), "--help"]
    ended = subprocess.run(line, cwd="/", env=environment, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_an_ordinary_user_is_told_what_is_missing(tmp_path: Path) -> None:
    """Every package once, the file server's among them, whether apt's lists are there or not."""
    (tmp_path / "tools").mkdir()
    (tmp_path / "id").write_text("#!/bin/sh\necho 1000\n")
    (tmp_path / "id").chmod(0o755)
    script = (ROOT / "tools/system-packages").read_text()
    script = script.replace("[ -x /usr/lib/qemu/virtiofsd ]", "false").replace("[ -x /usr/libexec/virtiofsd ]", "false")
    (tmp_path / "tools/system-packages").write_text(script.replace("PATH=$PATH:/usr/sbin:/sbin\n", ""))
    for name in ("grep", "tr", "awk", "dirname", "sh", "ls"):
        (tmp_path / name).symlink_to(shutil.which(name))
    ended = subprocess.run(
        [shutil.which("sh"), "tools/system-packages"],
        cwd=tmp_path,
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    packages = ended.stderr.rpartition("sudo apt-get update && sudo apt-get install ")[2].split()
    assert {"python3", "python3-venv", "qemu-system-x86", "kmod", "busybox-static", "bpftool"} <= set(packages)
    assert {"virtiofsd", "qemu-system-common"} & set(packages)
    assert len(packages) == len(set(packages))


def test_a_command_that_succeeds_is_one_line() -> None:
    ended = subprocess.run([QUIETLY, "counting", "seq", "300"], capture_output=True, text=True, check=True)
    assert ended.stdout == ""
    assert ended.stderr.splitlines()[0] == "counting …"
    assert ended.stderr.splitlines()[1].startswith("counting: done in ")
    assert len(ended.stderr.splitlines()) == 2


def test_a_command_that_fails_says_all() -> None:
    ended = subprocess.run(
        [QUIETLY, "x", "sh", "-c", "seq 300; echo why >&2; exit 7"], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 7
    assert ended.stderr.splitlines()[1:] == [*map(str, range(1, 301)), "why"]
