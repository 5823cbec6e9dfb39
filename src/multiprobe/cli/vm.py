"""`multiprobe vm`: any command in a throw-away virtual machine."""

from __future__ import annotations

import os
from pathlib import Path

import click

from multiprobe.errors import UsageError
from multiprobe.output.progress import Progress
from multiprobe.vm import kernels, session

_EPILOG = """\
Examples:
  multiprobe vm -- uname -a                         the default kernel
  multiprobe vm --kernel 7.3                        a shell in it
  multiprobe vm --kernel 6.1 --share . -- make      may write to this directory
  multiprobe vm --fetch --kernel 6.1 --kernel 7.3   only fetch kernels
  multiprobe vm --list                              which kernels there are

The guest sees this machine's files; what it writes is forgotten, except in directories given by --share.
Exit status: the command's; 1 when the guest could not be started or was lost."""


class _Examples(click.Command):
    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Keep the line breaks of the examples."""
        formatter.write(f"\n{self.epilog}\n")


@click.command(
    "vm",
    cls=_Examples,
    epilog=_EPILOG,
    options_metavar="[OPTIONS] [--]",
    context_settings={"allow_interspersed_args": False, "help_option_names": ["-h", "--help"]},
)
@click.option("--kernel", "-k", "series", metavar="V", multiple=True, help="The series of Debian kernels: 6.1, 6.12, …")
@click.option("--kernel-image", metavar="FILE", type=click.Path(path_type=Path), help="Boot this kernel instead.")
@click.option("--modules", metavar="DIR", type=click.Path(path_type=Path), help="lib/modules/RELEASE of that kernel.")
@click.option("--cpus", metavar="N", type=click.IntRange(1, 255), default=1, show_default=True, help="CPUs.")
@click.option("--memory", metavar="M", type=click.IntRange(256), help="Memory in MiB  [default: up to 3072].")
@click.option("--share", metavar="DIR", type=click.Path(path_type=Path), multiple=True, help="It may write here.")
@click.option("--timeout", metavar="S", type=click.FloatRange(0, min_open=True), help="Interrupt it after S seconds.")
@click.option("--icount", is_flag=True, help="Its clocks count instructions, one each nanosecond: to measure by.")
@click.option("--fetch", is_flag=True, help="Fetch the kernels that are not there yet, and run nothing.")
@click.option("--refresh", is_flag=True, help="With --fetch: newer versions of those that are there, too.")
@click.option("--list", "is_listing", is_flag=True, help="List the series that Debian has, and those fetched.")
@click.argument("command", metavar="[COMMAND…]", nargs=-1, type=click.UNPROCESSED)
def command(
    series: tuple[str, ...],
    kernel_image: Path | None,
    modules: Path | None,
    cpus: int,
    memory: int | None,
    share: tuple[Path, ...],
    timeout: float | None,
    icount: bool,
    fetch: bool,
    refresh: bool,
    is_listing: bool,
    command: tuple[str, ...],
) -> int:
    """Run COMMAND (a shell without one) in a throw-away virtual machine with a Debian kernel."""
    if is_listing:
        return _list()
    wanted = series or (kernels.DEFAULT_SERIES,)
    with Progress(is_bytes=True) as progress:
        if fetch:
            for kernel in kernels.fetch(wanted, refresh=refresh, on_progress=progress.step):
                click.echo(f"{kernel.series}\t{kernel.version}\t{kernel.image}")
            return 0
        if len(wanted) > 1:
            raise UsageError("one guest has one kernel", hint="give --kernel once, or --fetch to fetch several")
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
            on_progress=lambda what: progress.step(what, is_for_terminal=True),
        )


def _shell() -> tuple[str, ...]:
    return (os.environ.get("SHELL") or "/bin/sh",)


def _list() -> int:
    fetched = {kernel.series: kernel for kernel in kernels.all_cached()}
    with Progress("reading the lists of packages"):
        there = kernels.newest(kernels.available(kernels.open_archive()))
    for series in sorted({*fetched, *there}, key=kernels.series_key):
        newest = there[series].image.version if series in there else "-"
        click.echo(f"{series}\t{newest}\t{f'fetched: {fetched[series].version}' if series in fetched else ''}".rstrip())
    return 0
