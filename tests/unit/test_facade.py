"""The façade: every public name is there, is what it should be, and costs nothing before it is used."""

from __future__ import annotations

import inspect
import pydoc
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import multiprobe as mp

# fmt: off
PUBLIC = [
    "Array", "ArrayMap", "AttachError", "Attachment", "Binary", "BpfObject", "CheckedCapability", "CompileError",
    "Context", "Coverage", "CoveredFunction", "DataError", "Difference", "Drop", "Enum", "Event", "EventReader",
    "Failure", "Finding", "FirstHit", "Fleet", "FleetHost", "Function", "FunctionSet", "Gap", "Hash", "HashMap",
    "HeldCall", "Histogram", "HistogramMap", "Host", "IncompleteError", "Kernel", "KernelError", "Limits", "Link",
    "LinkState", "LruHash", "Mechanism", "Mechanisms", "Merged", "MixedFunctionSet", "Moment", "MultiprobeError",
    "NoMatchError", "NotPermittedError", "NotSupportedError", "PatternError", "PerFunction", "PerTask", "PerTaskMap",
    "Plan", "Program", "Recording", "Refusal", "Report", "RingBuffer", "RingBufferMap", "Run", "RunInfo", "StackTraces",
    "StackTracesMap", "Struct", "Table", "TracedCall", "UsageError", "UsdtProbe", "UsdtProbeSet", "UsdtSite",
    "UserFunction", "UserFunctionSet", "UserVerdict", "Value", "Verdict", "Verified", "VerifierError", "VmError",
    "VmLostError", "__version__", "address_of", "array_of", "attach", "bool_", "bytes_", "cast", "container_of",
    "coverage", "diff", "enum", "features", "fleet", "helper", "i16", "i32", "i64", "i8", "inspect", "kernel_bytes",
    "kernel_string", "linear", "load_object", "log2", "merge", "per_cpu", "plan", "program", "record", "string",
    "struct", "u16", "u32", "u64", "u8", "union", "user", "user_bytes", "user_string",
]
# fmt: on


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_these_are_the_public_names() -> None:
    assert sorted(mp.__all__) == sorted(PUBLIC)
    assert set(PUBLIC) - {"__version__"} <= set(dir(mp))


@pytest.mark.parametrize("name", PUBLIC)
def test_every_name_is_there(name: str) -> None:
    item = getattr(mp, name)
    assert (name == "inspect") == isinstance(item, type(sys)), "a package stands in the place of a name"
    assert getattr(mp, name) is item


def test_inspect_is_a_room_of_its_own() -> None:
    assert callable(mp.inspect.links)
    assert "inspect" in dir(mp)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        mp.nonsense  # noqa: B018


def test_importing_it_imports_nothing_of_ours() -> None:
    code = "import sys, multiprobe; print(*(name for name in sys.modules if name.startswith('multiprobe')))"
    assert run(code).split() == ["multiprobe"]


def test_the_version_is_the_projects() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert mp.__version__ == project["version"]


@pytest.mark.parametrize("name", PUBLIC)
def test_pydoc_knows_every_name(name: str) -> None:
    item = pydoc.locate(f"multiprobe.{name}")
    assert item is getattr(mp, name)
    assert len(pydoc.render_doc(f"multiprobe.{name}", renderer=pydoc.plaintext).splitlines()) > 2
    if inspect.isclass(item) or inspect.isroutine(item):
        assert item.__doc__, f"{name} has no docstring of its own"
