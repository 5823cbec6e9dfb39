"""`mp.diff` and `multiprobe diff`: changes that were made are found, equal runs give no claim.

Simulated functions differ in how often they are called and in how much that varies from run to run.
"""

from __future__ import annotations

import json
import math
import random
import re
from typing import TYPE_CHECKING, Any

import pytest
from made_runs import called, make_run, timed

import multiprobe as mp
from multiprobe.cli.main import run as command
from multiprobe.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

N_FUNCTIONS = 800
SIZES = {"count": 800, "latency": 250}
PLANTED = {f"f{n}": factor for n, factor in zip(range(0, 200, 10), [2.0, 0.5, 3.0, 0.2, 1.5] * 4, strict=True)}


class Simulated:
    """A machine: how often each function is called a run, its usual time, and how both vary between runs."""

    def __init__(self, seed: int, n_functions: int = N_FUNCTIONS) -> None:
        self.random = random.Random(seed)
        exponents = [self.random.uniform(math.log(0.3), math.log(1e6)) for _ in range(n_functions)]
        self.rates = {f"f{n}": math.exp(exponent) for n, exponent in enumerate(exponents)}
        self.spread = {name: self.random.choice([0.01, 0.03, 0.05, 0.1, 0.2]) for name in self.rates}
        self.times = {name: self.random.uniform(6, 16) for name in self.rates}
        self.n = 0

    def counts(self, factors: Mapping[str, float]) -> dict[str, int]:
        """The calls of one run: the machine is more or less busy, each function varies, and calls are counted."""
        busy = math.exp(self.random.gauss(0, 0.02))
        found = {}
        for name, rate in self.rates.items():
            expected = rate * busy * factors.get(name, 1.0) * math.exp(self.random.gauss(0, self.spread[name]))
            found[name] = poisson(self.random, expected)
        return found

    def count(self, factors: Mapping[str, float] | None = None) -> mp.Run:
        """A run of count."""
        counts = self.counts(factors or {})
        rows = [called(name, n) for name, n in counts.items() if n]
        self.n += 1
        return make_run(rows, name=f"run{self.n}", attached=[("", name) for name in counts])

    def latency(self, factors: Mapping[str, float] | None = None) -> mp.Run:
        """A run of latency: times are log-normal, `factors` are those of times."""
        rows = []
        for name, n in self.counts({}).items():
            mean = self.times[name] + self.random.gauss(0, self.spread[name] / 3)
            mean += math.log((factors or {}).get(name, 1.0))
            times = [math.exp(self.random.gauss(mean, 0.7)) for _ in range(min(n, 400 if name in PLANTED else 60))]
            if times:
                rows.append(row_of(name, times))
        self.n += 1
        return make_run(rows, name=f"run{self.n}", command="latency", attached=[("", name) for name in self.rates])


def row_of(name: str, times: list[float]) -> dict[str, Any]:
    histogram: dict[int, int] = {}
    for time in times:
        bits = int(time).bit_length()
        histogram[bits] = histogram.get(bits, 0) + 1
    return timed(name, histogram, total=int(sum(times)), longest=int(max(times)))


def poisson(source: random.Random, mean: float) -> int:
    if mean > 50:
        return max(0, round(source.gauss(mean, math.sqrt(mean))))
    n, left = 0, source.expovariate(1)
    while left < mean:
        n, left = n + 1, left + source.expovariate(1)
    return n


@pytest.mark.parametrize("kind", ["count", "latency"])
def test_equal_runs_give_no_claim(kind: str) -> None:
    """Ten pairs of three runs each."""
    claims = []
    for seed in range(10):
        machine = Simulated(seed, SIZES[kind])
        make: Callable[[], mp.Run] = getattr(machine, kind)
        found = mp.diff([make() for _ in range(3)], [make() for _ in range(3)])
        assert len(found.rows) > 0.9 * SIZES[kind]
        claims += list(found.claims)
    assert claims == []


@pytest.mark.parametrize("kind", ["count", "latency"])
def test_what_was_changed_is_found_and_nothing_else(kind: str) -> None:
    machine = Simulated(42, SIZES[kind])
    for name in PLANTED:
        machine.rates[name], machine.spread[name] = 5000.0, 0.03
    make: Callable[..., mp.Run] = getattr(machine, kind)
    found = mp.diff([make() for _ in range(4)], [make(PLANTED) for _ in range(4)])
    assert {row["function"] for row in found.claims} == set(PLANTED)
    for row in found.claims:
        factor = PLANTED[row["function"]]
        words = ("slower", "faster") if kind == "latency" else ("more", "less")
        assert row["change"] == words[factor < 1]
        assert row["factor"] == pytest.approx(factor, rel=0.35)
    for row in found.rows:
        assert row["is_claim"] == (row["q"] is not None and row["q"] <= 0.001 and row["is_large"])


def test_functions_new_and_gone() -> None:
    before = [make_run([called("a", 1000), called("old", 900 + n)], name=f"b{n}", attached=NAMES) for n in range(3)]
    after = [make_run([called("a", 1001), called("new", 900 + n)], name=f"a{n}", attached=NAMES) for n in range(3)]
    found = mp.diff(before, after)
    assert {row["function"]: row["change"] for row in found.claims} == {"old": "gone", "new": "new"}
    assert next(row["factor"] for row in found.claims if row["change"] == "new") is None
    assert {row["function"]: row["change"] for row in found.rows}["a"] == "more"


NAMES = [("", name) for name in ("a", "old", "new")]


def test_one_run_on_a_side_is_measured_but_nothing_is_claimed() -> None:
    one, two = make_run([called("a", 10)], name="one"), make_run([called("a", 10_000)], name="two")
    found = mp.diff(one, two)
    (row,) = found.rows
    assert (row["before"], row["after"], row["factor"], row["q"], row["is_large"]) == (1.0, 1000.0, 1000.0, None, True)
    assert not found.is_tested
    assert len(found.claims) == 0
    assert "only one run before and after: differences can be measured, but not told from chance" in found.notes[0]
    assert "only one run after:" in mp.diff([one, make_run([called("a", 11)], name="three")], two).notes[0]


def test_rates_are_compared_unless_each_run_had_a_command() -> None:
    short = make_run([called("a", 100)], name="short", seconds=1, workload="cp")
    long = make_run([called("a", 100)], name="long", seconds=10, workload="cp")
    (row,) = mp.diff(short, long).rows
    assert (row["unit"], row["change"]) == ("calls per run", "same")
    (row,) = mp.diff(short, make_run([called("a", 100)], name="timed", seconds=10)).rows
    assert (row["unit"], row["change"], row["factor"]) == ("calls per second", "less", 0.1)
    with pytest.raises(UsageError, match=r"zero.jsonl measured no time"):
        mp.diff(short, make_run([called("a", 100)], name="zero", seconds=0))


def test_functions_that_one_kernel_lacks_with_the_reason() -> None:
    before = make_run([called("a", 5), called("lost", 9), called("refused", 7, "m")], name="b", kernel="6.12")
    after = make_run([called("a", 5)], name="a", kernel="7.3", skipped={"refused [m]": "refused is not traceable"})
    found = mp.diff(before, after)
    assert [(row["function"], row["only"], row["calls"], row["reason"]) for row in found.unavailable] == [
        ("lost", "before", 9, "not in the kernel (7.3), or not selected"),
        ("refused", "before", 7, "refused is not traceable"),
    ]
    assert {row["function"] for row in found.rows} == {"a"}, "what could not be measured is not gone"


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (["foo.isra.0"], ["foo"], {"foo": ("same", 10.0)}),
        (["foo.constprop.0.isra.0"], ["foo.isra.5"], {"foo": ("same", 10.0)}),
        (["foo.isra.0", "foo.constprop.0"], ["foo"], {"foo": ("less", 20.0)}),
        (["foo.isra.0"], ["foo.isra.0"], {"foo.isra.0": ("same", 10.0)}),
        (["foo", "foo.isra.0"], ["foo", "foo.isra.0"], {"foo": ("same", 10.0), "foo.isra.0": ("same", 10.0)}),
        (["foo.cold"], ["foo"], {}),
        (["foo.part.0"], ["foo"], {}),
    ],
)
def test_suffixes_of_compilers_are_matched(
    before: list[str], after: list[str], expected: dict[str, tuple[str, float]]
) -> None:
    one = make_run([called(name, 100, "m") for name in before], name="b")
    two = make_run([called(name, 100, "m") for name in after], name="a")
    found = mp.diff(one, two)
    assert {row["function"]: (row["change"], row["before"]) for row in found.rows} == expected
    assert bool(found.unavailable) == (not expected)


def test_the_same_name_in_another_module_is_another_function() -> None:
    found = mp.diff(make_run([called("init", 5, "m")], name="b"), make_run([called("init", 5, "n")], name="a"))
    assert [(row["module"], row["only"]) for row in found.unavailable] == [("m", "before"), ("n", "after")]


def test_errors_new_and_gone() -> None:
    def group(error: str, count: int, first: str) -> dict[str, Any]:
        return {
            "type": "group", "count": count, "error": error, "first": first, "path": ["a", first], "is_cut": False,
            "outcome": "returned", "end": "a", "end_error": error,
        }  # fmt: skip

    before = [
        make_run([group("ENOENT", 500 + n, "b.isra.0"), group("EIO", 300 + n, "c")], name=f"b{n}", command="errors")
        for n in range(3)
    ]
    after = [
        make_run([group("ENOENT", 500 + n, "b"), group("ENOSPC", 40 + n, "c")], name=f"a{n}", command="errors")
        for n in range(3)
    ]
    found = mp.diff(before, after)
    assert {row["error"]: row["change"] for row in found.claims} == {"EIO": "gone", "ENOSPC": "new"}
    assert {row["error"]: row["change"] for row in found.rows}["ENOENT"] == "same"
    assert found.rows[0]["unit"] == "failures per second"


def test_stacks_are_compared() -> None:
    def stack(frames: list[str], calls: int) -> dict[str, Any]:
        return {"type": "stack", "function": "b", "module": "", "frames": frames, "calls": calls}

    before = [make_run([stack(["x", "b"], 100 + n)], name=f"b{n}", command="stacks") for n in range(2)]
    after = [make_run([stack(["y", "b"], 100 + n)], name=f"a{n}", command="stacks") for n in range(2)]
    changes = {tuple(row["frames"]): row["change"] for row in mp.diff(before, after).rows}
    assert changes == {("x", "b"): "gone", ("y", "b"): "new"}


def test_what_was_missed_is_said() -> None:
    before = make_run([called("a", 5)], name="b", missed={"link_misses": 2, "full_maps": 0})
    assert "missed before: 2 link misses" in mp.diff(before, make_run([called("a", 5)], name="a")).notes


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    run = make_run([called("a", 5), called("b", 5)], name="run")
    with pytest.raises(UsageError, match=r"the run run.jsonl is on both sides"):
        mp.diff([run], [run, make_run([], name="x")])
    with pytest.raises(UsageError, match="each side of a comparison needs a run"):
        mp.diff([run], [])
    with pytest.raises(UsageError, match="one of latency"):
        mp.diff(run, make_run([], name="x", command="latency"))
    for wrong in ({"fdr": 0}, {"fdr": 1}, {"fdr": math.nan}, {"least": -1}, {"least": math.nan}):
        with pytest.raises(UsageError, match="invalid fdr"):
            mp.diff(run, make_run([], name="x"), **wrong)
    path = tmp_path / "cut"
    run.save(path)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-2]))
    with pytest.raises(UsageError, match="cut off after 1 row: what it lacks would seem to be gone"):
        mp.diff(make_run([called("a", 5)], name="x"), path)


def test_a_run_that_is_given_twice_is_no_repeat() -> None:
    one, two = make_run([called("a", 5)], name="one"), make_run([called("a", 500)], name="two")
    found = mp.diff([one, one], [two, two])
    assert not found.is_tested
    assert found.notes[0] == "one.jsonl is the same run as one.jsonl: it counts once"


# -- the command -------------------------------------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    for side, factor in (("before", 1), ("after", 4)):
        (tmp_path / side).mkdir()
        for n in range(3):
            rows = [called("same", 10_000 + 37 * n), called("hot\x1b[31m", factor * (5_000 + 20 * n), "nf")]
            rows += [called("lost", 44)] if side == "before" else []
            run = make_run(rows, name=f"{side}{n}", kernel="6.12" if side == "before" else "7.3", seconds=1.0)
            run.save(tmp_path / side / f"{n}.gz")
    return tmp_path


def test_text(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["diff", str(saved / "before"), str(saved / "after")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["CHANGE", "BEFORE", "AFTER", "FACTOR", "FDR", "MEASURE", "FUNCTION"]
    assert lines[1].split()[:4] == ["more", "5,020", "20,080", "4.00"]
    assert lines[1].endswith("calls per second  hot\\x1b[31m [nf]")
    assert "1 of 2 comparisons changed by 10 % or more, at a false discovery rate of 0.1 %" in lines
    assert "attached on one side only: 1 function" in lines
    assert "  lost (before only, 132 calls): not in the kernel (7.3), or not selected" in lines


def test_sides_are_divided_by_two_dashes(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {side: sorted(str(path) for path in (saved / side).iterdir()) for side in ("before", "after")}
    assert command(["diff", *files["before"], "--", *files["after"], "--json"]) == 2, "all after -- are files"
    capsys.readouterr()
    assert command(["diff", "--json", *files["before"], "--", *files["after"]]) == 0
    found = list(map(json.loads, capsys.readouterr().out.splitlines()))
    assert [one["type"] for one in found] == ["change"] * 2 + ["unavailable"] + ["run"] * 6 + ["diff"]
    assert [one["function"] for one in found if one.get("is_claim")] == ["hot\x1b[31m"]
    assert [one["side"] for one in found if one["type"] == "run"] == ["before"] * 3 + ["after"] * 3
    assert {name: found[-1][name] for name in ("before", "after", "claims", "is_tested", "fdr", "least")} == {
        "before": 3, "after": 3, "claims": 1, "is_tested": True, "fdr": 0.001, "least": 0.1,
    }  # fmt: skip


def test_a_page_has_all_comparisons_and_what_could_not_be_compared(
    saved: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = saved / "page.html"
    assert command(["diff", str(saved / "before"), str(saved / "after"), "--html", str(path)]) == 0
    text = path.read_text()
    assert "1 of 2 comparisons changed" in text
    assert all(f">{name}<" in text for name in ("same", "hot\\x1b[31m", "lost"))
    assert "--flame is for runs of stacks" not in capsys.readouterr().err


def flame_of(path: Path) -> dict[str, tuple[str, str]]:
    """The text and the colour of each frame of a flame graph, by name."""
    group = re.compile(r'data-n="([^"]*)"><title>([^<]*)</title><rect [^>]*fill="([^"]*)"')
    return {name: (text, colour) for name, text, colour in group.findall(path.read_text())}


def test_a_differential_flame_graph(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def stack(names: str, calls: int) -> dict[str, Any]:
        return {"type": "stack", "function": "f", "module": "", "frames": list(names), "calls": calls}

    sides = {"before": [stack("xa", 100), stack("xb", 50), stack("xc", 70)]}
    sides["after"] = [stack("xa", 100), stack("xb", 150), stack("xd", 70)]
    for side, rows in sides.items():
        make_run(rows, name=side, command="stacks", seconds=1.0).save(tmp_path / side)
    words = ["diff", str(tmp_path / "before"), str(tmp_path / "after")]
    assert command([*words, "--flame", str(tmp_path / "flame.svg"), "--html", str(tmp_path / "page.html")]) == 0
    assert "object" in (tmp_path / "page.html").read_text()
    frames = flame_of(tmp_path / "flame.svg")
    assert {name: text for name, (text, _) in frames.items()} == {
        "all": "all: 220 before, 320 calls per second after (1.45 times)",
        "x": "x: 220 before, 320 calls per second after (1.45 times)",
        "a": "a: 100 before, 100 calls per second after (1.00 times)",
        "b": "b: 50 before, 150 calls per second after (3.00 times)",
        "c": "c: 70 before, 0 calls per second after",
        "d": "d: 0 before, 70 calls per second after",
    }
    colours = {name: colour for name, (_, colour) in frames.items()}
    assert (colours["c"], colours["d"]) == ("hsl(215,85%,60%)", "hsl(4,85%,60%)")
    assert colours["b"] == "hsl(4,85%,76%)"
    assert colours["a"].endswith("92%)")


def test_what_has_no_stacks_has_no_flame_graph(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["diff", str(saved / "before"), str(saved / "after"), "--flame", str(saved / "flame.svg")]
    assert command(words) == 2
    assert "--flame is for runs of stacks and graph, and these are of count" in capsys.readouterr().err
    assert not (saved / "flame.svg").exists()
    assert command(["diff", "--by", "kernel", str(saved / "before"), "--html", str(saved / "page.html")]) == 2


def test_single_runs_are_shown_by_size(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["diff", str(saved / "before/0.gz"), str(saved / "after/0.gz")]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[1].split()[0] == "more"
    assert "note: only one run before and after" in out
    assert "1 of 2 comparisons differ by 10 % or more; none can be told from chance" in out


def test_no_change(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = sorted(str(path) for path in (saved / "after").iterdir())
    assert command(["diff", files[0], "--", *files[1:]]) == 0
    assert capsys.readouterr().out.startswith("0 of 2 comparisons")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["a"], "two sides"),
        (["a", "b", "c"], "two sides"),
        (["a", "--"], "two sides"),
        (["--", "a"], "two sides"),
        (["a", "b", "--fdr", "0"], "invalid percentage"),
        (["a", "b", "--least", "x"], "invalid percentage"),
    ],
)
def test_usage_errors(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["diff", *words]) == 2
    assert says in capsys.readouterr().err
