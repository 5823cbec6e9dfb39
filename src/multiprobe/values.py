# ruff: noqa: N807  (methods are made here, outside of any class)
"""`@value`: frozen, slotted value classes without importing `dataclasses`.

`dataclasses` pulls in `inspect`, which costs more than everything else between the command and the first attached
function; modules on that path declare their values with this instead. Knows nothing of multiprobe.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar, dataclass_transform

    T = TypeVar("T")
else:

    def dataclass_transform(**_: object):  # the run time needs no types
        return lambda decorator: decorator


@dataclass_transform(frozen_default=True, eq_default=True)
def value(cls: type[T]) -> type[T]:
    """Make `cls` a frozen value: its annotations become slots and constructor parameters, in order.

    A class attribute gives a parameter's default. Values compare and hash by all their fields, and
    `replace(v, field=…)` makes a changed copy. `uncompared_ = ("name", …)` leaves fields out of comparing and hashing.
    Inheritance of fields is not supported.
    """
    fields = tuple(cls.__dict__.get("__annotations__", {}))  # noqa: RUF063  (this may not import inspect)
    compared = tuple(name for name in fields if name not in cls.__dict__.get("uncompared_", ()))
    defaults = {name: cls.__dict__[name] for name in fields if name in cls.__dict__}
    namespace = {
        name: item
        for name, item in cls.__dict__.items()
        if name not in defaults and name not in ("__dict__", "__weakref__")
    }

    def __setattr__(self: Any, name: str, item: object) -> None:
        raise AttributeError(f"{cls.__name__} is frozen: {name!r} can't be set")

    def __repr__(self: Any) -> str:
        return f"{cls.__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in fields)})"

    def __eq__(self: Any, other: object) -> bool:
        if other.__class__ is not self.__class__:
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in compared)

    def __hash__(self: Any) -> int:
        return hash(tuple(getattr(self, name) for name in compared))

    def __reduce__(self: Any) -> Any:
        return self.__class__, tuple(getattr(self, name) for name in fields)

    namespace.update(
        __slots__=fields,
        __init__=_initializer(cls, fields, defaults),
        __setattr__=__setattr__,
        __match_args__=fields,
        __reduce__=__reduce__,
    )
    for method in (__repr__, __eq__, __hash__):
        namespace.setdefault(method.__name__, method)
    if cls.__eq__ is not object.__eq__ and "__eq__" in cls.__dict__:
        namespace["__eq__"] = cls.__dict__["__eq__"]
    made: type[T] = type(cls.__name__, cls.__bases__, namespace)
    made.__qualname__ = cls.__qualname__
    return made


def _initializer(cls: type, fields: tuple[str, ...], defaults: dict[str, Any]) -> Any:
    """The constructor of a value class."""
    has_post_init = hasattr(cls, "__post_init__")

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        if len(args) > len(fields):
            raise TypeError(f"{cls.__name__} takes {len(fields)} values, not {len(args)}")
        if len(args) == len(fields) and not kwargs and not has_post_init:
            for name, item in zip(fields, args, strict=True):
                object.__setattr__(self, name, item)
            return
        given = dict(zip(fields, args, strict=False))
        for name, item in kwargs.items():
            if name in given or name not in fields:
                raise TypeError(f"{cls.__name__} has no field {name!r} left to set")
            given[name] = item
        for name in fields:
            if name in given:
                object.__setattr__(self, name, given[name])
            elif name in defaults:
                object.__setattr__(self, name, defaults[name])
            else:
                raise TypeError(f"{cls.__name__} needs {name!r}")
        if has_post_init:
            self.__post_init__()

    return __init__


def replace(item: T, **changes: Any) -> T:
    """A copy of the value `item` with some fields changed."""
    fields = type(item).__match_args__  # type: ignore[attr-defined]
    return type(item)(**({name: getattr(item, name) for name in fields} | changes))
