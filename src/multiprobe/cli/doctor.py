"""`multiprobe doctor`: checks which mechanisms this kernel and user allow, and what to change.

The checks are in `kernel.examine`, the conclusions in `kernel.diagnosis`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from multiprobe.cli.command import SETTINGS, Command
from multiprobe.cli.options import general_options, json_option, output_option
from multiprobe.cli.results import Results
from multiprobe.kernel.diagnosis import UPROBES, Finding, diagnose_mechanisms, diagnose_needs
from multiprobe.kernel.examine import examine
from multiprobe.vm.accelerator import describe
from multiprobe.vm.requirements import find_missing, find_obstacle, install

if TYPE_CHECKING:
    from collections.abc import Iterator

    from multiprobe.kernel.examine import State
    from multiprobe.output.terminal import Spans

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
    UPROBES: "many functions of a program or library by one link",
}
VIRTUAL_MACHINES = "virtual machines"
NOTHING_WORKS = (
    "Nothing can be attached to the kernel here. `--vm`{once_installed} runs any command of multiprobe in a throw-away "
    "virtual machine instead: multiprobe count 'tcp_*' --vm -- COMMAND"
)
MARKS = {True: ("yes", "green"), False: ("no", "red"), None: ("unknown", "yellow")}


@click.command("doctor", cls=Command, epilog=EXAMPLES, context_settings=SETTINGS)
@json_option
@output_option
@general_options
def command(json: bool, output: str | None) -> int:
    """Check what this kernel and user allow, and what to change.

    For each mechanism that attaches programs to functions, shows whether it can be used, how this was
    determined, and what to do if it can't. Nothing is attached: programs are loaded for the checks, and unloaded at
    once.
    """
    state = examine()
    mechanisms, needs = diagnose_mechanisms(state), [*diagnose_needs(state), diagnose_vm()]
    with Results(output, is_text=not json) as results:
        if json:
            results.json(json_objects(state, mechanisms, needs))
        else:
            results.spans(text_lines(state, mechanisms, needs), hang=8)
    return 0


def diagnose_vm() -> Finding:
    """The finding for virtual machines (`--vm`)."""
    if obstacle := find_obstacle():
        return Finding(VIRTUAL_MACHINES, False, *obstacle)
    if missing := find_missing():
        programs = "; ".join(one.program for one in missing)
        return Finding(VIRTUAL_MACHINES, False, f"not installed: {programs}", install(missing))
    return Finding(VIRTUAL_MACHINES, True, *describe())


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


def text_lines(state: State, mechanisms: list[Finding], needs: list[Finding]) -> Iterator[Spans]:
    """The same as text: lines of (text, style)."""
    limits = state.limits
    container = f", in a container ({limits.container})" if limits.container else ""
    rights = ", ".join(sorted(limits.capabilities)) or "no relevant capabilities"
    yield ((f"Linux {state.release} ({state.machine}), user {limits.uid}{container}, with {rights}.", ""),)
    if limits.lockdown:
        yield ((f"Kernel lockdown: {limits.lockdown.level}, from {limits.lockdown.source}.", ""),)
    yield ()
    for finding in mechanisms:
        yield from _finding(finding, SUMMARIES[finding.subject])
    yield ()
    for finding in needs:
        yield from _finding(finding, "")
    if state.has_vm and not any(finding.usable for finding in mechanisms if finding.subject != UPROBES):
        has_guests = all(finding.usable is not False for finding in needs if finding.subject == VIRTUAL_MACHINES)
        once_installed = "" if has_guests else ", once what it needs is installed,"
        yield ()
        yield ((NOTHING_WORKS.format(once_installed=once_installed), ""),)


def _finding(finding: Finding, summary: str) -> Iterator[Spans]:
    word, colour = MARKS[finding.usable]
    yield ((f"{word:8}", colour), (finding.subject, "bold"), (f": {summary}" if summary else "", ""))
    yield ((f"{'':8}{finding.why}", ""),)
    if finding.advice:
        yield ((f"{'':8}→ {finding.advice}", ""),)
