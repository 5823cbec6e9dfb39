"""What the kernel tests take for calls that were missed: the reports as the commands write them."""

from __future__ import annotations

import sys
from pathlib import Path

from multiprobe.names import json_line
from multiprobe.output.report import report_lines

sys.path.append(str(Path(__file__).parents[1] / "kernel"))

import missed


def test_reports_as_json_and_as_text() -> None:
    plain = {"requested": 3, "attached": 3, "links": 1, "skipped": [], "failed": [], "mechanisms": {"kprobe_multi": 3}}
    fields = {**plain, "missed": {"recursion_misses": 1234, "link_misses": 5}}
    missed.forget()
    missed.note(json_line({"type": "report", **fields}))
    assert missed.n_calls == 1234
    missed.note("\n".join(report_lines(fields)).encode())
    assert missed.n_calls > 1234
    missed.forget()
    missed.note(None)
    missed.note("nothing of that sort")
    assert missed.n_calls == 0
