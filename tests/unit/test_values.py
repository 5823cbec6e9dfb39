"""Values: frozen, compared by their fields, changed by copies."""

from __future__ import annotations

import pytest

from multiprobe.values import replace, value


@value
class Place:
    name: str
    number: int = 3
    at: int = -1
    uncompared_ = ("at",)


def test_fields_come_in_order_by_name_or_by_default() -> None:
    assert Place("a", 1, 2) == Place(number=1, name="a") == replace(Place("a"), number=1)
    assert (Place("a").number, Place("a").at) == (3, -1)
    for wrong in (lambda: Place(), lambda: Place("a", 1, 2, 3), lambda: Place("a", name="b"), lambda: Place("a", x=1)):
        with pytest.raises(TypeError):
            wrong()
    with pytest.raises(AttributeError):
        Place("a").number = 4  # type: ignore[misc]


def test_fields_can_be_left_out_of_comparing() -> None:
    assert Place("a", at=1) == Place("a", at=2)
    assert hash(Place("a", at=1)) == hash(Place("a", at=2))
    assert Place("a", 1) != Place("a", 2)
