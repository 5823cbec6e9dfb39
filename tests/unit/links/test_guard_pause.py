"""When a guard looks again."""

from __future__ import annotations

from multiprobe.links.guard.guard import next_pause


def test_it_looks_soon_after_dropping_even_if_that_took_long() -> None:
    assert next_pause(2.0, 0.001, has_changed=True) == 0.25
    assert next_pause(2.0, 3.0, has_changed=True) == 3.0


def test_it_looks_less_often_while_nothing_changes() -> None:
    pauses = [0.25]
    for _ in range(10):
        pauses.append(next_pause(pauses[-1], 0.001, has_changed=False))
    assert pauses == sorted(pauses)
    assert pauses[-1] == 2.0


def test_it_looks_seldom_where_looking_is_slow() -> None:
    assert next_pause(0.25, 0.1, has_changed=False) == 5.0
