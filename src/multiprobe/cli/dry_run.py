"""`--dry-run`: prints what an attachment would come to, instead of measuring."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, TypeVar

from multiprobe.links.plan.preview import instruction_rate, preview
from multiprobe.output.terminal import write_lines

if TYPE_CHECKING:
    from multiprobe.binaries.mixed import AnyFunctionSet
    from multiprobe.cli.measurement import Measurement
    from multiprobe.cli.options import MeasuringOptions

SampleT = TypeVar("SampleT")
OF_MEASUREMENTS = ("csv", "folded", "live", "parquet", "html", "save", "flame", "heatmap", "perfetto")
"""Options that `--dry-run` leaves without effect."""


def print_plan(measurement: Measurement[MeasuringOptions, SampleT], functions: AnyFunctionSet) -> None:
    """Print the plan of a measurement of these functions, and which options are left without effect."""
    options = measurement.options
    given = options.attach_options(os.getpid())  # COMMAND is not started; its process would be another
    planned = preview(
        functions,
        options.mechanisms,
        when=measurement.when,
        limits=options.limits,
        program=measurement.program(functions),
        pid=given["pid"],
        own=given["own"],
        children=given["children"],
        is_replaceable=measurement.is_replaceable,
    )
    plan = planned.to_json(rate=instruction_rate())
    if options.json:
        measurement.results.json([plan])
    else:
        measurement.results.report(plan, None, is_plan=True)
    unused = [f"--{name}" for name in OF_MEASUREMENTS if getattr(options, name, None)]
    if unused:
        write_lines([f"note: --dry-run measures nothing, so nothing is done for {', '.join(unused)}"], sys.stderr)
