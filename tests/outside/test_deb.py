"""The Debian package of `make deb`, without the libraries that multiprobe needs: what is in it, and where."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

from multiprobe.cli.group import SECTIONS

ROOT = Path(__file__).parents[2]
PYTHON = "/usr/bin/python3"
HOME = "usr/lib/multiprobe"
COMMANDS = [name for commands in SECTIONS.values() for name in commands]


def run(*command: str, **environment: str) -> str:
    """What a command prints."""
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={"PATH": "/usr/bin:/bin"} | environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def can_build() -> bool:
    """Whether there are dpkg-deb, and Debian's Python with venv."""
    if not shutil.which("dpkg-deb") or not shutil.which("dpkg") or not Path(PYTHON).exists():
        return False
    return subprocess.run([PYTHON, "-c", "import ensurepip, venv"], capture_output=True).returncode == 0


pytestmark = pytest.mark.skipif(not can_build(), reason="it takes dpkg-deb, and /usr/bin/python3 with venv")


@pytest.fixture(scope="module")
def package(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("deb")
    run(str(ROOT / "tools/make-deb"), str(folder), "--quiet", "--no-deps", "--no-index", str(wheel))
    (made,) = folder.glob("*.deb")
    return made


@pytest.fixture(scope="module")
def unpacked(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unpacked")
    run("dpkg-deb", "-x", str(package), str(folder))
    return folder


def test_what_it_says_of_itself(package: Path) -> None:
    told = dict(line.split(": ", 1) for line in run("dpkg-deb", "-f", str(package)).splitlines() if line[0] != " ")
    assert package.name == f"multiprobe_{told['Version']}_{told['Architecture']}.deb"
    assert told["Architecture"] == run("dpkg", "--print-architecture").strip()
    minor = int(run(PYTHON, "-c", "import sys; print(sys.version_info.minor)"))
    assert told["Depends"] == f"python3 (>= 3.{minor}), python3 (<< 3.{minor + 1})", "its environment is for one Python"
    assert {"qemu-system-x86", "busybox-static", "kmod"} <= set(told["Recommends"].split(", "))
    assert int(told["Installed-Size"]) > 1000
    assert "Maintainer" in told


def test_every_file_is_roots_and_below_usr(package: Path) -> None:
    lines = [line.split(maxsplit=5) for line in run("dpkg-deb", "-c", str(package)).splitlines()]
    assert len(lines) > 300
    assert {line[1] for line in lines} == {"root/root"}
    assert [line[5] for line in lines if not line[5].startswith("./usr/") and line[5] != "./"] == []
    assert [line[5] for line in lines if line[0][0] != "l" and "w" in line[0][4:]] == [], "others can't write them"


def test_what_a_user_finds(unpacked: Path) -> None:
    """The command in the PATH of root too, a man page for each command, completions where shells look for them."""
    command = unpacked / "usr/bin/multiprobe"
    assert command.is_symlink()
    assert command.resolve() == unpacked / HOME / "bin/multiprobe"
    pages = {path.name for path in (unpacked / "usr/share/man/man1").iterdir()}
    assert {"multiprobe.1.gz", *(f"multiprobe-{name}.1.gz" for name in COMMANDS)} == pages
    shared = {str(path.relative_to(unpacked / "usr/share")) for path in (unpacked / "usr/share").rglob("*")}
    assert {
        "bash-completion/completions/multiprobe",
        "zsh/vendor-completions/_multiprobe",
        "fish/vendor_completions.d/multiprobe.fish",
        "doc/multiprobe/copyright",
    } <= shared


def test_the_command_runs(unpacked: Path) -> None:
    """With the libraries that it needs, where its interpreter is."""
    script = unpacked / HOME / "bin/multiprobe"
    assert script.read_text().startswith(f"#!/{HOME}/bin/python\n")
    libraries = sysconfig.get_path("purelib")
    said = run(str(unpacked / HOME / "bin/python"), str(script), "--version", PYTHONPATH=libraries)
    assert said.startswith("multiprobe ")


def test_nothing_names_the_place_where_it_was_made(unpacked: Path) -> None:
    files = [path for path in (unpacked / HOME).rglob("*") if path.is_file() and not path.is_symlink()]
    assert len(files) > 300
    place = re.compile(rb"/tmp/tmp\.\w|" + re.escape(os.fsencode(ROOT)))
    assert [path for path in files if place.search(path.read_bytes())] == []
    assert [path for path in files if path.name == "direct_url.json"] == []
