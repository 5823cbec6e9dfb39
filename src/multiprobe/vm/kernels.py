"""Debian's kernels by series ("6.12") and flavour ("6.12-rt"): lists them, and fetches them into the user's cache.

Nothing is installed.

The first part selects packages from a list and is pure; the rest runs apt.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from multiprobe.arch import native
from multiprobe.cachedir import read_own
from multiprobe.errors import VmError
from multiprobe.vm import apt, cache
from multiprobe.vm.mirrors import load_mirrors

DEFAULT_SERIES = "6.12"
SUITES = ("bookworm", "bookworm-security", "trixie", "trixie-security", "trixie-backports")
_SECONDS_A_DAY = 86400
FLAVOURS = {"": "cloud-", "-rt": "rt-", "-generic": ""}
"""The ends of a series, and Debian's names. Without any it is the kernel for virtual machines; the last fits all."""
_SERIES = re.compile(r"\d+\.\d+(-generic|-rt)?")

OnProgress = Callable[[str, int, int], None]
"""Called with what is being done, and how many of how many bytes have arrived (0 of 0: no idea)."""


@dataclass(frozen=True, slots=True)
class BootKernel:
    """A kernel that can be booted: its image, and the directory `lib/modules/RELEASE` of its modules if it has any."""

    series: str
    release: str
    version: str
    image: Path
    modules: Path | None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A kernel that the archive has: the package with its image and the others that it needs."""

    release: str
    image: apt.Package
    others: tuple[apt.Package, ...] = ()

    @property
    def series(self) -> str:
        machine = native().guest.debian
        flavour = next(end for end, name in FLAVOURS.items() if self.release.endswith(f"-{name}{machine}"))
        return ".".join(version_key(self.image.version)[:2]) + flavour

    @property
    def has_modules(self) -> bool:
        """Whether the archive has its modules, in the package of the image or in one of their own."""
        return bool(self.others) or not self.image.name.startswith("linux-binary-")

    @property
    def size(self) -> int:
        return sum(package.size for package in (self.image, *self.others))


def _image_pattern() -> re.Pattern[str]:
    """The names of packages with an image of this machine's kernels, of every flavour."""
    ending = native().guest.debian
    return re.compile(rf"linux-(image|binary)-(unsigned-)?(?P<release>\d+\.\d+\.\d+[^ ]*-{ending})(-unsigned)?")


def version_key(version: str) -> list[str]:
    """The runs of digits of a version, of which long ones are cut: a package index may hold anything."""
    return [run[:18] for run in re.findall(r"[0-9]+", version)]


def _order(candidate: Candidate) -> tuple[bool, list[int], bool]:
    """Released before release candidates, then by number, then signed before unsigned."""
    version = candidate.image.version
    return "~rc" not in version, [int(run) for run in version_key(version)], "unsigned" not in candidate.image.name


def candidates(packages: Iterable[apt.Package]) -> list[Candidate]:
    """Every kernel among `packages`, with the module package of the newer layout (linux-binary + linux-modules)."""
    everything = list(packages)
    modules = {(p.name, p.version): p for p in everything if p.name.startswith("linux-modules-")}
    pattern = _image_pattern()
    found = []
    for package in everything:
        match = pattern.fullmatch(package.name)
        if not match:
            continue
        release = match["release"]
        if match[1] == "image":
            if "linux-modules-" in " ".join(package.depends):  # only a name for the newer layout
                continue
            found.append(Candidate(release, package))
        elif other := modules.get((f"linux-modules-{release}", package.version)):
            found.append(Candidate(release, package, (other,)))
    return found


def without_modules(packages: Iterable[apt.Package]) -> list[Candidate]:
    """Kernels whose images the archive has, but not their modules, of series of which it has no others.

    Debian removes the modules of old backports. Such a kernel boots with what is built in.
    """
    everything = list(packages)
    whole = {candidate.series for candidate in candidates(everything)}
    pattern = _image_pattern()
    matches = [(package, match) for package in everything if (match := pattern.fullmatch(package.name))]
    found = [Candidate(match["release"], package) for package, match in matches if match[1] == "binary"]
    return [candidate for candidate in found if candidate.series not in whole]


def _release_of_debian(candidate: Candidate) -> int:
    """Debian's release that a kernel was built for, from its version (deb12, bpo13, …); plain versions come first."""
    match = re.search(r"(?:deb|bpo)([0-9]{1,9})", f"{candidate.release} {candidate.image.version}")
    return int(match[1]) if match else 0


def choose(found: Iterable[Candidate], series: str) -> Candidate:
    """The newest kernel of `series` in the oldest release of Debian that has it; VmError names those there are."""
    everything = list(found)
    fitting = [candidate for candidate in everything if candidate.series == series]
    if not fitting:
        names = ", ".join(sorted({c.series for c in everything}, key=series_key)) or "none at all"
        raise VmError(f"no kernel of series {series!r} in Debian's archive", hint=f"choose one of these: {names}")
    oldest = min(map(_release_of_debian, fitting))
    return max((c for c in fitting if _release_of_debian(c) == oldest), key=_order)


def newest(found: Iterable[Candidate]) -> dict[str, Candidate]:
    """For every series the kernel that `choose` chooses."""
    everything = list(found)
    return {series: choose(everything, series) for series in {candidate.series for candidate in everything}}


def series_key(series: str) -> tuple[list[int], str]:
    """What to sort series by."""
    return [int(run) for run in version_key(series)], series.partition("-")[2]


def cached(series: str) -> BootKernel | None:
    """The kernel of `series` in the user's cache, if it is there and complete."""
    target = cache.directory("kernels") / series
    try:
        fields = json.loads(read_own(str(target / "kernel.json")) or b"")
        modules = fields["modules"] and target / fields["modules"]
        kernel = BootKernel(**{**fields, "image": target / fields["image"], "modules": modules})
    except (ValueError, KeyError, TypeError):
        return None
    return kernel if os.path.isfile(kernel.image) else None


def all_cached() -> list[BootKernel]:
    """Every kernel in the user's cache, by series."""
    names = sorted(
        (path.name for path in cache.directory("kernels").iterdir() if _SERIES.fullmatch(path.name)), key=series_key
    )
    return [kernel for name in names if (kernel := cached(name))]


def of_image(image: Path, modules: Path | None = None) -> BootKernel:
    """A kernel of the user's; without `modules`, everything that the guest needs must be built in."""
    if not os.path.isfile(image):
        raise VmError(f"kernel image {image} can't be booted: not a file", hint="give the path of a bzImage or vmlinuz")
    if not _is_bootable(image):
        raise VmError(
            f"kernel image {image} can't be booted: it lacks the header of a boot image for {native().machine}",
            hint="give a bzImage or vmlinuz, as a kernel package has it in /boot; not a vmlinux with symbols",
        )
    if modules and not (modules / "kernel").is_dir():
        raise VmError(
            f"{modules} contains no kernel modules", hint="give the directory lib/modules/RELEASE of that kernel"
        )
    release = modules.resolve().name if modules else image.name
    return BootKernel("", release, "", image.resolve(), modules.resolve() if modules else None)


def _is_bootable(image: Path) -> bool:
    """Whether the file has the header of a kernel image for this machine."""
    with image.open("rb") as file:
        head = file.read(1024)
    return all(head.startswith(mark, offset) for offset, mark in native().guest.image_marks)


def check_series(series: str) -> str:
    """`series` itself; raises VmError if it is not a series."""
    if not _SERIES.fullmatch(series):
        raise VmError(
            f"invalid kernel series {series!r}",
            hint="give the first two numbers of a version, and a flavour if you like: 6.12, 6.12-generic, 6.12-rt",
        )
    return series


def find(series: str, *, on_progress: OnProgress = lambda *_: None) -> BootKernel:
    """The kernel of `series`: from the cache, or fetched now."""
    kernel = cached(check_series(series)) or fetch([series], on_progress=on_progress)[0]
    if kernel.modules:
        index_modules(kernel.modules)
    return kernel


def fetch(
    series: Sequence[str], *, refresh: bool = False, on_progress: OnProgress = lambda *_: None
) -> list[BootKernel]:
    """Fetch the kernels of `series` that the cache lacks (with `refresh`: newer ones too), side by side."""
    names = list(dict.fromkeys(map(check_series, series)))
    if refresh or not all(map(cached, names)):
        with _only_one():  # what another one has fetched meanwhile is not fetched again
            _fetch_missing([name for name in names if refresh or not cached(name)], refresh, on_progress)
    return [_must(cached(name), name) for name in names]


def _fetch_missing(wanted: Sequence[str], refresh: bool, on_progress: OnProgress) -> None:
    if not wanted:
        return
    on_progress("reading the lists of packages", 0, 0)
    source = open_archive(refresh=refresh)
    packages = kernel_packages(source)
    there = [*candidates(packages), *without_modules(packages)]
    chosen = [choose(there, name) for name in wanted]
    _fetch_all(
        source, [c for c in chosen if not ((old := cached(c.series)) and old.version == c.image.version)], on_progress
    )


@contextlib.contextmanager
def _only_one() -> Iterator[None]:
    """Hold the lock of the cache: apt runs once at a time."""
    with open(cache.directory() / "lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _must(kernel: BootKernel | None, series: str) -> BootKernel:
    if kernel is None:
        raise VmError(
            f"the fetched kernel of series {series} is incomplete", hint="try again; if it happens again, report it"
        )
    return kernel


def open_archive(*, refresh: bool = False) -> apt.Apt:
    """apt with today's lists of packages of all SUITES."""
    source = apt.Apt(cache.directory("apt"))
    source.configure(load_mirrors(), SUITES)
    if refresh or source.age_of_lists() > _SECONDS_A_DAY:
        source.update()
    return source


def available(source: apt.Apt) -> list[Candidate]:
    """Every kernel that the archive has now, with modules or without."""
    packages = kernel_packages(source)
    return [*candidates(packages), *without_modules(packages)]


def kernel_packages(source: apt.Apt) -> list[apt.Package]:
    """The packages of kernels and of their modules that the archive has now."""
    names = [n for prefix in ("linux-image-", "linux-binary-", "linux-modules-") for n in source.names(prefix)]
    return source.show([name for name in names if name.removesuffix("-unsigned").endswith(f"-{native().guest.debian}")])


def _fetch_all(source: apt.Apt, chosen: Sequence[Candidate], on_progress: OnProgress) -> None:
    if not chosen:
        return
    total = sum(candidate.size for candidate in chosen)
    what = "fetching " + ", ".join(f"{c.series} ({c.image.version})" for c in chosen)
    with tempfile.TemporaryDirectory(dir=cache.directory("kernels"), prefix=".new-") as name:
        packages = [package for c in chosen for package in (c.image, *c.others)]
        files = source.download(packages, Path(name), on_progress=lambda n: on_progress(what, min(n, total), total))
        on_progress(what, total, total)
        by_name = dict(zip((package.name for package in packages), files, strict=True))
        on_progress("unpacking " + ", ".join(candidate.series for candidate in chosen), 0, 0)

        def store(candidate: Candidate) -> None:
            _store(candidate, [by_name[package.name] for package in (candidate.image, *candidate.others)], Path(name))

        with ThreadPoolExecutor() as pool:  # xz is what takes the time, in processes of its own
            list(pool.map(store, chosen))


def _store(candidate: Candidate, debs: Sequence[Path], work: Path) -> None:
    """Unpack into a new directory and rename that into the cache."""
    tree = work / f"{candidate.series}.tree"
    tree.mkdir()
    for deb in debs:
        apt.unpack(deb, tree)
    if (tree / "usr/lib/modules").is_dir():
        (tree / "usr/lib/modules").rename(_made(tree / "lib") / "modules")
    modules = tree / "lib/modules" / candidate.release
    image = next(
        (p for p in (modules / "vmlinuz", tree / "boot" / f"vmlinuz-{candidate.release}") if p.is_file()), None
    )
    if image is None:
        raise VmError(
            f"{candidate.image.name} {candidate.image.version} contains no kernel image for {candidate.release}"
        )
    found = modules.relative_to(tree) if (modules / "kernel").is_dir() else None
    if found:
        index_modules(modules)
    fields = BootKernel(candidate.series, candidate.release, candidate.image.version, image.relative_to(tree), found)
    (tree / "kernel.json").write_text(json.dumps(asdict(fields), default=str))
    target = cache.directory("kernels") / candidate.series
    if target.exists():
        target.rename(work / f"{candidate.series}.old")
    tree.rename(target)


def _made(path: Path) -> Path:
    path.mkdir(exist_ok=True)
    return path


def index_modules(modules: Path) -> None:
    """Write the index that modprobe reads in the guest; without depmod only insmod works there.

    It may have been missing when the kernel was fetched, so this looks again each time. busybox has one too, but
    modprobe can't read what that writes.
    """
    tool = shutil.which("depmod", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if tool and not (modules / "modules.dep.bin").exists():
        tree = modules.parents[2]
        subprocess.run([tool, "-b", tree, modules.name], capture_output=True, check=False)
