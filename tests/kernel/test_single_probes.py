"""Single probes where batches can't go: inside functions, on ambiguous names; and arguments that lie on the stack."""

from __future__ import annotations

import errno
import mmap
import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from turns import at_home

import multiprobe as mp
from multiprobe.kernel.mechanism import Mechanism, parse_mechanism

calls = mp.PerFunction(mp.u64)
arguments = mp.Hash((mp.u32, mp.u32), mp.u64, 64)
DFD = "do_sys_openat2"
"""Its first argument is a number, not a pointer."""


@mp.program
def count(ctx):
    calls[ctx.function] += 1


@mp.program
def past_the_sixth(ctx):
    arguments[ctx.function, 5] = ctx.arg(5)
    arguments[ctx.function, 6] = ctx.arg(6)
    arguments[ctx.function, 7] = ctx.arg(7)


@mp.program
def first_eight(ctx):
    arguments[ctx.function, 0] = ctx.arg(0)
    arguments[ctx.function, 1] = ctx.arg(1)
    arguments[ctx.function, 2] = ctx.arg(2)
    arguments[ctx.function, 3] = ctx.arg(3)
    arguments[ctx.function, 4] = ctx.arg(4)
    arguments[ctx.function, 5] = ctx.arg(5)
    arguments[ctx.function, 6] = ctx.arg(6)
    arguments[ctx.function, 7] = ctx.arg(7)


@pytest.fixture(scope="module")
def kernel() -> mp.Kernel:
    return mp.Kernel()


def test_inside_a_function(kernel: mp.Kernel) -> None:
    """Right behind ftrace's call, which is five bytes long, stands an instruction; in that call there is none."""
    row = kernel.function("vfs_read").row
    call = kernel.table.call_offsets[row]
    names = ["vfs_read", f"vfs_read+{call + 5:#x}"]
    with mp.attach(count, names, pid=os.getpid(), kernel=kernel) as attachment:
        for _ in range(20):
            Path("/proc/self/comm").read_bytes()
        attachment.pause()
        report, (entries, inside) = attachment.report, attachment.totals(calls)
    assert report.mechanisms["kprobe"] >= 1
    assert entries == inside >= 40  # each time what there is, and then the end
    with mp.attach(count, ["vfs_write", f"vfs_read+{call + 2:#x}"], kernel=kernel) as attachment:
        (failure,) = attachment.report.failed
    assert failure.errno in (22, 84), str(failure)  # EINVAL; EILSEQ where the kernel tells it apart
    assert attachment.report.attached == 1


def test_a_session_or_a_return_inside_is_refused(kernel: mp.Kernel) -> None:
    for when in ("return", "session"):
        with mp.attach(count, ["vfs_write", "vfs_read+0x9"], when=when, kernel=kernel) as attachment:
            assert [refusal.code for refusal in attachment.report.skipped] == ["offset"]


@pytest.mark.parametrize("when", ["entry", "return"])
def test_namesakes_by_address(kernel: mp.Kernel, when: str) -> None:
    table = kernel.table
    names = ("t_start", "t_next", "s_next", "c_start", "m_start", "c_next", "t_stop")
    name = next(name for name in names if len(table.rows_of_name(name)) > 1)
    with mp.attach(count, ["vfs_read", name], kernel=kernel) as attachment:
        (refusal,) = attachment.report.skipped
        assert refusal.code == "ambiguous"
    chosen = kernel.by_addresses([table.addresses[row] for row in table.rows_of_name(name)])
    both = chosen.attachable(Mechanism.KPROBE)
    if not len(both):
        both = kernel.by_symbols(["vfs_read"])  # 6.1 lists by name only: which of them is traceable can't be told
    with mp.attach(count, both, mechanisms="kprobe", when=when) as attachment:
        assert attachment.report.attached == len(both)


@pytest.mark.parametrize("mechanism", ["kprobe_multi", "trampoline", "tracing_multi"])
def test_arguments_on_the_stack(kernel: mp.Kernel, mechanism: str, tmp_path: Path) -> None:
    """do_mmap takes eight or nine; a trampoline saves them all, a kprobe reads those past the sixth from the stack."""
    if not kernel.has(mechanism):
        pytest.skip(f"this kernel has no {mechanism}")
    place = next(n for n, name in enumerate(parameters(kernel, "do_mmap")) if name == "pgoff")
    path = tmp_path / "five-pages"
    path.write_bytes(bytes(5 * mmap.PAGESIZE))
    with (
        ExitStack() as stack,
        mp.attach(past_the_sixth, ["do_mmap"], mechanisms="kprobe", pid=os.getpid(), kernel=kernel) as one,
    ):
        attachments, refused = [one], None
        try:
            other = mp.attach(past_the_sixth, ["do_mmap"], mechanisms=mechanism, pid=os.getpid(), kernel=kernel)
            attachments.append(stack.enter_context(other))
        except mp.AttachError as error:
            refused = error.report
        with (
            open(path, "rb") as file,
            mmap.mmap(file.fileno(), mmap.PAGESIZE, prot=mmap.PROT_READ, offset=3 * mmap.PAGESIZE),
        ):
            found = [attachment.map(arguments).as_dict() for attachment in attachments]
    assert found[0][0, place] == 3
    assert found[0][0, 7] > 1 << 63, "a pointer into the kernel's stack"
    if refused is not None:  # before v6.6 (Linux kernel commit 473e3150e30a) a trampoline saves six
        assert (mechanism, refused.failed[0].errno) == ("trampoline", 524)
    else:
        assert found[0] == found[1]


@pytest.mark.parametrize("names", [["vfs_read", "vfs_open", "do_sys_openat2", "__x64_sys_read"], ["vfs_open"]])
def test_arguments_past_the_last_are_zero(kernel: mp.Kernel, names: list[str]) -> None:
    """Under every mechanism, at the same calls; and what is no argument costs no failed read of the stack."""
    counts = kernel.by_symbols(names).slots()
    assert len(set(counts)) == min(len(names), 4)
    assert max(counts) <= 4
    used = [name for name in ("kprobe", "trampoline", "kprobe_multi", "tracing_multi") if kernel.has(name)]
    assert {"kprobe", "trampoline"} <= set(used)
    with ExitStack() as stack:
        attachments = [
            stack.enter_context(mp.attach(first_eight, names, mechanisms=name, pid=os.getpid(), kernel=kernel))
            for name in used
        ]
        Path("/proc/self/comm").read_bytes()
        for attachment in attachments:
            attachment.pause()
        found = [attachment.map(arguments).as_dict() for attachment in attachments]
        missed = [attachment.missed() for attachment in attachments]
    for name, one, losses in zip(used, found, missed, strict=True):
        assert {(function, n) for function, n in one if one[function, n] and n >= counts[function]} == set(), name
        assert all(one[function, 0] > 1 << 63 for function, name_ in enumerate(names) if name_ != DFD), name
        assert len(one) == 8 * len(names), name
        assert not losses.get("failed_reads"), name
    assert all(one == found[0] for one in found)


def parameters(kernel: mp.Kernel, name: str) -> list[str]:
    """The names of a function's parameters, out of what `multiprobe functions --why` tells."""
    from multiprobe.functions.describe import why
    from multiprobe.functions.pattern import parse_pattern

    (answer, *_), _ = why(kernel, parse_pattern(name), unsafe=False)
    signature = str(answer["signature"])
    inside = signature[signature.index("(") + 1 : signature.rindex(")")]
    return [part.replace("*", " ").split()[-1] for part in inside.split(",")]


@contextmanager
def descriptors_left(n: int) -> Iterator[None]:
    """So many more can be opened; root may raise the limit again afterwards."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + n, lowest + n))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize("mechanism", at_home(["trampoline", "kprobe"]))
def test_descriptors_that_run_out_are_no_fault_of_the_functions(mechanism: str, kernel: mp.Kernel) -> None:
    """What is left attaches and works, the report says what was missing, and the next attachment has all functions."""
    chosen = kernel.functions("vmlinux:vfs_*").attachable(parse_mechanism(mechanism))
    with descriptors_left(60), mp.attach(count, chosen, mechanisms=mechanism, kernel=kernel) as attachment:
        report = attachment.report
        assert 0 < report.attached < len(chosen)
        assert {one.errno for one in report.failed} == {errno.EMFILE}
        assert any("ulimit -n" in note for note in report.notes)
        assert subprocess.run(["true"], check=True).returncode == 0, "files and pipes are left for everything else"
        attachment.missed()
    with descriptors_left(3), pytest.raises(mp.KernelError, match="EMFILE") as caught:
        mp.attach(count, chosen, mechanisms=mechanism, kernel=kernel)
    assert "ulimit -n" in caught.value.hint
    with mp.attach(count, chosen, mechanisms=mechanism, kernel=kernel) as attachment:
        assert attachment.report.attached == len(chosen)
