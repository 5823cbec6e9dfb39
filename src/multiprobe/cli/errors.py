"""`multiprobe errors`: which calls fail, who failed first, and along which path.

Knows options, order of events and words; the watching itself is `instruments.errors`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from multiprobe.cli.command import Asked, Command, Question
from multiprobe.cli.forms import print_json
from multiprobe.cli.live import Live
from multiprobe.cli.options import Option
from multiprobe.errors import UsageError
from multiprobe.instruments.errors import instrument as errors
from multiprobe.instruments.errors.failures import error_name, parse_errors
from multiprobe.output.frame import LiveFrame, LiveRow
from multiprobe.output.table import Column, TextTable
from multiprobe.output.units import plural_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from multiprobe.cli.live import Live
    from multiprobe.functions.sets import FunctionSet
    from multiprobe.instruments.errors.failures import Failure, Group, Kind
    from multiprobe.instruments.errors.instrument import Sample, Watching
    from multiprobe.output.table import Column, TextTable

OWN = (
    Option("each", ("--each",), "flag", "Each failure by itself as it happens, with arguments.", default=False),
    Option("allow", ("--allow",), "text", "Only these errors (ENOSPC,EIO; NULL); repeatable.", "NAMES", (), True),
    Option("deny", ("--deny",), "text", "Not these errors (ENOENT,EAGAIN; NULL); repeatable.", "NAMES", (), True),
    Option("unhandled", ("--unhandled",), "flag", "Only failures that no traced function took.", default=False),
)

HELP = """Find the calls that fail, among the functions that a PATTERN matches, and who failed first.

A call fails when it returns a negative errno (int, long), or NULL or an errno in a pointer, as the kernel's types say.
The first to fail is the innermost traced call; its failure goes on as long as its callers return errors too. Equal
failures are counted together: error, first function, path that led there, and where it ended.
"""

EXAMPLES = """\
Examples:
  multiprobe errors 'ext4_*' 'jbd2_*' -d 10            ten seconds of a file system
  multiprobe errors 'vfs_*' 'shmem_*' -- cp big /tmp   why does it fail?
  multiprobe errors 'tcp_*' 'inet_*' --deny EAGAIN     without what is no news
  multiprobe errors 'do_*mount*' --each --unhandled    one by one, with arguments"""

EVERY = 0.2
N_ARGUMENTS = 6
_SHOWN_PATH = 100
_DEEPEST = 20


class ErrorsQuestion(Question):
    """Which calls fail, who failed first, and along which path?"""

    when = "session"
    every = EVERY
    is_looking = True  # so that the ring buffers don't fill up
    measuring: Watching

    def __init__(self, asked: Asked, *, each: bool, allow: Sequence[str], deny: Sequence[str], unhandled: bool) -> None:
        super().__init__(asked)
        if each and asked.live:
            raise UsageError("--each prints failures one by one, --live has the screen: give one of them")
        self.each = each
        self._kept: list[Failure] = []
        self.wanted: dict[str, Any] = {
            "allow": _names("--allow", allow),
            "deny": _names("--deny", deny),
            "unhandled": unhandled,
        }

    def start(self, functions: FunctionSet, **options: Any) -> Watching:
        """Attach."""
        on_failure = self._print_failure if self.each else None
        n_arguments = N_ARGUMENTS if self.each or self.asked.live else 0
        return errors.start(functions, on_failure=on_failure, n_arguments=n_arguments, **self.wanted, **options)

    def show(self) -> Callable[[Sample, Sample | None, int], TextTable] | None:
        """The failures that came most often; nothing where each is printed by itself."""
        return None if self.each else self._table

    def screen(self) -> Live[Sample]:
        """All groups of equal failures; of one, its path and an example with arguments."""
        return _make_screen(self.measuring)

    def figures(self, sample: Sample) -> dict[str, Any]:
        """All failures together."""
        return {
            "failures": sample.n_failures,
            "left_out": sample.n_left_out,
            "untyped": self.measuring.n_untyped,
            "seconds": round(sample.seconds, 6),
        }

    def rows(self, sample: Sample) -> Iterator[dict[str, Any]]:
        """A row for each failure, if each is wanted; else for each group of equal ones."""
        if self.each:
            return (_failure_json(self.measuring, failure) for failure in self._kept)
        return self.json(sample)

    def json(self, sample: Sample) -> Iterator[dict[str, Any]]:
        """The groups of equal failures; each by itself was printed when it came."""
        return (_group_json(self.measuring, group) for group in sample.groups[: self.asked.top or None])

    def print(self, sample: Sample, report: dict[str, Any]) -> None:
        """The largest groups, each with its path, and all failures together."""
        groups = sample.groups[: self.asked.limit()]
        for line in _group_lines(self.measuring, groups):
            print(line)
        if n_more := len(sample.groups) - len(groups):
            print(f"… and {plural_text(n_more, 'group')} more (--top 0 shows all)")
        if groups:
            print()
        left = f", {sample.n_left_out:,} left out" if sample.n_left_out else ""
        kinds = plural_text(len(sample.groups), "kind")
        print(f"{plural_text(sample.n_failures, 'failure')} of {kinds} in {sample.seconds:.2f} s{left}")
        if n := report["untyped"]:
            print(f"without type information, so on paths, but never failing: {plural_text(n, 'function')}")

    def _table(self, sample: Sample, _before: Sample | None, rows: int) -> TextTable:
        return TextTable(_columns(), [_cells(self.measuring, group) for group in sample.groups[:rows]])

    def _print_failure(self, failure: Failure) -> None:
        """Print one, as it is found, and keep it for a table."""
        if self.asked.forms.is_table:
            self._kept.append(failure)
        if self.asked.forms.json:
            print_json([_failure_json(self.measuring, failure)])
        elif self.asked.forms.is_text:
            for line in _failure_lines(self.measuring, failure):
                print(line, flush=True)


def _names(flag: str, words: Sequence[str]) -> frozenset[str]:
    try:
        return parse_errors(words)
    except ValueError as error:
        raise UsageError(f"{flag}: there is no error {error}", hint="names as in ENOENT,EAGAIN; or NULL") from None


def _make_screen(watching: Watching) -> Live[Sample]:
    numbers: dict[Kind, int] = {}
    columns = _columns()

    def row(group: Group) -> LiveRow:
        f = group.example
        number = numbers.setdefault(f.kind, len(numbers))
        count, *texts = _cells(watching, group)
        text = f"{' '.join(texts[:-1])} {_path(watching, f)}"
        return LiveRow(number, (count, *texts), (group.count, *texts), text, f.first)

    def frame(sample: Sample, _before: Sample | None) -> LiveFrame:
        n = sample.n_failures
        title = f"{watching.report.attached:,} functions attached, {plural_text(n, 'failure')}, {sample.seconds:.0f} s"
        rows = [row(group) for group in sample.groups]
        groups = {row.key: group for row, group in zip(rows, sample.groups, strict=True)}
        return LiveFrame(title, columns, rows, lambda key: details(groups.get(key)))

    def details(group: Group | None) -> list[str]:
        if group is None:
            return ["not seen any more"]
        f = group.example
        path = [_name(watching, index) for index in f.path]
        ways = [f"{'  ' * min(depth, _DEEPEST)}{name}" for depth, name in enumerate((["…"] if f.is_cut else []) + path)]
        how_often = f"{group.count:,} times {_error(f)}, {_outcome(watching, f)}"
        example = f"{f.name}[{f.tid}]: {_call(watching, f)}"
        return [_name(watching, f.first), "", how_often, "", *ways, "", "the first one:", example]

    return Live(frame, watching.functions)


def _failure_lines(watching: Watching, failure: Failure) -> Iterator[str]:
    task = f"{failure.name}[{failure.tid}]"
    yield f"{task}: {_error(failure)} from {_call(watching, failure)}, {_outcome(watching, failure)}"
    yield f"    {_path(watching, failure)}"


def _call(watching: Watching, failure: Failure) -> str:
    """The call that failed first, with its arguments."""
    words = ", ".join(f"{name}={item}" for name, item in watching.arguments(failure).items())
    return f"{_name(watching, failure.first)}({words})"


def _group_lines(watching: Watching, groups: Sequence[Group]) -> Iterator[str]:
    width = max((len(f"{group.count:,}") for group in groups), default=0)
    for group in groups:
        f = group.example
        yield f"{group.count:>{width},}  {_error(f)} from {_name(watching, f.first)}, {_outcome(watching, f)}"
        yield f"{'':{width}}  {_path(watching, f)}"


def _error(failure: Failure) -> str:
    return error_name(failure.error)


def _name(watching: Watching, index: int | None) -> str:
    return "?" if index is None else str(watching.functions[index])


def _path(watching: Watching, failure: Failure) -> str:
    names = [_name(watching, index) for index in failure.path]
    return " > ".join(["…", *names] if failure.is_cut else names)


def _outcome(watching: Watching, failure: Failure) -> str:
    if failure.end is None:
        return "its end was not seen"
    if failure.is_handled:
        return f"taken by {_name(watching, failure.end)}"
    return f"returned by {_name(watching, failure.end)} as {error_name(failure.end_error)}"


def _columns() -> tuple[Column, ...]:
    return (
        Column("COUNT", True, 1),
        Column("ERROR"),
        Column("FIRST TO FAIL"),
        Column("OUTCOME", drop=2),
        Column("PATH", drop=3),
    )


def _cells(watching: Watching, group: Group) -> list[str]:
    f = group.example
    path = _path(watching, f)
    short = path if len(path) <= _SHOWN_PATH else f"… {path[-_SHOWN_PATH:]}"
    return [f"{group.count:,}", _error(f), _name(watching, f.first), _outcome(watching, f), short]


def _group_json(watching: Watching, group: Group) -> dict[str, Any]:
    return {"type": "group", "count": group.count, **_common_json(watching, group.example)}


def _failure_json(watching: Watching, failure: Failure) -> dict[str, Any]:
    return {
        "type": "failure",
        "time_ns": failure.time,
        "pid": failure.pid,
        "tid": failure.tid,
        "name": failure.name,
        **_common_json(watching, failure),
        "arguments": watching.arguments(failure),
    }


def _common_json(watching: Watching, failure: Failure) -> dict[str, Any]:
    return {
        "error": _error(failure),
        "first": _name(watching, failure.first),
        "path": [_name(watching, index) for index in failure.path],
        "is_cut": failure.is_cut,
        "outcome": "unknown" if failure.end is None else "handled" if failure.is_handled else "returned",
        "end": None if failure.end is None else _name(watching, failure.end),
        "end_error": error_name(failure.end_error) if failure.end_error else None,
    }


COMMAND = Command("errors", HELP, EXAMPLES, ErrorsQuestion, OWN, ("top", "live"))
