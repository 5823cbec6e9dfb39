"""Attaching on a real kernel: cookies, exact counts, refused functions, nothing left attached."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time

import pytest

import multiprobe as mp
from multiprobe.errors import AttachError

ENABLED = "/sys/kernel/tracing/enabled_functions"

calls = mp.PerFunction(mp.u64)
right = mp.PerFunction(mp.u64)
wrong = mp.PerFunction(mp.u64)
MULTIPLIER = 0x9E3779B97F4A7C15


@mp.program
def count(ctx):
    calls[ctx.function] += 1


@mp.program
def check_cookie(ctx):
    """A cookie is right if it is its own function's: the test makes each from the function's address."""
    if ctx.cookie == (ctx.ip * MULTIPLIER) ^ 0x5BD1E9955BD1E995:
        right[ctx.function] += 1
    else:
        wrong[ctx.function] += 1


def cookie_of(address: int) -> int:
    return (address * MULTIPLIER & (1 << 64) - 1) ^ 0x5BD1E9955BD1E995


@pytest.fixture(scope="module")
def kernel() -> mp.Kernel:
    return mp.Kernel()


@pytest.fixture
def needs_batch(kernel: mp.Kernel) -> None:
    if not kernel.has("kprobe_multi"):
        pytest.skip("this kernel has no kprobe.multi (CONFIG_FPROBE)")


def enabled() -> str:
    with open(ENABLED) as file:
        return file.read()


def getppid_in_child(n: int) -> str:
    """Python source that calls getppid() `n` times once told to, and says when it has started."""
    return (
        "import os, sys\n"
        "print(os.getpid(), flush=True); sys.stdin.readline()\n"
        f"for _ in range({n}): os.getppid()\n"
        "print('done', flush=True); sys.stdin.readline()\n"
    )


@pytest.mark.usefixtures("needs_batch")
def test_five_thousand_functions_each_with_its_own_cookie(kernel: mp.Kernel) -> None:
    everything = kernel.functions("*").attachable()
    sampled = everything.take(random.Random(20261122).sample(range(len(everything)), 4990))
    functions = kernel.by_symbols(["vfs_read", "vfs_write", "do_sys_openat2", "__x64_sys_getppid"]) | sampled
    cookies = [cookie_of(address) for address in functions.addresses()]
    with mp.attach(check_cookie, functions, cookies=cookies) as attachment:
        subprocess.run(["ls", "-lR", "/etc"], stdout=subprocess.DEVNULL, check=True)
        for _ in range(1000):
            os.getppid()
        attachment.pause()
        good, bad = attachment.totals(right), attachment.totals(wrong)
    left_out = [refusal for refusal in attachment.report.skipped if refusal.code == "own_call"]
    assert attachment.report.attached + len(left_out) == len(functions) >= 4990
    assert len(left_out) < 5
    assert sum(bad) == 0
    assert sum(good) > 2000
    assert good[3] >= 1000, "getppid"
    assert sum(1 for n in good if n) > 100, "a workload of ls calls hundreds of functions"


@pytest.mark.usefixtures("needs_batch")
@pytest.mark.parametrize("when", ["entry", "return"])
def test_a_pinned_workload_is_counted_exactly(kernel: mp.Kernel, when: str) -> None:
    n = 12_345
    with subprocess.Popen(
        [sys.executable, "-c", getppid_in_child(n)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        pid = int(child.stdout.readline())
        with mp.attach(count, ["__x64_sys_getppid"], pid=pid, when=when, kernel=kernel) as attachment:
            child.stdin.write("go\n")
            child.stdin.flush()
            assert child.stdout.readline() == "done\n"
            for _ in range(100):
                os.getppid()  # another process: must not count
            assert list(attachment.totals(calls)) == [n]
            assert attachment.read(calls).tolist() == [n]
            assert attachment.top(calls)[0][0].name == "__x64_sys_getppid"
            missed = attachment.missed()
        child.communicate("end\n")
    assert not any(missed.values()), missed
    assert attachment.report.missed == missed, "the report of a closed attachment tells what was missed"


entries = mp.PerFunction(mp.u64)
returns = mp.PerFunction(mp.u64)
kept = mp.PerFunction(mp.u64)


@mp.program(when="session")
def pair(ctx):
    """What the entry leaves in the session, the return finds."""
    if ctx.is_return:
        returns[ctx.function] += 1
        if ctx.session == ctx.ip + 1:
            kept[ctx.function] += 1
    else:
        ctx.session = ctx.ip + 1
        entries[ctx.function] += 1


def fits(kernel: mp.Kernel, mechanism: str) -> bool:
    from multiprobe.kernel.mechanism import parse_mechanism
    from multiprobe.links.plan.usable import usable_mechanisms

    return bool(usable_mechanisms(kernel, when="session") & parse_mechanism(mechanism))


@pytest.mark.parametrize(
    ("mechanism", "without"),
    [
        ("kprobe_multi", ()),
        ("tracing_multi", ()),
        ("trampoline", ()),
        ("trampoline", ("fsession",)),
        ("kprobe", ()),
        (None, ("trampoline",)),
        (None, ("kprobe",)),
        (None, ()),
    ],
)
def test_a_session_sees_both_sides_of_a_call(kernel: mp.Kernel, mechanism: str, without: tuple[str, ...]) -> None:
    if mechanism and not fits(kernel, mechanism):
        pytest.skip(f"this kernel has no {'kprobe_session' if kernel.has(mechanism) else mechanism}")
    names = ["vfs_read", "vfs_getattr_nosec", "seq_read_iter", "seq_read"]
    with mp.attach(pair, names, mechanisms=mp.Mechanisms(mechanism, without), pid=os.getpid()) as attachment:
        for _ in range(50):
            os.stat("/proc/self/status")
            with open("/proc/self/comm") as file:
                file.read()
        attachment.pause()
        seen = [list(attachment.totals(spec)) for spec in (entries, returns, kept)]
        missed = attachment.missed()
    assert min(seen[0]) >= 50
    assert seen[1] == seen[0]
    assert seen[2] == seen[0]
    assert not any(missed.values()), missed


@mp.program(when="session")
def choosy(ctx):
    """Only calls that ask for more than 100 bytes have a return side; of those without an odd number of bytes."""
    if ctx.is_return:
        returns[ctx.function] += 1
        if ctx.session == ctx.ip + 1:
            kept[ctx.function] += 1
        return 0
    entries[ctx.function] += 1
    ctx.session = ctx.ip + 1
    if ctx.arg(2) & 1:
        return 1
    return ctx.arg(2) <= 100


@mp.program(when="session")
def sessionless(ctx):
    """The same, without a session's value."""
    if ctx.is_return:
        returns[ctx.function] += 1
        kept[ctx.function] += 1
        return True
    entries[ctx.function] += 1
    return ctx.arg(2) <= 100 or ctx.arg(2) % 2 == 1


@pytest.mark.parametrize(
    ("mechanism", "without"),
    [("kprobe_multi", ()), ("tracing_multi", ()), ("trampoline", ()), ("trampoline", ("fsession",)), ("kprobe", ())],
)
@pytest.mark.parametrize("program", [choosy, sessionless], ids=["value", "none"])
def test_an_entry_skips_its_return(
    kernel: mp.Kernel, mechanism: str, without: tuple[str, ...], program: mp.Program
) -> None:
    if not fits(kernel, mechanism):
        pytest.skip(f"this kernel has no {'kprobe_session' if kernel.has(mechanism) else mechanism}")
    with (
        open("/etc/passwd", "rb", buffering=0) as file,
        mp.attach(
            program, ["vfs_read"], mechanisms=mp.Mechanisms(mechanism, without), pid=os.getpid(), kernel=kernel
        ) as attachment,
    ):
        for size in (100, 102, 101, 500, 501, 64) * 20:
            os.pread(file.fileno(), size, 0)
        attachment.pause()
        seen = [attachment.totals(spec)[0] for spec in (entries, returns, kept)]
        missed = attachment.missed()
    assert seen == [120, 40, 40]
    assert not any(missed.values()), missed


@mp.program(when="session")
def exits(ctx):
    if ctx.is_return:
        returns[ctx.function] += 1
    else:
        ctx.session = 1
        entries[ctx.function] += 1


@pytest.mark.parametrize("mechanism", ["kprobe", "kprobe_multi"])
def test_a_session_on_what_never_returns(kernel: mp.Kernel, mechanism: str) -> None:
    """Calls of do_exit leave their sessions open; those of other functions, in the same stacks, are none the worse."""
    if not fits(kernel, mechanism):
        pytest.skip("this kernel has no kprobe.multi sessions (kprobe_session)")
    with mp.attach(exits, ["do_exit", "vfs_read"], mechanisms=mechanism, kernel=kernel) as attachment:
        for _ in range(40):
            pid = os.fork()
            if not pid:
                os._exit(0)
            os.waitpid(pid, 0)
        with open("/proc/self/comm") as file:
            file.read()
        attachment.pause()
        seen = [list(attachment.totals(spec)) for spec in (entries, returns)]
    assert seen[0][0] >= 40
    assert seen[1][0] == 0
    assert seen[0][1] == seen[1][1] > 0


@pytest.mark.usefixtures("needs_batch")
def test_by_addresses_and_by_symbols_with_cookies(kernel: mp.Kernel) -> None:
    symbols = ["vfs_read", "__x64_sys_getppid", "vfs_write"]
    by_symbol = [cookie_of(kernel.function(symbol).address) for symbol in symbols]
    with mp.attach(check_cookie, symbols, cookies=by_symbol) as first:
        addresses = [kernel.function(symbol).address for symbol in reversed(symbols)]
        with mp.attach(check_cookie, addresses, cookies=[cookie_of(a) for a in addresses]) as second:
            for _ in range(500):
                os.getppid()
            for attachment in (first, second):
                assert attachment.totals(right)[1] >= 500
                assert sum(attachment.totals(wrong)) == 0


def bad_requests(kernel: mp.Kernel, good: list[str]) -> dict[str, str]:
    """Nine requests that can't be met, by the code of the verdict that each must get."""
    table = kernel.table
    inside = kernel.function("vfs_read").address + 9
    everything = kernel.functions("*")
    refused = {refusal.code: refusal.request for refusal in reversed(everything.refusals())}
    duplicate = next(
        name for name in ("t_start", "t_next", "s_next", "c_start", "m_start") if len(table.rows_of_name(name)) > 1
    )
    return {
        "unknown_name": "no_such_function_anywhere",
        "not_traceable": refused["not_traceable"].split(" ")[0],
        "wrong_address": "0xffffffff00000010",
        "inside_function": hex(inside),
        "ambiguous": duplicate,
        "unsafe": "rcu_read_unlock_strict" if table.rows_of_name("rcu_read_unlock_strict") else "default_idle",
        "module": "gone_module:its_function",
        "deny_listed": "migrate_disable",
        "listed_twice": good[0],
    }


@pytest.mark.usefixtures("needs_batch")
def test_nine_bad_among_a_thousand_good(kernel: mp.Kernel) -> None:
    everything, chance = kernel.functions("*").attachable(), random.Random(3)
    some = [everything[place] for place in chance.sample(range(len(everything)), 2000)]
    names = [f.name for f in some if len(kernel.table.rows_of_name(f.name)) == 1 and not f.module]
    good = names[:1000]
    bad = bad_requests(kernel, good)
    request = list(good)
    for place, name in enumerate(bad.values()):
        request.insert(100 * place + 1, name)
    with mp.attach(count, request, kernel=kernel) as attachment:
        report = attachment.report
        assert (report.requested, report.attached, report.links) == (1009, 1000, 1)
        assert len(report.skipped) + len(report.failed) == 9
        assert {refusal.request for refusal in report.skipped} == set(bad.values())
        assert all(len(refusal.reason) > 20 for refusal in report.skipped)
        assert len(enabled().splitlines()) >= 1000
    with pytest.raises(AttachError) as caught:
        mp.attach(count, request, kernel=kernel, on_bad="error")
    assert caught.value.report is not None
    assert enabled() == ""


@pytest.mark.once("7.3")
@pytest.mark.usefixtures("needs_batch")
@pytest.mark.parametrize("moment", ["attaching", "attached"])
def test_killed_leaves_nothing(moment: str) -> None:
    script = (
        "import multiprobe as mp, sys\n"
        "from multiprobe.instruments.count import count\n"
        "functions = mp.Kernel().functions('*')\n"
        "print('attaching', flush=True)\n"
        "attachment = mp.attach(count, functions)\n"
        "print('attached', flush=True)\n"
        "sys.stdin.readline()\n"
    )
    child = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    while child.stdout.readline().strip() != moment:
        assert child.poll() is None
    if moment == "attaching":
        time.sleep(2)
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.communicate()
    deadline = time.monotonic() + 60
    while enabled() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert enabled() == ""
