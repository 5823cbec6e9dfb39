"""Runs a measurement: select functions, fork COMMAND, attach, start it, wait, stop, print, detach.

`Measurement` defines what differs between commands. Steps that take long are announced on standard error.
"""

from __future__ import annotations

import os
import shlex
import sys
from contextlib import nullcontext
from time import monotonic_ns
from typing import TYPE_CHECKING, TypeVar

import multiprobe as mp
from multiprobe.binaries.libraries import split_requests
from multiprobe.binaries.mixed import binary_parts, joined, kernel_of
from multiprobe.cli.files import writing
from multiprobe.cli.params import is_stream
from multiprobe.cli.results import Results
from multiprobe.cli.rights import require_rights
from multiprobe.cli.signals import Until
from multiprobe.cli.slips import advise, on_command
from multiprobe.errors import NoMatchError, NotSupportedError, PatternError
from multiprobe.functions.request import why_no_match
from multiprobe.instruments.known_calls import verify
from multiprobe.instruments.workload import STDERR, STDOUT, Workload
from multiprobe.kernel.tasks import require_process
from multiprobe.links.plan.request import choose_of_binary
from multiprobe.output.progress import Progress
from multiprobe.output.terminal import can_redraw, write_lines
from multiprobe.output.units import time_text
from multiprobe.plurals import plural_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from multiprobe.binaries.mixed import AnyFunctionSet
    from multiprobe.cli.measurement import Measurement
    from multiprobe.cli.options import MeasuringOptions
    from multiprobe.instruments.instrument import Instrument
    from multiprobe.output.metrics_server import MetricsServer
    from multiprobe.output.page import Picture

SampleT = TypeVar("SampleT")
MANY = 1_000
"""So many attached functions make it worth saying how long attaching and detaching took."""
STEPS = (("attach", "attached"), ("detach", "detached"))


def measure(measurement: Measurement[MeasuringOptions, SampleT]) -> int:
    """Run a measurement from beginning to end. Returns the exit status; raises what keeps it from running."""
    try:
        return _measure(measurement)
    except (NoMatchError, PatternError) as error:
        advise(error, measurement.options.patterns)
        raise


def _measure(measurement: Measurement[MeasuringOptions, SampleT]) -> int:
    options = measurement.options
    if options.live:
        from multiprobe.cli.live import check

        check(is_text=options.is_text)
    if options.pid is not None:
        require_process(options.pid)
    if not options.dry_run:
        require_rights()
    functions = _select(options.patterns, unsafe=options.unsafe, kernel_files=options.kernel_files)
    measurement.adapt(functions)
    unknown = {refusal.request: refusal for refusal in functions.unresolved}
    advice = on_command(options.patterns, among=unknown)
    if advice:
        write_lines([f"note: {'; '.join(map(str, unknown.values()))}", f"  hint: {advice}"], sys.stderr)
    if options.pid is not None and not options.dry_run:
        _note_not_mapped(functions, options.pid)
    if measurement.uses_types and not options.dry_run:
        functions = _typed(functions)
    with Results(options.output, is_text=options.is_text) as measurement.results:
        if not options.dry_run:
            return _run(measurement, functions)
        from multiprobe.cli.dry_run import print_plan

        print_plan(measurement, functions)
        return 0


def _typed(functions: AnyFunctionSet) -> AnyFunctionSet:
    """The functions, those of programs with their types; why some have none is said on standard error."""
    if not binary_parts(functions):
        return functions
    from multiprobe.binaries.types import with_types

    with Progress("reading the types of the functions"):
        functions, problems = with_types(functions)
    write_lines([f"note: {problem}" for problem in problems], sys.stderr)
    return functions


def _run(measurement: Measurement[MeasuringOptions, SampleT], functions: AnyFunctionSet) -> int:
    options = measurement.options
    stdout = STDOUT if options.is_text or _has_own_file(options.output) else STDERR
    measurement.workload = Workload(options.command, stdout=stdout) if options.command else None
    try:
        measurement.metrics_server = _open_metrics(options)  # first: the port may be in use, and attaching takes long
        with _attach(measurement, functions) as instrument:
            measurement.instrument = instrument
            measurement.begin()
            began = monotonic_ns()
            _report(measurement, watch(measurement), began)
            _detach(measurement)
    finally:
        if measurement.metrics_server is not None:
            measurement.metrics_server.close()
        if measurement.workload is not None:
            measurement.workload.close()
    return 0


def _open_metrics(options: MeasuringOptions) -> MetricsServer | None:
    """The server of `--metrics`, or None; its address is printed. Raises UsageError."""
    if options.metrics is None:
        return None
    from multiprobe.output.metrics_server import MetricsServer

    server = MetricsServer(options.metrics.host, options.metrics.port)
    write_lines([f"metrics: http://{server.address}/metrics"], sys.stderr)
    return server


def _has_own_file(output: str | None) -> bool:
    """Whether results go to another file than standard output."""
    return output is not None and not is_stream(output, STDOUT)


def _select(patterns: Sequence[str], *, unsafe: bool, kernel_files: str | None) -> AnyFunctionSet:
    """The functions that match, of the kernel (or one known by copies of its files) and of binaries.

    Raises NoMatchError.
    """
    of_binaries, of_kernel = split_requests(patterns)
    sets: list[AnyFunctionSet] = []
    why = ""
    if of_kernel or not of_binaries:
        with Progress("reading the kernel's functions"):
            kernel = mp.Kernel.from_directory(kernel_files) if kernel_files else mp.Kernel()
            sets.append(kernel.functions(*of_kernel, unsafe=unsafe))
        why = why_no_match(kernel.table, of_kernel) if not len(sets[0]) else ""
    for request in of_binaries:
        with Progress(f"reading the functions of {request.binary}"):
            sets.append(choose_of_binary(request, unsafe=unsafe))
    functions = joined(sets)
    if not len(functions) and not functions.unresolved:
        raise NoMatchError(
            f"no function matches {' '.join(patterns)}{why}",
            hint="`multiprobe functions PATTERN…` lists what a pattern matches; quote patterns in a shell",
        )
    return functions


def _note_not_mapped(functions: AnyFunctionSet, pid: int) -> None:
    """Say of which programs and libraries nothing of a process can be measured as it is."""
    from multiprobe.binaries.locating import not_mapped

    files = {part.table.path: part.table.key[1] for _, part in binary_parts(functions)}
    for path in not_mapped(pid, files.items()):
        what = "its children may have, or it may load it later"
        write_lines([f"note: process {pid} has not mapped {path}: {what}"], sys.stderr)


def _attach(measurement: Measurement[MeasuringOptions, SampleT], functions: AnyFunctionSet) -> Instrument[SampleT]:
    workload = measurement.workload
    options = measurement.options.attach_options(None if workload is None else workload.pid)
    n = functions.n_attachable(when=measurement.when)
    with Progress(f"attaching to {plural_text(n, 'function')}") as progress:
        options["progress"] = progress.update
        return measurement.start(functions, options)


def watch(measurement: Measurement[MeasuringOptions, SampleT]) -> SampleT:
    """Start COMMAND and measure until the end: of time, command or process, or Ctrl-C. Returns the last sample."""
    options = measurement.options
    pid_fd = -1
    if options.pid is not None:
        try:
            pid_fd = os.pidfd_open(options.pid)
        except ProcessLookupError:  # it has exited since
            return measurement.instrument.finish()
    fds = [pid_fd] if pid_fd >= 0 else []
    try:
        sample = None
        while sample is None:
            sample = _watch_run(measurement, fds)
        return sample
    finally:
        if pid_fd >= 0:
            os.close(pid_fd)


def _watch_run(measurement: Measurement[MeasuringOptions, SampleT], fds: Sequence[int]) -> SampleT | None:
    """The same for one run of COMMAND. Returns None if it shall run again."""
    workload = measurement.workload
    fds = [*([workload.end_fd] if workload else []), *fds]
    with Until(duration=measurement.options.duration, process_fds=fds) as until:
        if workload is not None:
            workload.release()
        with _serving(measurement) as follow:
            _watch_until(measurement, until, follow)
        runs_again = until.why == "process" and measurement.runs_again()
        return None if runs_again else measurement.instrument.finish()


def _serving(measurement: Measurement[MeasuringOptions, SampleT]) -> AbstractContextManager[Callable[[], None]]:
    """Within the block, `--metrics` is answered. Gives what is to be called with every sample."""
    if measurement.metrics_server is None:
        return nullcontext(lambda: None)
    from multiprobe.cli.following import serving

    return serving(measurement, measurement.metrics_server)


def _watch_until(measurement: Measurement[MeasuringOptions, SampleT], until: Until, follow: Callable[[], None]) -> None:
    """`follow` is called with every sample."""
    options, workload, instrument = measurement.options, measurement.workload, measurement.instrument
    if options.live:
        on_sample = measurement.look if measurement.is_looking else None
        measurement.screen().run(instrument, until, every=lambda: measurement.every, on_sample=on_sample)
        return
    # A command that writes to the same terminal has it to itself.
    has_terminal = can_redraw(sys.stderr) and not (workload and sys.stdout.isatty())
    if options.is_text and measurement.has_table and has_terminal:
        _watch_table(measurement, until, follow)
        return
    while not until.wait(measurement.every):
        with measurement.reading:
            if instrument.poll() or (measurement.is_looking and measurement.look(instrument.sample())):
                return
        follow()


def _watch_table(measurement: Measurement[MeasuringOptions, SampleT], until: Until, follow: Callable[[], None]) -> None:
    """The same, with a table that is redrawn."""
    from multiprobe.output.live import LiveTable

    instrument = measurement.instrument
    before: SampleT | None = None
    with LiveTable(sys.stderr) as live:
        while not until.wait(measurement.every):
            with measurement.reading:
                if instrument.poll():
                    return
                sample = instrument.sample()
            if measurement.is_looking and measurement.look(sample):
                return
            functions = plural_text(instrument.report.attached, "function")
            title = f"{functions}, {instrument.seconds:.0f} s, Ctrl-C ends"
            live.show(title, measurement.table(sample, before, live.rows))
            before = sample
            follow()


def _report(measurement: Measurement[MeasuringOptions, SampleT], sample: SampleT, began: int) -> None:
    """Write the results in every form that is asked for. `began`: when it began to measure, CLOCK_MONOTONIC in ns."""
    options, workload, results = measurement.options, measurement.workload, measurement.results
    ended = monotonic_ns()
    trouble: OSError | None = None
    try:
        measurement.finish(sample)
    except OSError as error:  # of a file; the other results are still printed
        trouble = error
    _note_silence(measurement, sample)
    if options.verify:
        _verify(measurement.instrument, measurement.when)
    report = measurement.instrument.report.to_json() | measurement.figures(sample)
    if workload is not None:
        report["command"] = {"arguments": list(workload.command), "pid": workload.pid, "status": workload.poll()}
    if options.save is not None:  # first: a reader of the output may be gone
        try:
            _save(measurement, sample, report, (began, ended))
        except OSError as error:
            trouble = error
    if options.is_text:
        measurement.print(sample)
        results.report(report, workload)
    if options.folded:
        results.lines(measurement.folded(sample))
    if options.json:
        results.json([*measurement.json(sample), report])
    rows = list(measurement.rows(sample, top=options.top or 0)) if options.is_table else []
    if options.is_table:
        results.rows(rows, csv=options.csv, parquet=options.parquet)
    if options.csv or options.folded:
        results.report(report, workload, file=sys.stderr)
    if options.html is not None:  # last: what is printed does not depend on this file
        _write_page(options.html, rows, report, measurement.pictures(sample))
    if trouble is not None:
        raise trouble


def _save(
    measurement: Measurement[MeasuringOptions, SampleT],
    sample: SampleT,
    report: Mapping[str, object],
    times: tuple[int, int],
) -> None:
    """The file of `--save`. `times`: when it began and ended to measure, CLOCK_MONOTONIC in ns."""
    from multiprobe.runs.this_run import describe_run, save_run

    assert measurement.options.save is not None
    info = describe_run(
        measurement.options.save,
        measurement.options.line,
        settings=measurement.settings(),
        times=times,
        seconds=measurement.instrument.seconds,
    )
    attached = ((function.module, function.name) for function in measurement.instrument.functions)
    save_run(info, report, attached, measurement.saved_rows(sample))


def _write_page(
    path: str, rows: list[Mapping[str, object]], report: Mapping[str, object], pictures: Iterable[Picture]
) -> None:
    """The page of `--html`; its title is the command line."""
    from multiprobe.output.page import page

    title = f"multiprobe {shlex.join(sys.argv[1:])}"
    with writing(path) as file:
        file.write(page(title, rows, report, pictures))


def _note_silence(measurement: Measurement[MeasuringOptions, SampleT], sample: SampleT) -> None:
    """For one function without a call, name those that are called alike: the kernel may call one of them instead."""
    if measurement.figures(sample).get("calls") != 0 or len(measurement.instrument.functions) != 1:
        return
    (function,) = measurement.instrument.functions
    kernel = kernel_of(measurement.instrument.functions)
    if kernel is None:
        return
    alike = [one.name for one in kernel.functions(f"{function.name}?*", f"_*{function.name}*", f"!{function.name}")]
    if alike:
        more = f" and {len(alike) - 5:,} more" if len(alike) > 5 else ""
        measurement.instrument.note(f"no call of {function.name}; called alike: {', '.join(alike[:5])}{more}")


def _verify(instrument: Instrument[SampleT], when: str) -> None:
    """Make known calls by each mechanism in use, and add the results to the report."""
    with Progress("making known calls"):
        for mechanism in instrument.report.mechanisms:
            try:
                instrument.add_verified(verify(mechanism=mechanism, when=when))
            except (NoMatchError, NotSupportedError) as error:
                instrument.note(f"no known calls could be made by {mechanism}: {error}")


def _detach(measurement: Measurement[MeasuringOptions, SampleT]) -> None:
    """Detach; of many functions, say how long it took. Raises IncompleteError for incomplete results, if asked to."""
    options, instrument = measurement.options, measurement.instrument
    with Progress("detaching"):
        instrument.close()
    report = instrument.report
    if options.is_text and report.attached >= MANY:
        took = (f"{did} in {time_text(1e9 * report.timings[step])}" for step, did in STEPS if step in report.timings)
        measurement.results.lines([", ".join(took)])
    if options.strict:
        sys.stdout.flush()
        instrument.report.require_complete()
