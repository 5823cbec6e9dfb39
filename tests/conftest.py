"""Which tests the suites of other kernels run: options of the suites in guests (tests/run.py)."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

SINGLES = ("kprobe", "trampoline")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--elsewhere",
        action="append",
        default=[],
        metavar="SERIES",
        help="leave out the tests marked once(SERIES): the suite of that kernel runs them (may be repeated)",
    )
    parser.addoption(
        "--without-singles",
        action="store_true",
        help="leave out the cases of mechanisms that attach one function at a time: suites of other kernels have them",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what another suite runs."""
    others, without = config.getoption("--elsewhere"), SINGLES if config.getoption("--without-singles") else ()
    elsewhere = {item for item in items if is_elsewhere(item, others, without)}
    config.hook.pytest_deselected(items=elsewhere)
    items[:] = [item for item in items if item not in elsewhere]


def is_elsewhere(item: pytest.Item, others: list[str], without: Sequence[str]) -> bool:
    """Whether the suite of another kernel runs this test."""
    mark = item.get_closest_marker("once")
    if mark is not None:
        return mark.args[0] in others
    case = getattr(item, "callspec", None)  # of a test with parameters
    return case is not None and case.params.get("mechanism") in without
