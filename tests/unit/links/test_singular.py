"""Errors, reports and reprs of one function, one link and one CPU say so in the singular."""

from __future__ import annotations

from pathlib import Path

import pytest

import multiprobe as mp
from fake_kernel import LIKE_7_3, FakeFunction, FakeKernel
from multiprobe.kernel.mechanism import Mechanism
from multiprobe.links.plan import memory
from multiprobe.links.plan.plan import make_plan


@mp.program
def empty(ctx):
    return


def test_one_function_attached(tmp_path: Path) -> None:
    with FakeKernel(tmp_path, LIKE_7_3), mp.attach(empty, "tcp_sendmsg") as attachment:
        assert repr(attachment) == "<Attachment of empty: 1 function in 1 link>"
        assert " in 1 link" in str(attachment.report)
        assert " links" not in str(attachment.report)


def test_one_cookie_for_one_function(tmp_path: Path) -> None:
    with FakeKernel(tmp_path, LIKE_7_3):
        with pytest.raises(mp.UsageError, match="1 cookie for 2 functions"):
            mp.attach(empty, ["tcp_sendmsg", "tcp_recvmsg"], cookies=[1])
        with pytest.raises(mp.UsageError, match=r"2 cookies for 1 function$"):
            mp.attach(empty, ["tcp_sendmsg"], cookies=[1, 2])


def test_too_large_for_one_function_on_one_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = make_plan([Mechanism.KPROBE_MULTI], when="return")
    monkeypatch.setattr(memory, "load_meminfo", lambda: {"MemAvailable": 1000})
    monkeypatch.setattr(memory, "load_n_cpus", lambda: 1)
    why = memory.why_too_large(2_000_000, plan, 0.25)
    assert why.startswith("attaching 1 function at return on 1 CPU would take about 2.0 MB of kernel memory")


@pytest.mark.parametrize(
    ("names", "begins"),
    [
        (["tcp_no_btf"], "the function can't be attached by trampoline: "),
        (["tcp_no_btf", "tcp_no_btf_either"], "none of the 2 requested functions can be attached by trampoline: "),
    ],
)
def test_nothing_that_this_mechanism_attaches_to(tmp_path: Path, names: list[str], begins: str) -> None:
    functions = [FakeFunction(name, has_btf=False) for name in ("tcp_no_btf", "tcp_no_btf_either")]
    with FakeKernel(tmp_path, LIKE_7_3, functions=functions), pytest.raises(mp.NotSupportedError) as caught:
        mp.attach(empty, names, mechanisms="trampoline")
    assert str(caught.value).startswith(begins)
