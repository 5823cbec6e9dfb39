"""The distributions from outside, as a user gets them: complete, installed in an empty environment, typed.

The examples and the blocks of README and docs type-check against the wheel, as a user's code would.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


TYPED = """
from typing import Annotated, assert_type

import multiprobe as mp


class Open(mp.Event):
    pid: mp.u32
    name: Annotated[str, mp.string(16)]
    parts: Annotated[tuple[int, ...], mp.array_of(mp.u8, 4)]


opens = mp.RingBuffer(Open)
calls = mp.PerFunction(mp.u64)
slots = mp.Array(mp.bool_, 8, per_cpu=True)
keys = mp.LruHash((mp.u32, mp.string(16)), mp.i64)
times = mp.Histogram(mp.log2(bits=2), per_function=True, counter=mp.u32)
stacks = mp.StackTraces()


@mp.helper
def bucket(ctx: mp.Context, file: mp.Value, size: int) -> int:
    n: mp.u32 = 0
    while size >> n > 1:
        n += 1
    return n if file.f_flags & 1 and ctx.cpu else mp.i32(-1)


@mp.program(when="session")
def traced(ctx: mp.Context) -> None:
    sock = mp.struct("sock")(ctx.arg(0))
    task, file = ctx.task, ctx.arg(1, "struct file *")
    if not ctx.is_return:
        ctx.session = ctx.time
        return
    if task.mm is not None and sock.sk_prot.name[0] != 0 and -4096 < ctx.ret < 0:
        calls[ctx.function] += 1
        slots[bucket(ctx, file, ctx.args.count)] = ctx.pid == ctx.tid
    key = mp.u64(stacks.id(ctx, user=True)) + mp.cast("int", task.pid) + mp.per_cpu("runqueues", ctx.cpu).nr_running
    if (ctx.pid, ctx.comm) in keys:
        del keys[ctx.pid, ctx.comm]
    times.add(ctx.function, mp.address_of(file.f_path) + ctx.cookie + ctx.ip + ctx.arg_count)
    owner = mp.container_of(file, "struct x", "a.b")
    if opens.send(pid=key, name=mp.kernel_string(owner.name), parts=(1, 2)) and ctx.comm == "x":
        keys[ctx.pid, mp.user_string(ctx.arg(1))] = mp.enum("pid_type").PIDTYPE_TGID


with mp.attach(traced, "vfs_*") as attachment:
    for event in attachment.events(opens):
        assert_type(event, Open)
        assert_type(event.pid, int)
        assert_type(event.name, str)
        assert_type(event.parts, tuple[int, ...])
    assert_type(attachment.events(opens).take(), list[Open])
    assert_type(attachment.map(calls).totals().tolist(), list[int])
    times.percentiles(attachment.read(times)[0])
    attachment.map(keys).take()
assert_type(bucket(NotImplemented, mp.Value(1), 2), int)  # helpers stay functions


@mp.program
def wrong(ctx: mp.Context) -> None:
    ctx.nonsense  # error
    ctx.pid = 1  # error
    calls["x"] += 1  # error
    calls[0] = ctx.comm  # error
    keys[1.5] = 1  # error
    bucket(ctx, "file", 1)  # error
    times.add("x")  # error
    mp.kernel_string("x")  # error


mp.Hash(mp.struct("sock"), mp.u64)  # error
mp.PerFunction(mp.string(16))  # error
mp.RingBuffer(int)  # error
mp.program(lambda: None)  # error
"""
"""What programs use that are written with types; a type checker finds an error in each line that says so, no others."""


def run(*command: str, cwd: Path = Path("/")) -> subprocess.CompletedProcess[str]:
    """Run a command without this checkout on Python's path."""
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with the wheel in it; what the wheel depends on is read from where this runs."""
    folder = tmp_path_factory.mktemp("outside") / "venv"
    venv.create(folder, symlinks=True)
    made = folder / "bin" / "python"
    install = ("install", "--quiet", "--no-deps", "--no-index", "--disable-pip-version-check", str(wheel))
    ended = run(sys.executable, "-m", "pip", "--python", str(made), *install)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return made


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every example and every Python block, each a file of its own."""
    folder = tmp_path_factory.mktemp("scripts")
    for example in (ROOT / "examples").glob("*.py"):
        shutil.copy(example, folder / f"example_{example.name}")
    for page in PAGES:
        text = page.read_text()
        for match in re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            line = text[: match.start()].count("\n") + 2
            (folder / f"{page.stem.replace('-', '_')}_{line}.py").write_text(match[1])
    return folder


def test_the_wheel_holds_every_file_of_the_package(wheel: Path) -> None:
    """Also those that are no modules: py.typed, stubs, scripts and styles."""
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("multiprobe/")}
    sources = (path for path in (ROOT / "src").rglob("*") if path.is_file() and path.suffix != ".pyc")
    names = {str(path.relative_to(ROOT / "src")) for path in sources}
    assert packed == {name for name in names if name.startswith("multiprobe/")}
    assert {"multiprobe/py.typed", "multiprobe/__init__.pyi"} <= packed


def test_the_wheel_installs_man_pages_and_completions(wheel: Path) -> None:
    packed = {name.partition(".data/data/")[2] for name in zipfile.ZipFile(wheel).namelist()}
    shared = {str(path.relative_to(ROOT)) for path in (ROOT / "share").rglob("*") if path.is_file()}
    assert shared <= packed
    assert {"share/man/man1/multiprobe-count.1", "share/bash-completion/completions/multiprobe"} <= shared


def test_the_source_distribution_is_the_whole_tree(tree: Path, distributions: dict[str, Path]) -> None:
    """With tests, docs and all that `make` uses; what setuptools adds are its own records."""
    with tarfile.open(distributions[".gz"]) as archive:
        packed = {one.name.partition("/")[2]: one.mode for one in archive if one.isfile()}
    wanted = {str(path.relative_to(tree)): path for path in tree.rglob("*") if path.is_file()}
    wanted = {name: path for name, path in wanted.items() if ".egg-info/" not in name}
    assert wanted.keys() - packed.keys() == set()
    added = {name for name in packed.keys() - wanted.keys() if ".egg-info/" not in name}
    assert added <= {"PKG-INFO", "setup.cfg"}
    assert {"Makefile", "tools/find-python", "tests/unit/test_lint.py", "docs/tutorial.md"} <= packed.keys()
    assert [name for name, path in wanted.items() if path.stat().st_mode & 0o100 and not packed[name] & 0o100] == []


def test_indexes_take_the_distributions(distributions: dict[str, Path]) -> None:
    """The metadata is valid and the description renders, with no link that leads nowhere on an index's page."""
    ended = run(sys.executable, "-m", "twine", "check", "--strict", *map(str, distributions.values()))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    with zipfile.ZipFile(distributions[".whl"]) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        fields, _, description = archive.read(name).decode().partition("\n\n")
    assert "License-Expression: MIT\n" in fields
    assert "Description-Content-Type: text/markdown\n" in fields
    links = re.findall(r"\]\(([^)]+)\)", description)
    assert [link for link in links if not link.startswith(("https://", "#"))] == []
    assert "tutorial (`docs/tutorial.md`)" in description
    tables = description.count("\n|"), (ROOT / "README.md").read_text().count("\n|")
    assert tables[0] == tables[1] > 0


def test_the_wheel_runs_in_an_empty_environment(python: Path) -> None:
    """Every module of it is imported, the command runs, and man pages and completions are at their places."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    command = str(python.with_name("multiprobe"))
    assert run(command, "--version").stdout.split()[-1] == version
    shown = run(command, "--help")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "doctor" in shown.stdout
    script = """
import importlib, pkgutil, sys, multiprobe as mp
assert mp.__file__.startswith(sys.prefix), mp.__file__
names = [one.name for one in pkgutil.walk_packages(mp.__path__, "multiprobe.") if not one.name.endswith("__main__")]
print(len([importlib.import_module(name) for name in names]))
"""
    imported = run(str(python), "-W", "error", "-c", script)
    assert imported.returncode == 0, imported.stderr
    modules = [path for path in (ROOT / "src/multiprobe").rglob("*.py") if path.name != "__main__.py"]
    assert int(imported.stdout) == len(modules) - 1, "all but the package itself"
    shared = [path.relative_to(ROOT) for path in (ROOT / "share").rglob("*") if path.is_file()]
    assert [path for path in shared if not (python.parents[1] / path).is_file()] == []


@pytest.fixture(params=["mypy", "pyright"])
def checker(request: pytest.FixtureRequest, python: Path, tmp_path: Path) -> list[str]:
    """The command of a type checker, without files."""
    if request.param == "pyright":
        if shutil.which("pyright") is None:
            pytest.skip("no pyright: npm install --global pyright")
        return ["pyright", "--pythonpath", str(python)]
    options = ["--strict", f"--python-executable={python}", "--config-file=", f"--cache-dir={tmp_path}"]
    return [sys.executable, "-m", "mypy", *options]


def test_examples_and_blocks_type_check(checker: list[str], scripts: Path) -> None:
    assert len(list(scripts.iterdir())) > 30
    ended = subprocess.run([*checker, "."], cwd=scripts, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_programs_have_types_and_wrong_ones_are_found(checker: list[str], tmp_path: Path) -> None:
    (tmp_path / "typed.py").write_text(TYPED)
    ended = subprocess.run([*checker, "typed.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    found = {int(line) for line in re.findall(r"typed\.py:(\d+)(?::\d+)?(?::| -) error", ended.stdout)}
    wanted = {n for n, line in enumerate(TYPED.splitlines(), 1) if line.endswith("# error")}
    assert found == wanted, ended.stdout + ended.stderr
