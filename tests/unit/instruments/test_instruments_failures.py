"""Failures from events: joined, filtered, grouped."""

from __future__ import annotations

import pytest

from multiprobe.instruments.errors.failures import NULL, ErrorFilter, FailedCall, Groups, Joiner, parse_errors, path_of

ENOENT, EAGAIN, ENOSPC = 2, 11, 28


def failure(
    error: int = ENOENT, path: tuple[int | None, ...] = (0, 1), end: int | None = None, end_error: int = 0
) -> FailedCall:
    return FailedCall(1, 7, 7, "cat", error, path, False, (), end, end_error)


def test_a_failure_ends_where_it_is_told_to() -> None:
    joiner = Joiner()
    assert list(joiner.begin(5, failure())) == []
    assert joiner.n_open == 1
    (ended,) = joiner.end(5, 0, EAGAIN)
    assert (ended.first, ended.end, ended.end_error, ended.is_handled) == (1, 0, EAGAIN, False)
    assert list(joiner.end(5, 0, 0)) == []
    assert joiner.n_open == 0


def test_a_failure_of_the_outermost_call_ends_at_once() -> None:
    alone = failure(path=(3,), end=3, end_error=ENOENT)
    assert list(Joiner().begin(5, alone)) == [alone]


def test_ends_that_were_not_seen() -> None:
    joiner = Joiner()
    list(joiner.begin(5, failure()))
    (rest,) = joiner.rest()
    assert rest.end is None
    assert not rest.is_handled
    assert joiner.n_open == 0


def test_groups() -> None:
    groups = Groups(ErrorFilter())
    for _ in range(2):
        groups.add(failure(end=0, end_error=ENOENT))
    groups.add(failure(path=(0, 2), end=0, end_error=ENOENT))
    groups.add(failure(end=0))
    assert [group.count for group in groups.ranked()] == [2, 1, 1]
    assert groups.ranked(top=1)[0].example.path == (0, 1)
    assert (groups.n_groups, groups.n_failures, groups.n_left_out) == (3, 4, 0)


@pytest.mark.parametrize(
    ("options", "first", "last", "is_wanted"),
    [
        ({}, ENOENT, 0, True),
        ({"deny": {"ENOENT"}}, ENOENT, 0, False),
        ({"deny": {"ENOENT"}}, ENOENT, ENOENT, False),
        ({"deny": {"ENOENT"}}, ENOENT, ENOSPC, True),
        ({"allow": {"ENOSPC"}}, ENOENT, ENOSPC, True),
        ({"allow": {"ENOSPC"}}, ENOSPC, ENOENT, True),
        ({"allow": {"ENOSPC"}}, ENOENT, ENOENT, False),
        ({"allow": {"NULL"}}, NULL, 0, True),
        ({"unhandled": True}, ENOENT, 0, False),
        ({"unhandled": True}, ENOENT, ENOENT, True),
    ],
)
def test_what_is_wanted(options: dict[str, object], first: int, last: int, is_wanted: bool) -> None:
    groups = Groups(ErrorFilter(**options))  # type: ignore[arg-type]
    assert groups.add(failure(first, end=0, end_error=last)) == is_wanted
    assert groups.n_left_out == (not is_wanted)


def test_paths() -> None:
    assert path_of([5, 4, 0, 2, 0, 0], depth=3) == ((1, None, 3, 4), False)
    assert path_of([1, 0], depth=0) == ((0,), False)
    assert path_of([3, 2], depth=2) == ((1, 2), True)


def test_names_of_errors() -> None:
    assert parse_errors(["enoent, EAGAIN", "NULL"]) == {"ENOENT", "EAGAIN", "NULL"}
    assert parse_errors(["-1,-22"]) == {"-1", "-22"}
    assert parse_errors(["ERESTARTSYS,EOPNOTSUPP"]) == {"ERESTARTSYS", "EOPNOTSUPP"}
    with pytest.raises(ValueError, match="ENONSENSE"):
        parse_errors(["ENONSENSE"])
