from __future__ import annotations

from multiprobe.output.values import spell


def test_structs_and_arrays_on_a_line() -> None:
    assert spell({"name": '"x"', "pos": {"start": 0, "is_last": True}, "list": [1, [2]], "none": {}}) == (
        '{name="x", pos={start=0, is_last=True}, list=[1, [2]], none={}}'
    )
    assert spell(7) == "7"
