"""What `pydoc` prints of a public name: what it does, its parameters, shapes and units, and the errors it raises."""

from __future__ import annotations

import ast
import functools
import inspect
import re
import textwrap
from typing import TYPE_CHECKING

import pytest

import multiprobe as mp
from multiprobe import errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Item = object

UNIT = re.compile(r"seconds|\bns\b|bytes|%|part of|per cent|a second|bucket")
SHAPE = re.compile(r"shape|array of", re.IGNORECASE)


def public() -> Iterator[tuple[str, Item]]:
    for name in mp.__all__:
        yield name, getattr(mp, name)
    for name in mp.inspect.__all__:
        yield f"inspect.{name}", getattr(mp.inspect, name)


def unwrapped(member: object) -> object:
    if isinstance(member, staticmethod | classmethod):
        return member.__func__
    if isinstance(member, property):
        return member.fget
    if isinstance(member, functools.cached_property):
        return member.func
    return inspect.unwrap(member) if inspect.isfunction(member) else None


def members() -> Iterator[tuple[str, Item, Callable[..., object], str]]:
    """(name, class or the function itself, function, its docstring) of all that can be called or read."""
    for name, item in public():
        if inspect.isfunction(item):
            yield name, item, item, inspect.getdoc(item) or ""
        elif inspect.isclass(item):
            for own in (one for one in item.__mro__ if one.__module__.startswith("multiprobe")):
                for key, member in vars(own).items():
                    function = unwrapped(member)
                    if not key.startswith("_") and inspect.isfunction(function):
                        yield f"{name}.{key}", own, function, inspect.getdoc(getattr(item, key)) or ""


def constructors() -> Iterator[tuple[str, Callable[..., object], str]]:
    """(name, what runs when a class that users call is called, the class's docstring)."""
    for item in (
        mp.Array,
        mp.Binary,
        mp.Hash,
        mp.Histogram,
        mp.Kernel,
        mp.PerFunction,
        mp.Program,
        mp.RingBuffer,
        mp.StackTraces,
    ):
        yield item.__name__, item.__init__, f"{item.__doc__}"
    for item in (mp.Limits, mp.Mechanisms):
        yield item.__name__, item.__post_init__, f"{item.__doc__}"


MEMBERS = {name: (function, doc) for name, _, function, doc in members()}
CONSTRUCTED = {f"{name}.{function.__name__}": (function, doc) for name, function, doc in constructors()}
ALL = MEMBERS | CONSTRUCTED


def raised(function: Callable[..., object]) -> set[str]:
    """The classes of multiprobe's errors that the function's own code raises."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    calls = (node.exc for node in ast.walk(tree) if isinstance(node, ast.Raise))
    names = {call.func.id for call in calls if isinstance(call, ast.Call) and isinstance(call.func, ast.Name)}
    return {name for name in names if isinstance(getattr(errors, name, None), type)}


@pytest.mark.parametrize("name", [name for name, item in public() if callable(item)])
def test_what_can_be_called_has_a_docstring_of_its_own(name: str) -> None:
    item = dict(public())[name]
    assert item.__doc__
    assert item.__doc__ not in (tuple.__doc__, list.__doc__, int.__doc__)
    assert not item.__doc__.startswith(f"{name.rpartition('.')[2]}("), "that is a dataclass's own signature"


@pytest.mark.parametrize("name", MEMBERS)
def test_every_public_method_has_a_docstring(name: str) -> None:
    assert MEMBERS[name][1].strip()


@pytest.mark.parametrize("name", ALL)
def test_the_errors_that_a_function_raises_itself_are_named(name: str) -> None:
    function, doc = ALL[name]
    assert {error for error in raised(function) if error not in doc} == set()


@pytest.mark.parametrize("name", ALL)
def test_several_parameters_are_named(name: str) -> None:
    function, doc = ALL[name]
    given = [one.name for one in inspect.signature(function).parameters.values() if one.name not in ("self", "cls")]
    if len(given) > 1:
        assert {one for one in given if not re.search(rf"\b{one}\b", doc)} == set()


@pytest.mark.parametrize("name", ALL)
def test_numbers_have_units_and_arrays_shapes(name: str) -> None:
    function, doc = ALL[name]
    signature = inspect.signature(function)
    kinds = [str(one.annotation) for one in signature.parameters.values()]
    assert not any("float" in kind for kind in kinds) or UNIT.search(doc), "a float without a unit"
    result = str(signature.return_annotation)
    assert "NDArray" not in result or SHAPE.search(doc), "an array of NumPy's without a shape"
    assert "array[int]" not in result.replace("NDArray", "") or 'array("' in doc, "an array without its type code"


@pytest.mark.parametrize("name", [name for name, item in public() if inspect.isclass(item)])
def test_the_fields_of_values_are_in_the_docstring(name: str) -> None:
    item = dict(public())[name]
    fields = [key for key in getattr(item, "__dataclass_fields__", ()) if not key.startswith("_")]
    said = re.sub(r"\W+", " ", item.__doc__ or "")
    assert {key for key in fields if not re.search(rf"\b{key}\b", said)} == set()
