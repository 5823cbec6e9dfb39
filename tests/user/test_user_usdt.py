"""USDT probes: every coming to every site is seen, with its arguments wherever the site keeps them."""

from __future__ import annotations

import platform
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import pytest
from test_user_commands import multiprobe, records

import multiprobe as mp
from compiled import compiled_program
from multiprobe.binaries.instructions import Kind
from multiprobe.instruments.count import calls, count
from multiprobe.links.mechanisms.harm import why_harmful
from places import IS_GUEST

pytestmark = pytest.mark.once("7.3")
Compile = Callable[..., Path]


class Seen(mp.Event):
    function: mp.u32
    n: mp.u32
    a0: mp.i64
    a1: mp.i64
    a2: mp.i64
    a3: mp.i64
    a4: mp.i64
    a5: mp.i64
    a6: mp.i64
    a7: mp.i64
    a8: mp.i64
    a9: mp.i64
    a10: mp.i64
    text: Annotated[str, mp.string(16)]


seen = mp.RingBuffer(Seen)


@mp.program
def note(ctx: mp.Context) -> None:
    seen.send(
        function=ctx.function,
        n=ctx.arg_count,
        a0=ctx.arg(0),
        a1=ctx.arg(1),
        a2=ctx.arg(2),
        a3=ctx.arg(3),
        a4=ctx.arg(4),
        a5=ctx.arg(5),
        a6=ctx.arg(6),
        a7=ctx.arg(7),
        a8=ctx.arg(8),
        a9=ctx.arg(9),
        a10=ctx.arg(10),
        text=mp.user_string(ctx.arg(0)),
    )


@mp.program
def second(ctx: mp.Context) -> None:
    calls[ctx.function] += ctx.arg(1)


@pytest.fixture(params=["-O2"] if IS_GUEST else ["-O2", "-O0"])
def program(built: Path, compiled: Compile, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A program with sites, compiled with and without optimisation: arguments are in other places."""
    return compiled("usdt.c", tmp_path / "usdt", request.param)


@pytest.fixture
def probes(program: Path) -> mp.Binary:
    return mp.Binary(program)


def run(program: Path, what: str, n: int) -> None:
    assert subprocess.run([program, what, str(n)], check=False).returncode == 0


def values(program: Path, name: str, n: int) -> list[tuple[int, ...]]:
    """The arguments at each coming to the sites of a probe, as many as there are."""
    with mp.attach(note, mp.Binary(program).usdt(name)) as attachment:
        run(program, name, n)
        found = attachment.events(seen).take()
        assert attachment.report.attached == 1
    return [tuple(one[2 : 2 + one.n]) for one in found]


@pytest.mark.parametrize("name", ["plain", "chosen", "both", "text", "many", "guarded"])
def test_every_coming_is_counted(program: Path, name: str) -> None:
    with mp.attach(count, mp.Binary(program).usdt(f"shop:{name}")) as attachment:
        run(program, name, 1000)
        assert list(attachment.totals(calls)) == [1000]
    run(program, name, 5)


def test_a_semaphore_is_lowered_again(program: Path) -> None:
    """The program looks at it: without a probe, it does not come to the site."""
    probes = mp.Binary(program).usdt("guarded", "plain")
    for _ in range(2):
        with mp.attach(count, probes) as attachment:
            run(program, "guarded", 7)
            assert dict(zip(map(str, attachment.functions), attachment.totals(calls), strict=True)) == {
                "shop:guarded": 7, "shop:plain": 0,
            }  # fmt: skip
    process = subprocess.Popen([program, "guarded", "300000000"])
    try:
        with mp.attach(count, probes) as attachment:
            while not attachment.totals(calls)[0]:
                assert process.poll() is None
    finally:
        process.kill()
        process.wait()


def test_one_probe_one_row(program: Path) -> None:
    """`both` has two sites, of which each keeps its arguments elsewhere."""
    chosen = mp.Binary(program).usdt("both", "plain")
    assert [len(probe.sites) for probe in chosen] == [2, 1]
    with mp.attach(second, chosen) as attachment:
        run(program, "all", 10)
        assert list(attachment.totals(calls)) == [5 * 7 + 5 * 8, 0]
        assert attachment.report.attached == 2
        assert {len(link.functions) for link in attachment.links} == {1}


def test_arguments_that_the_compiler_places(program: Path) -> None:
    assert values(program, "chosen", 3) == [(n, -n, 200, -5, 3 * n) for n in range(3)]
    assert values(program, "both", 3) == [(0, 8), (1, 7), (2, 8)]
    assert values(program, "many", 2) == [(n, 1, 2, 3, 4, 5, 6, 70) for n in range(2)]
    assert values(program, "plain", 1) == [()]
    assert values(program, "global", 3) == [(-n, 10 * n) for n in range(3)]


@pytest.mark.skipif(platform.machine() != "x86_64", reason="variables are in registers elsewhere")
def test_variables_of_a_stripped_program(program: Path) -> None:
    """Nothing says where they are: only programs that read them don't fit."""
    subprocess.run(["strip", str(program)], check=True)
    chosen = mp.Binary(program).usdt("global")
    with mp.attach(count, chosen) as attachment:
        run(program, "global", 3)
        assert list(attachment.totals(calls)) == [3]
    with pytest.raises(mp.AttachError, match=r"argument 1 of the site, .*prices.*\(%rip\), can't be read"):
        mp.attach(second, chosen)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="these are places of x86-64")
def test_every_place_of_x86_64(program: Path) -> None:
    assert values(program, "forms", 1) == [
        (44, 55, -17, 0xCD, 0xCDEF, -1867788817, 4294967294, -2, 0, 11, -100),
    ]  # fmt: skip


def test_strings(program: Path) -> None:
    with mp.attach(note, mp.Binary(program).usdt("text")) as attachment:
        run(program, "text", 4)
        assert [one.text for one in attachment.events(seen).take()] == ["apple", "pear", "plum", "apple"]


def test_cookies_and_several_probes(program: Path) -> None:
    cookies: mp.Hash = mp.Hash(mp.u64, mp.u64, 16)

    @mp.program
    def by_cookie(ctx: mp.Context) -> None:
        cookies[ctx.cookie] += ctx.arg(0)

    with mp.attach(by_cookie, mp.Binary(program).usdt("many", "both"), cookies=[70, 80]) as attachment:
        run(program, "all", 4)
        assert attachment.map(cookies).as_dict() == {70: 6, 80: 6}


def test_probes_and_functions_of_one_file(program: Path) -> None:
    chosen = mp.Binary(program)
    with mp.attach(count, [chosen.functions("both", "main"), chosen.usdt("both")]) as attachment:
        run(program, "both", 6)
        named = zip(map(str, attachment.functions), attachment.totals(calls), strict=True)
        assert dict(named) == {"both": 6, "main": 1, "shop:both": 6}


def test_probes_are_dropped_and_added_again(program: Path) -> None:
    binary = mp.Binary(program)
    many = binary.usdt("many")
    with mp.attach(second, binary.usdt("both", "many", "text"), replaceable=True) as attachment:
        attachment.drop(many)
        run(program, "all", 2)
        assert list(attachment.totals(calls)) == [15, 0, 0]
        attachment.add(many)
        run(program, "all", 2)
        assert list(attachment.totals(calls)) == [30, 2, 0]


def test_a_site_of_five_bytes_is_not_probed_where_that_does_harm(program: Path) -> None:
    if platform.machine() != "x86_64":
        pytest.skip("this is about x86-64")
    is_harmful = bool(why_harmful(frozenset([Kind.NOP5])))
    with mp.attach(count, mp.Binary(program).usdt("two", "five", "mixed")) as attachment:
        run(program, "all", 10)
        found = dict(zip(map(str, attachment.functions), attachment.totals(calls), strict=True))
        report = attachment.report
    everywhere = {"shop:two": 10, "shop:five": 10, "shop:mixed": 10}
    assert found == ({"shop:two": 10, "shop:mixed": 5} if is_harmful else everywhere)
    assert [(one.request, one.code) for one in report.skipped] == ([("shop:five", "red_zone")] if is_harmful else [])
    assert any("1 of 2 sites of shop:mixed are not attached" in one for one in report.notes) == is_harmful


def test_what_cannot_be_read_is_refused_only_where_it_is_read(built: Path, tmp_path: Path, compiled: Compile) -> None:
    source = tmp_path / "odd.c"
    source.write_text(
        '#include "stapsdt.h"\n'
        'int main(void) { PROBE("odd", "8@%%xmm0 4@$5", "r"(0)); PROBE("even", "4@$4 4@$5", "r"(0)); return 0; }\n'
    )
    program = compiled(str(source), tmp_path / "odd")
    chosen = mp.Binary(program).usdt()
    with mp.attach(second, chosen) as attachment:
        assert subprocess.run([program], check=False).returncode == 0
        assert list(attachment.totals(calls)) == [5, 5]
    with mp.attach(note, chosen) as attachment:
        (failure,) = attachment.report.failed
    assert (failure.function, failure.mechanism) == ("shop:odd", "uprobe_multi")
    assert "argument 0 of the site, %xmm0, can't be read" in failure.reason


def test_returns_are_refused(program: Path) -> None:
    with pytest.raises(mp.NoMatchError, match="it has no return"):
        mp.attach(count, mp.Binary(program).usdt("both"), when="return")


def test_a_library_that_throws(built: Path, tmp_path: Path) -> None:
    """The C++ library, in a copy, has probes of its own."""
    library = Path("/usr/lib") / f"{platform.machine()}-linux-gnu" / "libstdc++.so.6"
    if not library.exists():
        pytest.skip("no library of C++ here")
    copy = Path(shutil.copy(library, tmp_path))
    source = tmp_path / "throws.cpp"
    source.write_text("int main() { int n = 0; while (n < 9) try { throw 1; } catch (int by) { n += by; } return n; }")
    throws = compiled_program(source, tmp_path / "throws")
    chosen = mp.Binary(copy).usdt("throw", "catch")
    if not len(chosen):
        pytest.skip("this libstdc++ has no USDT probes")
    with mp.attach(count, chosen) as attachment:
        ran = subprocess.run([throws], env={"LD_LIBRARY_PATH": str(tmp_path)}, check=False)
        assert ran.returncode == 9
        assert list(attachment.totals(calls)) == [9, 9]


# Commands


def test_count(program: Path) -> None:
    *rows, report = records("count", f"{program}:usdt:shop:*", "!*five", "--", str(program), "both", "20")
    assert [(row["function"], row["calls"]) for row in rows] == [("shop:both", 20)]
    assert not report["skipped"]


def test_trace(program: Path) -> None:
    command = ("--filter", "arg0 == 1", "--", str(program), "chosen", "3")
    shown = multiprobe("trace", f"{program}:usdt:chosen", *command).stdout
    assert "shop:chosen(arg0=0x1, arg1=-1, arg2=200, arg3=-5, arg4=0x3)" in shown
    assert "1 call\n" in shown


def test_stacks_and_coverage(program: Path) -> None:
    *rows, _ = records("stacks", f"{program}:usdt:both", "--", str(program), "both", "4")
    assert {row["frames"][-1] for row in rows} == {"shop:both"}
    assert sum(row["calls"] for row in rows) == 4
    *_, report = records("coverage", f"{program}:usdt:*", "!*five", "--", str(program), "both", "4")
    assert report["covered"] == 1


@pytest.mark.parametrize("command", ["latency", "graph", "errors"])
def test_commands_that_need_returns(program: Path, command: str) -> None:
    ran = multiprobe(command, f"{program}:usdt:both", "--", str(program))
    assert ran.returncode != 0
    assert "it has no return" in ran.stderr or "no uprobe sessions" in ran.stderr


def test_functions(program: Path) -> None:
    rows = records("functions", f"{program}:usdt:b*")
    assert [(row["function"], len(row["sites"])) for row in rows] == [("shop:both", 2)]
    shown = multiprobe("functions", "--why", f"{program}:usdt:guarded").stdout
    assert "semaphore at offset" in shown
    assert "1 link" in multiprobe("count", f"{program}:usdt:both", "--dry-run").stdout


def test_inspect_shows_the_probes_in_a_function(program: Path) -> None:
    binary = mp.Binary(program)
    (picture,) = mp.inspect.user_functions(binary.functions("both"))
    (probe,) = binary.usdt("both")
    start = picture.function.file_offset
    assert picture.usdt == tuple((str(probe), site.file_offset - start) for site in probe.sites)
    assert len(picture.usdt) == 2
    (none,) = mp.inspect.user_functions(binary.functions("main"))
    assert none.usdt == ()
    shown = multiprobe("inspect", f"{program}:both").stdout
    assert f"usdt       {probe} at +{picture.usdt[0][1]:#x}, {probe} at +" in shown
