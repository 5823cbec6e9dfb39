"""`multiprobe doctor`: checks which mechanisms this kernel and user allow, and what to change.

The checks are in `kernel.examine`, the conclusions in `kernel.diagnosis`.
"""

from __future__ import annotations

import shutil
import textwrap
from typing import TYPE_CHECKING

import click

from multiprobe.cli.command import SETTINGS, Command
from multiprobe.cli.options import general_options, json_option
from multiprobe.cli.results import Results
from multiprobe.kernel.diagnosis import Finding, diagnose_mechanisms, diagnose_needs
from multiprobe.kernel.examine import examine
from multiprobe.names import printable
from multiprobe.vm.accelerator import describe
from multiprobe.vm.requirements import find_missing, find_obstacle, install

if TYPE_CHECKING:
    from collections.abc import Iterator

    from multiprobe.kernel.examine import State

EXAMPLES = """\
Examples:
  multiprobe doctor                   check this kernel and user
  multiprobe doctor --json | jq -r 'select(.type == "mechanism" and .usable) | .mechanism'
  sudo multiprobe doctor              the same as root
  multiprobe doctor --vm=7.3          the same in a virtual machine with Linux 7.3

Exit status: 0, whatever is found."""
SUMMARIES = {
    "tracing_multi": "many functions by one link, through BPF trampolines",
    "kprobe_multi": "many functions by one link, through ftrace",
    "trampoline": "one function per link (fentry, fexit)",
    "kprobe": "one address per link, anywhere in a function",
}
NOTHING_WORKS = (
    "Nothing can be attached here. `--vm` runs any command of multiprobe in a throw-away virtual machine instead: "
    "multiprobe count 'tcp_*' --vm -- COMMAND"
)
MARKS = {True: ("yes", "green"), False: ("no", "red"), None: ("unknown", "yellow")}


@click.command("doctor", cls=Command, epilog=EXAMPLES, context_settings=SETTINGS)
@json_option
@general_options
def command(json: bool) -> int:
    """Check what this kernel and user allow, and what to change.

    For each mechanism that attaches programs to kernel functions, shows whether it can be used, how this was
    determined, and what to do if it can't. Nothing is attached: programs are loaded for the checks, and unloaded at
    once.
    """
    state = examine()
    mechanisms, needs = diagnose_mechanisms(state), [*diagnose_needs(state), diagnose_vm()]
    if json:
        Results(is_text=False).json(json_objects(state, mechanisms, needs))
    else:
        width = shutil.get_terminal_size().columns
        click.echo("\n".join(text_lines(state, mechanisms, needs, width=width)))
    return 0


def diagnose_vm() -> Finding:
    """The finding for virtual machines (`--vm`)."""
    subject = "virtual machines"
    if obstacle := find_obstacle():
        return Finding(subject, False, *obstacle)
    if missing := find_missing():
        return Finding(subject, False, f"not installed: {'; '.join(one.program for one in missing)}", install(missing))
    return Finding(subject, True, *describe())


def json_objects(state: State, mechanisms: list[Finding], needs: list[Finding]) -> Iterator[dict[str, object]]:
    """The machine, the mechanisms, their requirements, and the features behind them. `usable` is null if unknown."""
    limits = state.limits
    yield {
        "type": "machine",
        "release": state.release,
        "machine": state.machine,
        "uid": limits.uid,
        "capabilities": sorted(limits.capabilities),
        "lockdown": limits.lockdown.level if limits.lockdown else None,
        "container": limits.container or None,
        "settings": limits.sysctls,
    }
    for finding in mechanisms:
        yield _json_finding("mechanism", finding)
    for finding in needs:
        yield _json_finding("need", finding)
    for feature, answer in state.answers.items():
        yield {"type": "feature", "feature": feature, "answer": answer.verdict, "evidence": answer.evidence}


def _json_finding(kind: str, finding: Finding) -> dict[str, object]:
    return {
        "type": kind,
        kind: finding.subject,
        "usable": finding.usable,
        "why": finding.why,
        "advice": finding.advice,
    }


def text_lines(state: State, mechanisms: list[Finding], needs: list[Finding], *, width: int) -> Iterator[str]:
    """The same as text."""
    limits = state.limits
    container = f", in a container ({limits.container})" if limits.container else ""
    rights = ", ".join(sorted(limits.capabilities)) or "no relevant capabilities"
    yield from _wrapped(
        f"Linux {state.release} ({state.machine}), user {limits.uid}{container}, with {rights}.", "", width
    )
    if limits.lockdown:
        yield from _wrapped(f"Kernel lockdown: {limits.lockdown.level}, from {limits.lockdown.source}.", "", width)
    yield ""
    for finding in mechanisms:
        yield from _finding(finding, SUMMARIES[finding.subject], width)
    yield ""
    for finding in needs:
        yield from _finding(finding, "", width)
    if state.has_vm and not any(finding.usable for finding in mechanisms):
        yield ""
        yield from _wrapped(NOTHING_WORKS, "", width)


def _finding(finding: Finding, summary: str, width: int) -> Iterator[str]:
    word, colour = MARKS[finding.usable]
    title = click.style(finding.subject, bold=True) + (f": {summary}" if summary else "")
    yield f"{click.style(f'{word:8}', fg=colour)}{title}"
    yield from _wrapped(finding.why, " " * 8, width)
    if finding.advice:
        yield from _wrapped(f"→ {finding.advice}", " " * 8, width)


def _wrapped(text: str, indent: str, width: int) -> list[str]:
    wrapper = textwrap.TextWrapper(max(width, 40), initial_indent=indent, subsequent_indent=indent)
    wrapper.break_on_hyphens = wrapper.break_long_words = False
    return wrapper.wrap(printable(text))
