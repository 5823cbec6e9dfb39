"""Two mechanisms run the same program on the same functions: equal counts, cookies and arguments."""

from __future__ import annotations

import random
import subprocess
import sys
import time

import pytest

import multiprobe as mp
from multiprobe.kernel.mechanism import Mechanism

N = 3000
SCRIPT = """
import os, sys
sys.stdin.readline()
for _ in range(30):
    for name in os.listdir("/etc"):
        try:
            with open(f"/etc/{name}", "rb") as file:
                file.read(100)
        except OSError:
            pass
print("done", flush=True)
sys.stdin.readline()
"""

calls = mp.PerFunction(mp.u64)
cookies = mp.PerFunction(mp.u64)
sums = mp.PerFunction(mp.u64)


@mp.program
def observe(ctx):
    calls[ctx.function] += 1
    cookies[ctx.function] += ctx.cookie
    sums[ctx.function] += ctx.arg(0) * 7 + ctx.arg_count


def observed(attachment: mp.Attachment) -> dict[int, tuple[int, int, int]]:
    """(calls, sum of cookies, sum of arguments) by the address of each function that is attached.

    A function that the kernel refused before was left out of the plan; one that it refused now has a row and no calls.
    """
    failed = {failure.function for failure in attachment.report.failed}
    rows = zip(*(attachment.totals(spec) for spec in (calls, cookies, sums)), strict=True)
    return {
        function.address: row
        for function, row in zip(attachment.functions, rows, strict=True)
        if str(function) not in failed
    }


def when_settled(*attachments: mp.Attachment) -> list[dict[int, tuple[int, int, int]]]:
    """What each one observed, once it stands still: the child is still on its way into its last read."""

    def read() -> list[dict[int, tuple[int, int, int]]]:
        return [observed(each) for each in attachments]

    before, now = read(), read()
    while now != before:
        time.sleep(0.1)
        before, now = now, read()
    return now


def test_three_thousand_functions() -> None:
    kernel = mp.Kernel()
    if not kernel.has("tracing_multi"):
        pytest.skip("this kernel has no tracing_multi")
    able = kernel.functions("vmlinux:*").attachable(Mechanism.TRACING_MULTI).attachable(Mechanism.KPROBE_MULTI)
    taking = kernel.functions("vmlinux:vfs_*", "vmlinux:do_*open*", "vmlinux:path_*", "vmlinux:ext4_*") & able
    wanted = taking | able.take(sorted(random.Random(7).sample(range(len(able)), N)))
    functions = wanted.take([n for n, slots in enumerate(wanted.slots()) if slots][:N])
    given = [random.Random(place).getrandbits(32) for place in range(len(functions))]
    child = subprocess.Popen([sys.executable, "-c", SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert child.stdin is not None
    assert child.stdout is not None
    options = {"cookies": given, "pid": child.pid}
    with (
        child,
        mp.attach(observe, functions, mechanisms="tracing_multi", **options) as one,
        mp.attach(observe, functions, mechanisms="kprobe_multi", **options) as other,
    ):
        child.stdin.write("go\n")
        child.stdin.flush()
        assert child.stdout.readline() == "done\n"
        found = when_settled(one, other)
        missed = [each.missed() for each in (one, other)]
        child.communicate("end\n")
    n_missed = sum(sum(each.values()) for each in missed)
    one_saw, other_saw = found
    both = one_saw.keys() & other_saw.keys()
    assert len(both) > 0.99 * N
    differ = [address for address in both if one_saw[address] != other_saw[address]]
    assert sum(n_calls for n_calls, _, _ in one_saw.values()) > 20_000
    assert sum(1 for n_calls, _, _ in one_saw.values() if n_calls) > 20
    # A call that one of them missed shows at one function only.
    assert len(differ) <= n_missed, (differ, missed)
    cookie_of = dict(zip(functions.addresses(), given, strict=True))
    for address, (n_calls, sum_of_cookies, _) in one_saw.items():
        assert sum_of_cookies == n_calls * cookie_of[address]
