"""Users and settings that the kernel says no to: `doctor` and the error of attaching agree, and the advice works.

`make rights` tries the whole matrix, also on kernels that were booted locked down; this is a sample of it, and the
sentences of some cells.
"""

from __future__ import annotations

import pytest
from rights import (
    ANY,
    CURED,
    NEEDED,
    NOBODY,
    WORKS,
    Cell,
    alternatives,
    cells,
    disagreements,
    follow,
    judge_all,
    outcome,
    usable_mechanisms,
    warm_up,
)
from turns import in_turn

PARANOID, KPTR = "/proc/sys/kernel/perf_event_paranoid", "/proc/sys/kernel/kptr_restrict"
RELAXED = "as root: sysctl kernel.perf_event_paranoid=2"
SAYS = [
    ("kprobe", Cell("no capability", (), settings=((PARANOID, "3"),)), "lacks CAP_BPF and CAP_PERFMON",
     f"run with CAP_BPF and CAP_PERFMON; {RELAXED}"),
    ("kprobe", Cell("paranoid", NEEDED, settings=((PARANOID, "3"),)), "kernel.perf_event_paranoid = 3", RELAXED),
    ("kprobe", Cell("hidden", NEEDED, settings=((KPTR, "2"), (PARANOID, "2"))), "kernel.kptr_restrict = 2",
     "as root: sysctl kernel.kptr_restrict=1"),
    ("trampoline", Cell("no CAP_PERFMON", ("CAP_BPF", "CAP_SYSLOG")), "lacks CAP_PERFMON", "run with CAP_PERFMON"),
]  # fmt: skip
NAMES = ("user namespace", "container with all capabilities", "no BTF", "16 descriptors, 40 functions")
SAMPLE = [cell for cell in cells() if cell.name in NAMES]


@pytest.fixture(scope="module")
def mechanisms() -> tuple[str, ...]:
    warm_up()
    return usable_mechanisms()


@pytest.mark.parametrize(("mechanism", "cell", "says", "remedy"), in_turn(SAYS), ids=str)
def test_the_error_says_what_is_missing(
    mechanism: str, cell: Cell, says: str, remedy: str, mechanisms: tuple[str, ...]
) -> None:
    found = outcome(cell, mechanisms)[mechanism]
    assert (found["usable"], found["status"]) == (False, 4)
    assert says in str(found["error"])
    assert remedy in str(found["hint"])


@pytest.mark.parametrize("cell", in_turn(SAMPLE), ids=str)
def test_doctor_and_the_error_agree_and_the_advice_works(cell: Cell, mechanisms: tuple[str, ...]) -> None:
    judged = judge_all(cell, mechanisms)
    assert {name: one.text for name, one in judged.items() if one.kind == "wrong"} == {}
    assert judged[ANY].kind in (WORKS, CURED)


def test_each_cell_has_a_name_of_its_own() -> None:
    names = [cell.name for cell in cells()]
    assert len(names) == len(set(names)) > 90
    assert set(NAMES) < set(names)


@pytest.mark.parametrize(
    ("differs", "wrong"),
    [
        ({}, ""),
        ({"usable": True}, "can be used"),
        ({"says": [["ftrace is off", "turn it on"]]}, "doctor says 'ftrace is off'"),
        ({"hint": "eat more fruit"}, "doctor says"),
        ({"status": 1}, "exit status 1"),
        ({"status": -1}, "not an error of ours"),
        ({"error": ""}, "it is attached"),
        ({"error": "creating a map: ENOMEM", "hint": ""}, "no advice"),
        ({"is_told": False}, "doesn't print"),
    ],
)
def test_a_wrong_cell_is_found(differs: dict[str, object], wrong: str) -> None:
    """The judge can fail."""
    answers = {"usable": False, "status": 4, "error": "kprobe: no right", "hint": "run as root; and so on"}
    found = list(disagreements(answers | {"says": [["no right", "run as root"]], "is_told": True} | differs))
    assert wrong in "".join(found)
    assert bool(found) == bool(wrong)


@pytest.mark.parametrize(
    ("hint", "followed"),
    [
        ("run as root, or with CAP_BPF and CAP_SYSLOG; `multiprobe doctor` shows more",
         [{"uid": 0, "capabilities": None}, {"uid": NOBODY, "capabilities": ("CAP_BPF", "CAP_SYSLOG")}]),
        ("run with CAP_BPF; as root: sysctl kernel.x=1",
         [{"capabilities": ("CAP_BPF",), "commands": ("sysctl kernel.x=1",)}]),
        ("7 had none: raise it with `ulimit -n 70` (as root), or attach fewer", [{"nofile": 70}]),
        ("add --vm=7.3 to run it in a virtual machine", []),
    ],
)  # fmt: skip
def test_each_alternative_of_an_advice_is_followed(hint: str, followed: list[dict[str, object]]) -> None:
    cell = Cell("user", (), NOBODY)
    found = [follow(cell, advice) for advice in alternatives(hint)]
    assert [{name: getattr(one, name) for name in each} for one, each in zip(found, followed, strict=True)] == followed
    assert follow(cell, "eat more fruit") is None
