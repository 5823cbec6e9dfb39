"""Spells families as text, in the format of Prometheus (0.0.4) or of OpenMetrics (1.0).

Not by prometheus_client, which makes objects of each of the 30,000 numbers of 2,000 histograms: that takes ten times
as long as writing them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from multiprobe.names import printable
from multiprobe.output.metrics import BOUNDS, TimeFamily, cumulative

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from multiprobe.output.metrics import Family, Labels, NumberFamily

PLAIN = "text/plain; version=0.0.4; charset=utf-8"
OPEN = "application/openmetrics-text; version=1.0.0; charset=utf-8"
_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})
_LE = tuple(f'le="{bound}"' for bound, _ in cumulative([0] * (BOUNDS[-1] + 1)))


def content_type_for(accept: str) -> str:
    """The content type to answer a request with this `Accept` header with."""
    return OPEN if OPEN.partition(";")[0] in accept else PLAIN


def metrics_text(families: Iterable[Family], *, content_type: str = PLAIN) -> bytes:
    """The text of all families, as the content type (PLAIN, OPEN) asks for."""
    is_open = content_type == OPEN
    lines = [line for family in families for line in _lines(family, is_open=is_open)]
    return "\n".join([*lines, "# EOF\n" if is_open else ""]).encode()


def _lines(family: Family, *, is_open: bool) -> Iterator[str]:
    if isinstance(family, TimeFamily):
        yield from _head(family.name, family.text, "histogram")
        for labels, (buckets, total) in family.rows.items():
            yield from _histogram(family.name, _pairs(family.labels, labels), cumulative(buckets), total)
        return
    name = f"{family.name}_total" if family.is_counter else family.name
    kind = "counter" if family.is_counter else "gauge"
    yield from _head(family.name if is_open else name, family.text, kind)
    yield from _numbers(name, family)


def _head(name: str, text: str, kind: str) -> Iterator[str]:
    yield f"# HELP {name} {text.translate(_ESCAPES)}"
    yield f"# TYPE {name} {kind}"


def _numbers(name: str, family: NumberFamily) -> Iterator[str]:
    for labels, number in family.rows.items():
        pairs = _pairs(family.labels, labels)
        yield f"{name}{{{pairs}}} {_number(number)}" if pairs else f"{name} {_number(number)}"


def _histogram(name: str, pairs: str, buckets: list[tuple[str, int]], total: int) -> Iterator[str]:
    own = f"{pairs}," if pairs else ""
    begin = f"{name}_bucket{{{own}"
    for le, (_, number) in zip(_LE, buckets, strict=True):
        yield f"{begin}{le}}} {number}"
    around = f"{{{pairs}}}" if pairs else ""
    yield f"{name}_count{around} {buckets[-1][1]}"
    yield f"{name}_sum{around} {total / 1e9}"


def _pairs(names: Labels, values: Labels) -> str:
    """Labels are text in UTF-8; of hostile names they hold what a terminal shows."""
    return ",".join(
        f'{name}="{printable(value).translate(_ESCAPES)}"' for name, value in zip(names, values, strict=True)
    )


def _number(number: float) -> str:
    return str(number) if math.isfinite(number) else str(number).replace("inf", "Inf").replace("nan", "NaN")
