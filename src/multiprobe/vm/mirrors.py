"""Reads apt's sources: this machine's Debian mirror, and the keyring that it trusts for it.

(`apt-get indextargets` doesn't name the keyring, and lists nothing where the lists of packages were deleted, as in most
container images.)
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from email import message_from_string
from pathlib import Path

from multiprobe.errors import VmError

RELEASES = ("bookworm", "trixie", "forky", "sid", "bullseye", "stable", "oldstable", "testing", "unstable")
_ONE_LINE = re.compile(r"deb\s+(?:\[(?P<options>[^]]*)\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)\s+(?P<components>[^#]+)")


@dataclass(frozen=True, slots=True)
class AptSource:
    """One archive that apt is told to use; `signed_by` is a keyring's path, a key in ASCII armour, or ""."""

    uri: str
    suite: str
    components: tuple[str, ...]
    signed_by: str = ""

    @property
    def is_debian(self) -> bool:
        """Whether its suite is one of Debian's (others may use the same names: see `choose`)."""
        return re.split(r"[-/]", self.suite)[0] in RELEASES and "main" in self.components

    @property
    def is_security(self) -> bool:
        return self.suite.endswith(("-security", "/updates"))


@dataclass(frozen=True, slots=True)
class Mirrors:
    """The machine's mirror of Debian, and of its security updates where it has one."""

    main: AptSource
    security: AptSource | None


def parse_list(text: str) -> list[AptSource]:
    """The `deb` lines of a one-line `.list` file."""
    found = []
    for line in text.splitlines():
        if match := _ONE_LINE.match(line.strip()):
            options = dict(part.split("=", 1) for part in (match["options"] or "").split() if "=" in part)
            signed_by = options.get("signed-by", "").split(",")[0]
            found.append(AptSource(match["uri"], match["suite"], tuple(match["components"].split()), signed_by))
    return found


def parse_sources(text: str) -> list[AptSource]:
    """The enabled `deb` stanzas of a deb822 `.sources` file, one AptSource for every URI and suite."""
    found = []
    for paragraph in re.split(r"\n\s*\n", re.sub(r"(?m)^#.*\n?", "", text)):
        stanza = message_from_string(paragraph.lstrip("\n"))
        if "deb" not in stanza.get("Types", "").split() or stanza.get("Enabled", "yes").strip().lower() == "no":
            continue
        components = tuple(stanza.get("Components", "").split())
        key = stanza.get("Signed-By", "").strip()
        signed_by = f"\n {key}" if "\n" in key else key  # a key in ASCII armour begins below its field
        found += [
            AptSource(uri, suite, components, signed_by)
            for uri in stanza.get("URIs", "").split()
            for suite in stanza.get("Suites", "").split()
        ]
    return found


def choose(sources: list[AptSource]) -> Mirrors:
    """The mirror to take kernels from; raises VmError when none of the sources is Debian's."""
    debian = [source for source in sources if source.is_debian and not source.uri.startswith("cdrom:")]
    main = _best([source for source in debian if not source.is_security], "debian")
    if main is None:
        raise VmError(
            "cannot fetch a kernel: apt's sources (/etc/apt) name no Debian mirror",
            hint="add a Debian mirror to apt's sources, or bring a kernel: multiprobe vm --kernel-image FILE",
        )
    return Mirrors(main, _best([source for source in debian if source.is_security], "debian-security"))


def _best(sources: list[AptSource], last_word: str) -> AptSource | None:
    """Prefer the one whose path ends as Debian's do: other archives also have a suite of that name."""
    ranked = sorted(sources, key=lambda source: source.uri.rstrip("/").rsplit("/", 1)[-1] != last_word)
    return ranked[0] if ranked else None


def load_mirrors(etc: Path = Path("/etc/apt")) -> Mirrors:
    """Read apt's sources."""
    sources: list[AptSource] = []
    for path in [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*"))]:
        parse = {".list": parse_list, ".sources": parse_sources}.get(path.suffix)
        if parse and path.is_file():
            sources += parse(path.read_text(errors="replace"))
    return choose(sources)
