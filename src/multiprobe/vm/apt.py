"""Fetches Debian packages with apt, without touching the machine's own state.

Its sources and package lists are private, in the user's cache, and use the mirror and keyring that the machine already
has. apt verifies every index and package by the archive's signature. Packages are unpacked, never installed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from multiprobe.arch import native
from multiprobe.errors import VmError
from multiprobe.vm.mirrors import AptSource, Mirrors

_POLL_SECONDS = 0.2

_CONFIGURATION = """\
Dir::Etc::SourceList "/dev/null";
Dir::Etc::SourceParts "{state}/sources.d";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
Dir::State::Lists "{state}/lists";
Dir::Cache "{state}/cache";
#clear APT::Architectures;
APT::Architectures {{ "{architecture}"; }};
APT::Architecture "{architecture}";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Post-Invoke;
Acquire::AllowInsecureRepositories "false";
Acquire::AllowDowngradeToInsecureRepositories "false";
APT::Get::AllowUnauthenticated "false";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";
Acquire::http::Timeout "30";
Acquire::Retries "2";
"""


@dataclass(frozen=True, slots=True)
class Package:
    """One version of a package in the archive; `size` in bytes."""

    name: str
    version: str
    size: int
    depends: tuple[str, ...] = ()


class Apt:
    """apt with a state directory of its own."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self._configuration = state / "apt.conf"

    def configure(self, mirrors: Mirrors, suites: Iterable[str]) -> None:
        """Write the private sources: each suite from the mirror that serves it."""
        if not shutil.which("apt-get"):
            raise VmError(
                "cannot fetch a kernel: apt, which fetches Debian's kernel packages, is not installed",
                hint="bring a kernel: multiprobe vm --kernel-image FILE",
            )
        for name in ("sources.d", "lists/partial", "cache/archives/partial"):
            (self.state / name).mkdir(parents=True, exist_ok=True)
        text = "\n".join(stanza(mirrors, suite) for suite in suites)
        (self.state / "sources.d/debian.sources").write_text(text)
        sandbox = 'APT::Sandbox::User "root";\n' if os.geteuid() == 0 else ""
        settings = _CONFIGURATION.format(state=self.state, architecture=native().guest.debian)
        self._configuration.write_text(settings + sandbox)

    def update(self) -> None:
        """Fetch the lists of packages. A suite that the mirror lacks is an error only if it lacks all."""
        done = self._run(["apt-get", "update"], check=False)
        if not any((self.state / "lists").glob("*Packages*")):
            raise VmError(
                f"fetching the package lists: {_last_error(done.stderr)}",
                hint="check the network and apt's sources (apt-get update), or bring a kernel: --kernel-image FILE",
            )
        (self.state / "updated").touch()

    def age_of_lists(self) -> float:
        """Seconds since the last update; infinite before the first."""
        try:
            return time.time() - (self.state / "updated").stat().st_mtime
        except FileNotFoundError:
            return float("inf")

    def names(self, prefix: str) -> list[str]:
        """The names of all packages that begin with `prefix`."""
        return self._run(["apt-cache", "pkgnames", prefix]).stdout.split()

    def show(self, names: Sequence[str]) -> list[Package]:
        """All versions of the packages `names` that the archive has."""
        return parse_packages(self._run(["apt-cache", "show", *names]).stdout) if names else []

    def download(
        self, packages: Sequence[Package], into: Path, *, on_progress: Callable[[int], None] = lambda _: None
    ) -> list[Path]:
        """Fetch packages side by side, verified by apt; `on_progress` gets the bytes that have arrived so far."""
        running = []
        for package in packages:
            target = into / package.name
            target.mkdir(parents=True, exist_ok=True)
            arguments = ["apt-get", "-q", "download", f"{package.name}={package.version}"]
            running.append((package, target, self._start(arguments, target)))
        try:
            while any(process.poll() is None for _, _, process in running):
                on_progress(sum(_size_of(target) for _, target, _ in running))
                time.sleep(_POLL_SECONDS)
        finally:
            for _, _, process in running:
                process.kill()
        return [_downloaded(package, target, process) for package, target, process in running]

    def _start(self, arguments: Sequence[str], target: Path) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self._command(arguments),
            cwd=target,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def _command(self, arguments: Sequence[str]) -> list[str]:
        return [arguments[0], "-c", str(self._configuration), *arguments[1:]]

    def _run(self, arguments: Sequence[str], *, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self._command(arguments),
            env=_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if check and done.returncode:
            raise VmError(f"{' '.join(arguments[:2])}: {_last_error(done.stderr)}")
        return done


def stanza(mirrors: Mirrors, suite: str) -> str:
    """The deb822 stanza for `suite`, or "" if this machine has no mirror for it."""
    source: AptSource | None = mirrors.security if suite.endswith("-security") else mirrors.main
    if source is None:
        return ""
    lines = ["Types: deb", f"URIs: {source.uri}", f"Suites: {suite}", "Components: main"]
    if source.signed_by:
        lines.append(f"Signed-By: {source.signed_by}")
    return "\n".join(lines) + "\n"


def parse_packages(text: str) -> list[Package]:
    """The packages in the output of `apt-cache show`."""
    found = {}
    for paragraph in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in paragraph.splitlines() if ": " in line and line[0] != " ")
        if "Package" in fields and "Version" in fields:
            depends = tuple(part.split()[0] for part in fields.get("Depends", "").split(",") if part.strip())
            package = Package(fields["Package"], fields["Version"], _number(fields.get("Size", "")), depends)
            found[package.name, package.version] = package
    return list(found.values())


def _number(text: str) -> int:
    """A number of bytes, for the display of progress: 0 if it is none."""
    return int(text) if text.isdecimal() and len(text) < 20 else 0


def unpack(package: Path, into: Path) -> None:
    """Unpack a package's files, running none of its scripts."""
    done = subprocess.run(["dpkg", "-x", package, into], capture_output=True, text=True, check=False)
    if done.returncode:
        raise VmError(f"unpacking {package.name}: {_last_error(done.stderr)}")


def _downloaded(package: Package, target: Path, process: subprocess.Popen[str]) -> Path:
    _, stderr = process.communicate()
    files = list(target.glob("*.deb"))
    if process.returncode or not files:
        raise VmError(
            f"fetching {package.name} {package.version}: {_last_error(stderr)}",
            hint="check the network and apt's sources (apt-get update), or bring a kernel: --kernel-image FILE",
        )
    return files[0]


def _size_of(target: Path) -> int:
    total = 0
    for root, _, files in os.walk(target):
        for name in files:
            try:
                total += os.stat(os.path.join(root, name)).st_size
            except FileNotFoundError:  # renamed when it is complete
                continue
    return total


def _last_error(stderr: str) -> str:
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line.removeprefix("E: ") for line in lines if line.startswith(("E:", "dpkg"))]
    return (errors or lines or ["no reason given"])[0]


def _environment() -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
