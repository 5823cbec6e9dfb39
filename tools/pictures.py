"""Makes the pictures of README and docs from real runs: `make pictures`.

`record DIRECTORY` runs in a guest: it keeps what commands print on a terminal, and the files that they write.
`draw DIRECTORY PICTURES` turns that into SVG files, on the host. Times are those of an emulated processor.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import pty
import select
import shutil
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path

COLUMNS = 100


@dataclass(frozen=True)
class Screen:
    """A picture of a terminal: its name, the command line, and how many lines of the output are shown."""

    name: str
    line: str
    lines: int


COUNT = Screen("count", "count '*' --top 10 -- du -sh /usr/share/doc", 24)
MIXES = (Screen("mix", "inspect --mix 'vfs_re*'", 20), Screen("inspect", "inspect vfs_read", 30))
LIVE = Screen(
    "live", "count 'vfs_*' 'tcp_*' --live -- sh -c 'while :; do ls -lR /usr/share/perl5 >/dev/null; done'", 26
)
LIVE_SECONDS = 30
#: Written by the command itself.
FILES = (
    ("flame.svg", "stacks vfs_read vfs_open vfs_statx --command-only --flame {file} -- ls -lR /usr/share/perl5"),
    ("heat.svg", "latency 'vfs_*' --heatmap {file} -- sh -c 'ls -lR /etc /usr/share/perl5 >/dev/null'"),
)
#: Attached while the mixing picture is taken.
MIXED = (
    "count 'vfs_re*' --mechanism kprobe_multi -d 600",
    "latency vfs_read vfs_readv vfs_readlink --mechanism tracing_multi -d 600",
    "trace vfs_read --mechanism trampoline --filter 'ret < 0' -d 600",
    "count vfs_read vfs_rename --return --mechanism kprobe -d 600",
)
SINGLES, BATCHES = (1, 10, 100), (1, 10, 100, 1_000, 10_000, 100_000)


def main() -> None:
    """Record or draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", choices=("record", "draw"))
    parser.add_argument("directory", type=Path)
    parser.add_argument("pictures", type=Path, nargs="?")
    given = parser.parse_args()
    if given.task == "record":
        record(given.directory)
    else:
        draw(given.directory, given.pictures)


# In the guest


def record(directory: Path) -> None:
    """Everything that this guest's kernel is for."""
    series = ".".join(os.uname().release.split(".")[:2])
    multiprobe("functions 'vfs_*'")  # the table of functions is cached
    if series == "6.12":
        save(directory, COUNT, terminal(COUNT))
        for name, line in FILES:
            multiprobe(line.format(file=directory / name))
        save(directory, LIVE, terminal(LIVE, keys=b"q", after=LIVE_SECONDS))
    if series == "7.3":
        record_mix(directory)
        (directory / "attach.json").write_text(json.dumps(list(attach_times())))


def multiprobe(line: str) -> None:
    """Run a command to its end; what it prints isn't kept."""
    subprocess.run(shell(line), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=True)


def shell(line: str) -> list[str]:
    """A command line of multiprobe, run by the shell and this Python."""
    return ["sh", "-c", f"{sys.executable} -m multiprobe {line}"]


def save(directory: Path, screen: Screen, output: bytes) -> None:
    """What a terminal got, and what of it is shown."""
    (directory / f"{screen.name}.term").write_bytes(json.dumps(asdict(screen)).encode() + b"\n" + output)


def terminal(screen: Screen, *, keys: bytes = b"", after: float = 0) -> bytes:
    """What a command prints on a terminal; with keys, until they are typed."""
    pid, terminal_fd = pty.fork()
    if not pid:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", screen.lines, COLUMNS, 0, 0))
        os.environ.update(TERM="xterm-256color", COLORTERM="truecolor", COLUMNS=str(COLUMNS), LINES=str(screen.lines))
        os.execvp("sh", shell(screen.line))
    found, deadline = b"", time.monotonic() + after
    while True:
        wait = max(0.0, deadline - time.monotonic()) if keys else None
        if not select.select([terminal_fd], [], [], wait)[0]:
            break
        try:
            piece = os.read(terminal_fd, 1 << 16)
        except OSError:  # the command has ended
            break
        found += piece
        if keys and time.monotonic() > deadline:
            break
    if keys:
        os.write(terminal_fd, keys)
        with open(terminal_fd, "rb", buffering=0) as rest:
            drain(rest.fileno())
    os.waitpid(pid, 0)
    return found


def drain(fd: int) -> None:
    """Read until the other side has closed."""
    try:
        while os.read(fd, 1 << 16):
            pass
    except OSError:
        pass


@contextmanager
def attached(lines: tuple[str, ...]) -> Iterator[None]:
    """Commands that measure meanwhile."""
    running = [subprocess.Popen(["sh", "-c", f"exec {shell(line)[2]}"], stdout=subprocess.DEVNULL) for line in lines]
    try:
        yield
    finally:
        for one in running:
            one.terminate()
        for one in running:
            one.wait()


def record_mix(directory: Path) -> None:
    """What is attached to functions that several commands measure at once, and to one of them."""
    with attached(MIXED):
        while n_links() < len(MIXED) + 1:  # a session of single probes has two
            time.sleep(1)
        for one in MIXES:
            save(directory, one, terminal(one))


def n_links() -> int:
    """The number of links that there are."""
    from multiprobe import inspect

    return len(inspect.links())


def attach_times() -> Iterator[dict[str, object]]:
    """Seconds to attach and to detach a counting program, by mechanism and number of functions."""
    import multiprobe as mp
    from multiprobe.instruments.count import count

    for mechanism in ("kprobe", "trampoline", "kprobe_multi", "tracing_multi"):
        functions = mp.Kernel().functions("*").attachable(mp.Mechanism[mechanism.upper()])
        mp.attach(count, functions.take(range(1)), mechanisms=mechanism).detach()  # compiled, and cached
        for wanted in BATCHES if mechanism.endswith("_multi") else SINGLES:
            chosen = functions.take(range(min(wanted, len(functions))))
            began = time.perf_counter()
            attachment = mp.attach(count, chosen, mechanisms=mechanism)
            there = time.perf_counter()
            attachment.detach()
            times = {"attach": there - began, "detach": time.perf_counter() - there}
            yield {"mechanism": mechanism, "functions": len(chosen)} | times


# On the host


def draw(directory: Path, pictures: Path) -> None:
    """All pictures of what was recorded."""
    for recorded in sorted(directory.glob("*.term")):
        head, _, output = recorded.read_bytes().partition(b"\n")
        screen = Screen(**json.loads(head))
        (pictures / f"{screen.name}.svg").write_text(svg(screen, output))
    for name, _ in FILES:
        if (directory / name).exists():
            shutil.copy(directory / name, pictures / name)
    if (directory / "attach.json").exists():
        plot(json.loads((directory / "attach.json").read_text()), pictures / "attach.svg")


def svg(screen: Screen, output: bytes) -> str:
    """A terminal as SVG: the command and its first lines, or the live view's whole screen."""
    import pyte
    from rich.console import Console
    from rich.terminal_theme import MONOKAI
    from rich.text import Text

    is_full = screen.name == LIVE.name
    shown = pyte.Screen(COLUMNS, screen.lines if is_full else 300)
    pyte.ByteStream(shown).feed(output)
    rows = [row(shown, y) for y in range(shown.lines)]
    if not is_full:
        while rows and not rows[-1].plain.strip():
            rows.pop()
        rows = [Text(f"# multiprobe {screen.line}", "bold"), *rows[: screen.lines]]
    console = Console(record=True, width=COLUMNS, file=open(os.devnull, "w"), color_system="truecolor")  # noqa: SIM115
    for one in rows:
        console.print(one, no_wrap=not is_full and len(one) <= COLUMNS, crop=False)
    return console.export_svg(title="multiprobe", theme=MONOKAI, code_format=FORMAT)


def row(shown: object, y: int) -> object:
    """One line of a screen, with its colours."""
    from rich.style import Style
    from rich.text import Text

    text = Text()
    cells = [shown.buffer[y][x] for x in range(shown.columns)]
    for look, run in groupby(cells, lambda cell: (cell.fg, cell.bg, cell.bold, cell.reverse, cell.italics)):
        fg, bg, bold, reverse, italic = look
        style = Style(color=colour(fg), bgcolor=colour(bg), bold=bold, reverse=reverse, italic=italic)
        text.append("".join(cell.data for cell in run), style)
    return text


def colour(name: str) -> str | None:
    """rich's name for one of pyte's colours."""
    if name == "default":
        return None
    if len(name) == 6 and all(letter in "0123456789abcdef" for letter in name):
        return f"#{name}"
    return name.replace("brown", "yellow").replace("bright", "bright_")


def plot(rows: list[dict[str, object]], target: Path) -> None:
    """Time to attach by the number of functions, both logarithmic."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "multiprobe"
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 4.5))
    for mechanism in dict.fromkeys(one["mechanism"] for one in rows):
        mine = [one for one in rows if one["mechanism"] == mechanism]
        line = axes.plot([m["functions"] for m in mine], [m["attach"] for m in mine], marker="o", label=mechanism)[0]
        axes.plot([m["functions"] for m in mine], [m["detach"] for m in mine], ":", color=line.get_color())
    axes.set(xscale="log", yscale="log", xlabel="functions", ylabel="seconds to attach (dotted: to detach)")
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(target, metadata={"Date": None})


#: rich's own has fonts from elsewhere, and cuts the last line's letters below their base line.
FORMAT = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{
 font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; font-size: {char_height}px;
 line-height: {line_height}px; font-variant-east-asian: full-width;
}}
.{unique_id}-title {{ font-family: sans-serif; font-size: 16px; }}
{styles}
</style>
<defs>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""

if __name__ == "__main__":
    main()
