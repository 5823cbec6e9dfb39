"""Typed pointers in a real kernel: what a program reads through BTF is what /proc and Python know."""

from __future__ import annotations

import ctypes
import linecache
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from struct import pack

import pytest

import multiprobe as mp
from multiprobe.compiler.compiling import compile_program
from multiprobe.kernel.btf.format import STRUCT
from multiprobe.kernel.btf.layout import fields, scalar
from multiprobe.kernel.btf.types import Btf
from multiprobe.maps.cpus import load_n_cpus
from multiprobe.maps.set_spec import MapSetSpec
from multiprobe.maps.store import MapSet
from multiprobe.syscalls import bpf
from multiprobe.uapi.bpf import ProgType

out = mp.Array(mp.u64, 16)
NOATIME = os.O_NOATIME  # so that only the test's own file counts


def run(program: mp.Program, *arguments: int) -> list[int]:
    """What a program leaves in `out` when the kernel runs it once, in this process."""
    code = compile_program(program, context="raw_tracepoint", when="entry", is_cached=False)
    with MapSet(MapSetSpec((out,), n_functions=1, n_cpus=load_n_cpus())) as store:
        values = store.values([program.maps[name] for name in code.maps])
        with bpf.prog_load(ProgType.RAW_TRACEPOINT, code.link(values), name=program.name) as loaded:
            store.activate()
            bpf.prog_test_run(loaded, context=pack("<12Q", *arguments, *[0] * (12 - len(arguments))))
        return list(store.map(out).totals())


@mp.program
def current(ctx):
    task = ctx.task
    out[0] = task.pid
    out[1] = task.tgid
    out[2] = task.mm.arg_start
    out[3] = task.mm.arg_end
    out[4] = task.comm[0]
    out[5] = task.real_parent.tgid
    out[6] = task.group_leader == task.group_leader.group_leader
    out[7] = task.mm.mm_users.counter if task.mm else 0
    out[8] = task.cred.uid.val
    out[9] = task.files.fdt.fd[ctx.arg(0)].f_flags
    out[10] = mp.container_of(mp.address_of(task.tasks), "struct task_struct", "tasks").pid
    out[11] = mp.struct("task_struct")(mp.u64(task)).tgid


def test_the_current_task_is_this_process(tmp_path: Path) -> None:
    flags = os.O_RDWR | os.O_APPEND
    fd = os.open(tmp_path / "file", flags | os.O_CREAT)
    found = run(current, fd)
    os.close(fd)
    command_line = Path("/proc/self/cmdline").read_bytes()
    main = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    assert found[:2] == [os.getpid(), os.getpid()]
    assert found[2:4] == [int(main[45]), int(main[46])], "arg_start and arg_end of /proc/self/stat"
    assert found[3] - found[2] == len(command_line)
    assert chr(found[4]) == Path("/proc/self/comm").read_text()[0]
    assert found[5] == os.getppid()
    assert found[6] == 1
    assert found[7] >= 1
    assert found[8] == os.getuid()
    assert found[9] & (os.O_RDWR | os.O_APPEND) == flags
    assert found[10:12] == [os.getpid(), os.getpid()]


@mp.program
def forms(ctx):
    task = ctx.task
    pid = mp.address_of(task.pid)
    out[0] = mp.cast("struct task_struct *", mp.u64(task)).pid
    out[1] = pid[1]
    out[2] = mp.union("bpf_attr")(pid).map_type
    out[3] = mp.enum("pid_type").PIDTYPE_SID
    out[4] = ctx.arg(0, "int") == -2 and ctx.arg(0) == 0xDEAD_FFFF_FFFE
    out[5] = (task.mm is None) + (task.mm is not None) * 2 + (mp.cast("struct file *", 0) is None) * 4
    out[6] = ctx.tid
    out[7] = task.pid not in (0, -1)
    out[8] = mp.address_of(task.comm) == task.comm
    out[9] = ctx.comm == "pytest" or ctx.comm != "pytest"
    out[10] = not task.signal.oom_flag_origin
    out[11] = task.signal.is_child_subreaper
    out[12] = task.signal.oom_score_adj


@contextmanager
def subreaper() -> Iterator[None]:
    """Orphans come to this process meanwhile: a bit field of its signal_struct."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    assert prctl(36, 1, 0, 0, 0) == 0  # PR_SET_CHILD_SUBREAPER
    try:
        yield
    finally:
        prctl(36, 0, 0, 0, 0)


@contextmanager
def score(adjustment: int) -> Iterator[None]:
    """This process has another oom_score_adj meanwhile."""
    file = Path("/proc/self/oom_score_adj")
    before = file.read_text()
    file.write_text(str(adjustment))
    try:
        yield
    finally:
        file.write_text(before)


@pytest.mark.once("6.1")
def test_other_ways_to_say_it() -> None:
    """`pid` and `tgid` are neighbours in struct task_struct, and a union at the address of `pid` begins with it."""
    task = mp.struct("task_struct")
    assert task.offset("tgid") - task.offset("pid") == 4
    adjustment = int(Path("/proc/self/oom_score_adj").read_text())
    with subreaper(), score(adjustment + 7):
        found = run(forms, 0xDEAD_FFFF_FFFE)
    thread = threading.get_native_id()
    assert found[:10] == [thread, os.getpid(), thread, 3, 1, 6, thread, 1, 1, 1]
    assert found[10:13] == [1, 1, adjustment + 7], "a _Bool, a bit field, a short"
    assert run(forms, 0)[11] == 0


@mp.program
def queues(ctx):
    out[0] = mp.per_cpu("runqueues").cpu
    out[1] = ctx.cpu
    out[2] = mp.per_cpu("runqueues", ctx.arg(0)).cpu
    out[3] = mp.u64(mp.per_cpu("runqueues", 100000))
    out[4] = mp.per_cpu("runqueues").curr == ctx.task


def test_per_cpu_variables() -> None:
    last = load_n_cpus() - 1
    found = run(queues, last)
    assert found[0] == found[1]
    assert found[2:5] == [last, 0, 1]


@mp.program
def broken(ctx):
    out[0] = mp.struct("task_struct")(0).pid
    out[1] = mp.struct("task_struct")(ctx.arg(0)).mm.arg_start


def test_what_cannot_be_read_is_zero() -> None:
    assert run(broken, 0xDEAD_0000_0000_0000)[:2] == [0, 0]


@mp.program
def opened(ctx):
    file = ctx.arg(1, "struct file *")
    if ctx.task.tgid == ctx.pid and file.f_flags & NOATIME:
        out[0] = file.f_flags
        out[1] += 1


@pytest.mark.parametrize("mechanism", ["kprobe_multi", "tracing_multi", "trampoline", "kprobe"])
def test_typed_arguments_under_any_mechanism(mechanism: str) -> None:
    kernel = mp.Kernel()
    if not kernel.has(mechanism):
        pytest.skip(f"this kernel has no {mechanism}")
    with mp.attach(opened, kernel.by_symbols(["vfs_open"]), mechanisms=mechanism, pid=os.getpid()) as attachment:
        os.close(os.open("/dev/null", os.O_RDWR | os.O_NOATIME))  # overlayfs would open a file twice
        found = list(attachment.map(out).totals())
    assert found[1] == 1
    assert found[0] & (os.O_RDWR | os.O_NOATIME) == os.O_RDWR | os.O_NOATIME


@mp.program
def opening(ctx):
    if ctx.args.file.f_flags & NOATIME:
        out[1] = ctx.args.path.mnt is not None
        out[2] += 1


@mp.program
def looking(ctx):
    if ctx.args.dfd == -100 and ctx.args.dfd < 0:  # AT_FDCWD, in 32 bits
        out[3] += 1


def mechanisms(kernel: mp.Kernel) -> list[str]:
    return [name for name in ("kprobe_multi", "tracing_multi", "trampoline", "kprobe") if kernel.has(name)]


def test_arguments_by_name() -> None:
    kernel = mp.Kernel()
    for mechanism in mechanisms(kernel):
        with mp.attach(opening, ["vfs_open"], mechanisms=mechanism, pid=os.getpid(), kernel=kernel) as attachment:
            os.close(os.open("/dev/null", os.O_RDWR | os.O_NOATIME))
            found = list(attachment.map(out).totals())
        assert found[1:3] == [1, 1], mechanism
        with mp.attach(looking, ["vfs_statx"], mechanisms=mechanism, pid=os.getpid(), kernel=kernel) as attachment:
            assert not os.path.exists("/nowhere")
            assert attachment.map(out).totals()[3] == 1, mechanism


def test_arguments_that_differ_are_refused() -> None:
    kernel = mp.Kernel()
    with pytest.raises(mp.CompileError, match=r"not all functions have the same argument 'file': .*vfs_statx has none"):
        mp.attach(opening, ["vfs_open", "vfs_statx"], kernel=kernel)
    with pytest.raises(mp.CompileError, match="no function has an argument 'dfd'"):
        mp.attach(looking, ["vfs_open"], kernel=kernel)


failures = mp.PerFunction(mp.u64)


@mp.program(when="return")
def failed(ctx):
    if ctx.ret < 0:
        failures[ctx.function] += 1
        if ctx.ret == -2:
            out[1] += 1
        if mp.i32(ctx.return_register) == -2:
            out[2] += 1


def test_an_int_that_is_negative_is_less_than_zero() -> None:
    """-ENOENT from functions that return an int leaves the upper half of the register 0, or anything."""
    kernel = mp.Kernel()
    int_, pointer = kernel.by_symbols(["vfs_statx"]), kernel.by_symbols(["path_openat"])
    assert int_.returns() == b"\x60"
    assert pointer.returns() == b"\x00"
    for mechanism in mechanisms(kernel):
        for functions in (int_, int_ | pointer):
            with mp.attach(failed, functions, mechanisms=mechanism, pid=os.getpid()) as attachment:
                for _ in range(3):
                    assert not os.path.exists("/nowhere")
                with pytest.raises(FileNotFoundError):
                    os.open("/nowhere", os.O_RDONLY)
                found = {str(function): n for function, n in attachment.top(failures, 2)}
                n_enoent, n_by_register = list(attachment.map(out).totals())[1:3]
            assert n_by_register == n_enoent
            assert found["vfs_statx"] == 3, mechanism
            if len(functions) > 1:
                assert found["path_openat"] >= 1
                assert n_enoent >= 4


@pytest.mark.once("6.12")
def test_a_second_run_comes_from_the_cache(tmp_path: Path) -> None:
    script = tmp_path / "again.py"
    script.write_text(
        "import sys, multiprobe as mp\n"
        "from multiprobe.compiler.compiling import compile_program\n"
        "@mp.program\n"
        "def program(ctx):\n"
        "    x = ctx.task.pid\n"
        "compile_program(program, context='kprobe', when='entry')\n"
        "print('llvmlite' in sys.modules, 'numpy' in sys.modules)\n"
    )
    environment = os.environ | {"MULTIPROBE_CACHE": str(tmp_path)}
    runs = [subprocess.check_output([sys.executable, script], text=True, env=environment).split() for _ in range(2)]
    assert runs == [["True", "True"], ["False", "False"]]


def test_layouts_of_the_running_kernel() -> None:
    task = mp.struct("task_struct")
    btf = mp.Kernel().btf
    assert task.size == btf.size(btf.type_ids("task_struct", 4)[0])
    assert task.dtype["comm"].itemsize == 16
    assert mp.enum("pid_type").PIDTYPE_TGID == 1


def own_struct(btf: Btf) -> tuple[str, str]:
    """A struct that only this module has, and one of its members."""
    assert btf.base is not None
    for type_id in range(btf.first_id, len(btf)):
        name = btf.name(type_id)
        if btf.kind(type_id) == STRUCT and name and not btf.base.type_ids(name, STRUCT):
            for field in fields(btf, type_id):
                if scalar(btf, field.type_id):
                    return name, field.name
    return "", ""


def test_types_of_modules() -> None:
    kernel = mp.Kernel()
    modules = [kernel.btf_of(name) for name in kernel.table.module_names if name]
    name, member = next(found for btf in modules if btf and (found := own_struct(btf))[0])
    source = f"@mp.program\ndef of_module(ctx):\n    out[0] = mp.struct({name!r})(1).{member}\n    out[1] = 7\n"
    linecache.cache["<of module>"] = (len(source), None, source.splitlines(keepends=True), "<of module>")
    names = {"mp": mp, "out": out}
    exec(compile(source, "<of module>", "exec"), names)
    assert run(names["of_module"])[:2] == [0, 7]  # type: ignore[arg-type]
    assert mp.struct(name, kernel=kernel).size > 0
