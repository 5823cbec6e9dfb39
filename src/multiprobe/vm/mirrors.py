"""Which Debian mirror this machine uses, and the keyring it trusts for it, from apt's own configuration.

Pure parsers of the two formats of apt's sources (deb822 `.sources`, one-line `.list`) and a thin reader. Knows no
mirror by name, and makes no connection.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from multiprobe.errors import VmError

RELEASES = ("bookworm", "trixie", "forky", "sid", "bullseye", "stable", "oldstable", "testing", "unstable")
_ONE_LINE = re.compile(r"deb\s+(?:\[(?P<options>[^]]*)\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)\s+(?P<components>[^#]+)")


@dataclass(frozen=True, slots=True)
class Source:
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

    main: Source
    security: Source | None


def parse_list(text: str) -> list[Source]:
    """The `deb` lines of a one-line `.list` file."""
    found = []
    for line in text.splitlines():
        if match := _ONE_LINE.match(line.strip()):
            options = dict(part.split("=", 1) for part in (match["options"] or "").split() if "=" in part)
            signed_by = options.get("signed-by", "").split(",")[0]
            found.append(Source(match["uri"], match["suite"], tuple(match["components"].split()), signed_by))
    return found


def parse_sources(text: str) -> list[Source]:
    """The enabled `deb` stanzas of a deb822 `.sources` file, one Source for every URI and suite."""
    found = []
    for stanza in _stanzas(text):
        if "deb" not in stanza.get("types", "").split() or stanza.get("enabled", "yes").strip().lower() == "no":
            continue
        components = tuple(stanza.get("components", "").split())
        signed_by = stanza.get("signed-by", "")
        found += [
            Source(uri, suite, components, signed_by if "\n" in signed_by else signed_by.strip())
            for uri in stanza.get("uris", "").split()
            for suite in stanza.get("suites", "").split()
        ]
    return found


def _stanzas(text: str) -> Iterator[dict[str, str]]:
    stanza: dict[str, str] = {}
    field = ""
    for line in [*text.splitlines(), ""]:
        if line.startswith("#"):
            continue
        if not line.strip():
            if stanza:
                yield stanza
            stanza, field = {}, ""
        elif line[0] in " \t":
            if field:
                stanza[field] += "\n" + line
        elif ":" in line:
            field, _, content = line.partition(":")
            field = field.strip().lower()
            stanza[field] = content.strip()


def choose(sources: list[Source]) -> Mirrors:
    """The mirror to take kernels from; raises VmError when none of the sources is Debian's."""
    debian = [source for source in sources if source.is_debian and not source.uri.startswith("cdrom:")]
    main = _best([source for source in debian if not source.is_security], "debian")
    if main is None:
        raise VmError(
            "no Debian mirror among the sources of apt (/etc/apt), so no kernel can be fetched",
            hint="add a Debian mirror to apt's sources, or bring a kernel: multiprobe vm --kernel-image FILE",
        )
    return Mirrors(main, _best([source for source in debian if source.is_security], "debian-security"))


def _best(sources: list[Source], last_word: str) -> Source | None:
    """Prefer the one whose path ends as Debian's do: other archives also have a suite of that name."""
    ranked = sorted(sources, key=lambda source: source.uri.rstrip("/").rsplit("/", 1)[-1] != last_word)
    return ranked[0] if ranked else None


def load_mirrors(etc: Path = Path("/etc/apt")) -> Mirrors:
    """Read apt's sources."""
    sources: list[Source] = []
    for path in [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*"))]:
        parse = {".list": parse_list, ".sources": parse_sources}.get(path.suffix)
        if parse and path.is_file():
            sources += parse(path.read_text(errors="replace"))
    return choose(sources)
