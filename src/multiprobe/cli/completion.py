"""`multiprobe completion`: prints the script by which a shell completes commands, options and names of functions.

click's scripts run `multiprobe` with the words so far in its environment; `answer` prints what they can become.
"""

from __future__ import annotations

import os

import click
from click.shell_completion import get_completion_class, shell_complete

from multiprobe.cli.command import SETTINGS, Command
from multiprobe.cli.group import COMPLETING
from multiprobe.cli.options import general_options

SHELLS = ("bash", "zsh", "fish")
EXAMPLES = """\
Examples:
  multiprobe completion bash >> ~/.bashrc
  multiprobe completion zsh > ~/.zfunc/_multiprobe         in a directory of zsh's fpath
  multiprobe completion fish > ~/.config/fish/completions/multiprobe.fish"""


def answer(commands: click.Group) -> int:
    """Answer the script of a shell. Returns the exit status."""
    return shell_complete(commands, {}, "multiprobe", COMPLETING, os.environ[COMPLETING])


@click.command("completion", cls=Command, epilog=EXAMPLES, context_settings=SETTINGS)
@click.argument("shell", type=click.Choice(SHELLS))
@general_options
def command(shell: str) -> int:
    """Print the script that makes SHELL complete commands, options and names of functions.

    Function names come from multiprobe's cache; the first completion after a boot fills it.
    """
    made = get_completion_class(shell)
    assert made is not None
    print(made(click.Group(), {}, "multiprobe", COMPLETING).source())
    return 0
