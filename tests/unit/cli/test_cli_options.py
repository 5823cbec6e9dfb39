"""Every option of every command: parsed, held by the command's dataclass, handed on to `attach`."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

import click
import pytest

import multiprobe as mp
from multiprobe.cli import group, main
from multiprobe.cli.command import n_own, without_vm
from multiprobe.cli.measurement import Measurement
from multiprobe.cli.measuring_command import MeasuringCommand
from multiprobe.cli.options import SECTIONS, MeasuringOptions
from multiprobe.cli.params import ListenAddress
from multiprobe.errors import NotSupportedError, UsageError

MEASURING = ("count", "coverage", "errors", "graph", "latency", "record", "stacks", "trace")

EXAMPLES: dict[str, tuple[str, object]] = {
    "--pid": (str(os.getpid()), os.getpid()),
    "--duration": ("2m", 120.0),
    "--mechanism": ("kprobe-multi", "kprobe_multi"),
    "--without": ("fsession", ("fsession",)),
    "--max-singles": ("0", 0),
    "--budget": ("5%", 0.05),
    "--max-memory": ("100%", 1.0),
    "--watchdog": ("500ms", 0.5),
    "--parquet": ("rows.parquet", "rows.parquet"),
    "--save": ("file", "file"),
    "--html": ("page.html", "page.html"),
    "--output": ("results", "results"),
    "--top": ("7", 7),
    "--allow": ("ENOSPC,eio", (frozenset({"ENOSPC", "EIO"}),)),
    "--deny": ("NULL", (frozenset({"NULL"}),)),
    "--max-events": ("9", 9),
    "--max-stacks": ("9", 9),
    "--perfetto": ("trace", "trace"),
    "--flame": ("flame.svg", "flame.svg"),
    "--heatmap": ("heat.svg", "heat.svg"),
    "--by": ("thread", "thread"),
    "--sort": ("max", "max"),
    "--filter": ("ret < 0", "ret < 0"),
    "--depth": ("3", 3),
    "--kernel-files": ("files", "files"),
    "--metrics": (":9435", ListenAddress("127.0.0.1", 9435)),
    "--runs": ("3", 3),
    "--against": ("run.gz", "run.gz"),
    "--lcov": ("out.info", "out.info"),
    "--vmlinux": ("vmlinux", "vmlinux"),
    "--until": ("ret < 0", "ret < 0"),
    "--last": ("2s", 2.0),
    "--records": ("100", 100),
}
NEEDED = {
    "--command-only": ["--", "true"],
    "--no-children": ["--pid", "7"],
    "--kernel-files": ["--dry-run"],
    "--runs": ["--", "true"],
    "--vmlinux": ["--lcov", "out.info"],
}
"""What an option can't be given without."""


def command(name: str) -> MeasuringCommand:
    found: MeasuringCommand = importlib.import_module(f"multiprobe.cli.{name}").command
    return found


def measurement(*words: str) -> Measurement[Any, Any]:
    context = group.parse(words)
    assert isinstance(context.command, MeasuringCommand)
    return context.command.measurement(context)


def options(*words: str) -> Any:
    return measurement(*words).options


def is_of(value: object, hint: object) -> bool:
    """Whether a value has a type, as far as options need it."""
    arguments = getattr(hint, "__args__", ())
    if "|" in str(hint):
        return any(is_of(value, one) for one in arguments)
    origin = getattr(hint, "__origin__", hint)
    if origin in (tuple, frozenset):
        return isinstance(value, origin) and all(is_of(item, arguments[0]) for item in value)  # type: ignore[attr-defined]
    return type(value) is origin


ALL = [
    pytest.param(name, param, id=f"{name}{param.opts[0]}")
    for name in MEASURING
    for param in command(name).params
    if isinstance(param, click.Option) and param.name not in ("vm", "debug")
]


@pytest.mark.parametrize(("name", "param"), ALL)
def test_every_option_arrives_typed(
    name: str, param: click.Option, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("multiprobe.cli.options.find_spec", lambda _: object())
    flag = param.opts[0]
    text, expected = EXAMPLES.get(flag, ("", True))
    if (name, flag) == ("trace", "--args"):
        text, expected = "a,b.c", ("a", "b.c")
    words = [flag] if expected is True else [flag, text]
    made = options(name, "x", *words, *NEEDED.get(flag, ()))
    assert param.name is not None
    assert getattr(made, param.name) == expected
    default = getattr(options(name, "x"), param.name)
    assert default != expected
    hint = get_type_hints(type(made))[param.name]
    assert is_of(default, hint)
    assert is_of(expected, hint)


@pytest.mark.parametrize("name", MEASURING)
def test_options_and_fields_are_the_same(name: str) -> None:
    held = {field.name for field in fields(command(name).options)}  # type: ignore[arg-type]
    parsed = {str(param.name) for param in command(name).params}
    optional = {"top", "live", "folded", "metrics"}
    assert held - parsed - optional == {"command", "line"}
    assert parsed - held == {"vm", "debug"}
    own = options(name, "x")
    assert own == type(own)(patterns=("x",)), "the defaults of click and of the dataclass differ"


def test_what_attach_gets() -> None:
    given = [
        "--mechanism",
        "kprobe",
        "--without",
        "fsession",
        "--max-singles",
        "5",
        "--unsafe",
        "--budget",
        "5%",
        "--careful",
        "--watchdog",
        "3",
        "--max-memory",
        "0",
    ]
    expected = {
        "mechanisms": mp.Mechanisms(only="kprobe", without=("fsession",), max_singles=5),
        "limits": mp.Limits(budget=0.05, careful=True, watchdog=3.0, max_memory=0.0), "unsafe": True,
        "pid": None, "children": True,
    }  # fmt: skip
    for name in MEASURING:
        made: MeasuringOptions = options(name, "x", *given)
        assert made.attach_options(None) == expected | {"own": name == "count"}
    only = options("trace", "x", "--command-only", "--", "true")
    assert not only.attach_options(7)["own"], "multiprobe may be a child of the process"
    for name in ("count", "trace"):
        assert not options(name, "x", "--pid", "7").attach_options(None)["own"]
        assert options(name, "x", "--pid", "7", "--no-children").attach_options(None)["own"], "asked for by its id"
        assert options(name, "x", "--own").attach_options(None)["own"]
        alone = options(name, "x", "--command-only", "--no-children", "--", "true").attach_options(7)
        assert (alone["pid"], alone["children"]) == (7, False)
    assert only.attach_options(77)["pid"] == 77
    assert options("count", "x", "--", "true").attach_options(77)["pid"] is None


@pytest.mark.parametrize(
    ("text", "seconds"), [("10", 10), ("0.5", 0.5), ("500ms", 0.5), ("2m", 120), ("1h", 3600), ("3s", 3)]
)
def test_durations(text: str, seconds: float) -> None:
    assert options("count", "a", "--duration", text).duration == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        *(
            (["--duration", text], f"invalid duration {text!r}: use 10, 500ms, 2m")
            for text in ("-1", "nan", "inf", "x", "", "1e30", "5 minutes", "s", "ms")
        ),
        *((["--budget", text], f"invalid percentage {text!r}") for text in ("0", "100%", "x%", "nan")),
        *((["--max-memory", text], f"invalid percentage {text!r}") for text in ("101%", "-1", "x%", "nan")),
        *((["--pid", text], f"invalid process id {text!r}: expected one number") for text in ("0", "-1", "x")),
        (["--mechanism", "magic"], "invalid mechanism 'magic': expected one of tracing_multi, kprobe_multi"),
        (["--mechanism", "fsession"], "invalid mechanism 'fsession'"),
        (["--parquet", "/no/such/place"], "cannot write '/no/such/place'"),
        (["--html", "/no/such/place"], "cannot write '/no/such/place'"),
        (["--parquet", "/"], "cannot write '/'"),
    ],
)
def test_invalid_values(words: list[str], message: str) -> None:
    with pytest.raises(click.UsageError) as caught:
        group.parse(["count", "a", *words])
    assert message in caught.value.format_message()


@pytest.mark.parametrize(
    ("name", "words", "message"),
    [
        ("latency", ["--command-only"], "--command-only needs a COMMAND"),
        ("count", ["--command-only", "--pid", "1", "--", "true"], "--command-only and --pid exclude each other"),
        *(
            (name, ["--no-children", "--", "true"], "--no-children needs --pid or --command-only")
            for name in MEASURING
            if name != "coverage"
        ),
        ("count", ["--kernel-files", "."], "--kernel-files needs --dry-run"),
        ("stacks", ["--json", "--csv", "--folded"], "--json and --csv and --folded exclude each other"),
        ("latency", ["--sort", "self"], "--sort self needs --self"),
        ("errors", ["--each", "--live"], "--each and --live exclude each other"),
    ],
)
def test_options_that_exclude_each_other(name: str, words: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        measurement(name, "a", *words)


def test_parquet_without_pyarrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("multiprobe.cli.options.find_spec", lambda _: None)
    with pytest.raises(NotSupportedError, match="needs pyarrow"):
        measurement("count", "a", "--parquet", "rows")


def test_the_command_is_what_follows_the_first_two_dashes() -> None:
    assert options("count", "a", "--", "b", "--", "c").command == ("b", "--", "c")
    assert options("count", "a").command == ()
    assert options("count", "a", "--", "--duration", "x").duration is None


@pytest.mark.parametrize(
    ("words", "series", "patterns"),
    [
        (["x"], None, ("x",)),
        (["x", "--vm"], "", ("x",)),
        (["--vm", "x"], "", ("x",)),
        (["--vm=6.1", "x", "--", "ls"], "6.1", ("x",)),
        (["x", "--", "ls", "--vm"], None, ("x",)),
        (["--vm=", "x", "--", "ls"], "", ("x",)),
        (["--vm", "tcp_v4.part.0"], "", ("tcp_v4.part.0",)),
    ],
)
def test_vm_has_an_optional_value(words: list[str], series: object, patterns: tuple[str, ...]) -> None:
    params = group.parse(["count", *words]).params
    assert (params["vm"], params["patterns"]) == (series, patterns)


def test_a_series_apart_from_vm_is_refused() -> None:
    """`--vm 6.12` would look for functions called 6.12; `--vm tcp_v4` may mean a pattern."""
    with pytest.raises(UsageError, match=r"--vm 6\.12") as caught:
        group.parse(["count", "x", "--vm", "6.12"])
    assert caught.value.hint == "use --vm=6.12"


def test_words_for_the_guest() -> None:
    words = ["x", "--vm", "-d", "1", "--vm=6.1", "--", "ls", "--vm"]
    assert without_vm(words, is_interspersed=True) == ["x", "-d", "1", "--", "ls", "--vm"]
    words = ["--vm", "--debug", "script.py", "--vm"]
    assert n_own(words, is_interspersed=False) == 2
    assert without_vm(words, is_interspersed=False) == ["--debug", "script.py", "--vm"]


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (["doctor", "--vm"], (["doctor"], None)),
        (["count", "x", "--vm=7.3", "--careful", "--", "ls"], (["count", "x", "--careful", "--", "ls"], "7.3")),
    ],
)
def test_a_command_in_a_vm(words: list[str], asked: object, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[object] = []
    compiled: list[tuple[str, bool]] = []

    def rerun(arguments: list[str], series: str | None, prepare: Callable[[], None]) -> int:
        prepare()
        found.append((arguments, series))
        return 5

    monkeypatch.setattr(main, "rerun_in_vm", rerun)
    monkeypatch.setattr(
        "multiprobe.cli.measuring_command.compile_ahead", lambda _, *, when, has_gate: compiled.append((when, has_gate))
    )
    assert main.run(words) == 5
    assert found == [asked]
    assert compiled == ([("entry", True)] if words[0] == "count" else [])


@pytest.mark.parametrize("name", [name for names in group.SECTIONS.values() for name in names])
def test_help_has_every_option_and_examples(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run([name, "--help"]) == 0
    text = capsys.readouterr().out
    found = command(name)
    for param in found.params:
        if isinstance(param, click.Option):
            assert f"{param.opts[0]}" in text
            assert getattr(param, "section", "Options") in SECTIONS
            assert param.help
    assert "\nExamples:\n  multiprobe" in text
