"""`multiprobe vm`: runs any command in a throw-away virtual machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from multiprobe.cli.command import SETTINGS, Command
from multiprobe.cli.options import debug_option
from multiprobe.cli.params import Mebibytes
from multiprobe.errors import UsageError
from multiprobe.output.progress import Progress
from multiprobe.output.table import Column, TextTable, write_table
from multiprobe.output.terminal import write_lines
from multiprobe.vm import kernels, session
from multiprobe.vm.requirements import require_guest

EXAMPLES = """\
Examples:
  multiprobe vm -- uname -a                         the default kernel
  multiprobe vm --kernel 7.3                        a shell in it
  multiprobe vm --kernel 6.1 --share . -- make      may write to this directory
  multiprobe vm --publish 9435 -- multiprobe count vfs_read --metrics 0.0.0.0:9435
  multiprobe vm --fetch --kernel 6.1 --kernel 7.3   only fetch kernels
  multiprobe vm --list                              list the kernels

The guest sees this machine's files, without private keys and the like. What it writes is discarded, except in
directories given by --share.

Exit status: that of the command; 1 if the guest could not be started or was lost."""

_YES_NO = {True: "yes", False: "no"}


@click.command(
    "vm",
    cls=Command,
    epilog=EXAMPLES,
    options_metavar="[OPTIONS] [--]",
    context_settings={**SETTINGS, "allow_interspersed_args": False},
)
@click.option("--kernel", "-k", "series", metavar="V", multiple=True, help="Its series: 6.1, 6.12, 6.12-rt, …")
@click.option("--kernel-image", metavar="FILE", type=click.Path(path_type=Path), help="Boot this kernel instead.")
@click.option("--modules", metavar="DIR", type=click.Path(path_type=Path), help="Its lib/modules/RELEASE.")
@click.option("--cpus", metavar="N", type=click.IntRange(1, 255), default=1, show_default=True, help="Number of CPUs.")
@click.option("--memory", metavar="M", type=Mebibytes(256), help="Memory in MiB.  [default: up to 3072]")
@click.option(
    "--share", metavar="DIR", type=click.Path(path_type=Path), multiple=True, help="Make DIR writable; repeatable."
)
@click.option("--share-secrets", is_flag=True, help="Show it private keys, password hashes and the like too.")
@click.option("--network", is_flag=True, help="Let it connect to where this machine can; 10.0.2.2 is this machine.")
@click.option(
    "--publish",
    metavar="PORT",
    type=click.IntRange(1, 65535),
    multiple=True,
    help="Reach its TCP port PORT as 127.0.0.1:PORT here; repeatable. Implies --network.",
)
@click.option("--append", metavar="WORDS", default="", help="Add WORDS to the kernel's command line.")
@click.option("--timeout", metavar="S", type=click.FloatRange(0, min_open=True), help="Interrupt it after S seconds.")
@click.option("--icount", is_flag=True, help="Let its clocks count instructions, one per nanosecond, for measurements.")
@click.option("--fetch", is_flag=True, help="Fetch kernels that aren't cached; run nothing.")
@click.option("--refresh", is_flag=True, help="With --fetch: also fetch newer versions of cached kernels.")
@click.option("--list", "is_listing", is_flag=True, help="List the series that Debian offers, and the cached ones.")
@debug_option
@click.argument("command", metavar="[COMMAND…]", nargs=-1, type=click.UNPROCESSED)
def command(
    series: tuple[str, ...],
    kernel_image: Path | None,
    modules: Path | None,
    cpus: int,
    memory: int | None,
    share: tuple[Path, ...],
    share_secrets: bool,
    network: bool,
    publish: tuple[int, ...],
    append: str,
    timeout: float | None,
    icount: bool,
    fetch: bool,
    refresh: bool,
    is_listing: bool,
    command: tuple[str, ...],
) -> int:
    """Run COMMAND, or a shell, in a throw-away virtual machine with a Debian kernel."""
    if is_listing:
        return _list()
    wanted = series or (kernels.DEFAULT_SERIES,)
    with Progress(is_bytes=True) as progress:
        if fetch:
            for kernel in kernels.fetch(wanted, refresh=refresh, on_progress=progress.step):
                write_lines([f"{kernel.series}  {kernel.version}  {kernel.image}"], sys.stdout)
            return 0
        if len(wanted) > 1:
            raise UsageError("a guest runs one kernel", hint="give --kernel once, or --fetch to fetch several")
        require_guest()
        return session.run(
            command or _shell(),
            kernel=kernels.of_image(kernel_image, modules)
            if kernel_image
            else kernels.find(wanted[0], on_progress=progress.step),
            cpus=cpus,
            memory_mib=memory,
            shares=share,
            timeout=timeout,
            icount=icount,
            append=append,
            share_secrets=share_secrets,
            network=network,
            publish=publish,
            on_progress=lambda what: progress.step(what, is_for_terminal=True),
        )


def _shell() -> tuple[str, ...]:
    return (os.environ.get("SHELL") or "/bin/sh",)


def _list() -> int:
    fetched = {kernel.series: kernel for kernel in kernels.all_cached()}
    with Progress("reading the lists of packages"):
        there = kernels.newest(kernels.available(kernels.open_archive()))
    rows = []
    for series in sorted({*fetched, *there}, key=kernels.series_key):
        newest = (there[series].image.version, _YES_NO[there[series].has_modules]) if series in there else ("-", "")
        rows.append((series, *newest, fetched[series].version if series in fetched else ""))
    write_table(TextTable(tuple(map(Column, ("SERIES", "NEWEST", "MODULES", "FETCHED"))), rows), sys.stdout)
    return 0
