"""apt's sources in both formats, and which of them is Debian's mirror."""

from __future__ import annotations

from pathlib import Path

import pytest

from multiprobe.errors import VmError
from multiprobe.vm.mirrors import AptSource, choose, load_mirrors, parse_list, parse_sources

SOURCES = """\
# a comment
Types: deb deb-src
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian.gpg

Types: deb
URIs: http://mirror.example/debian-security/
Suites: bookworm-security
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc
 -----END PGP PUBLIC KEY BLOCK-----

Types: deb
Enabled: no
URIs: http://off.example/debian
Suites: bookworm
Components: main

Types: deb-src
URIs: http://src.example/debian
Suites: bookworm
Components: main
"""


def test_stanzas() -> None:
    found = parse_sources(SOURCES)
    assert [(source.uri, source.suite) for source in found] == [
        ("http://mirror.example/debian", "bookworm"),
        ("http://mirror.example/debian", "bookworm-updates"),
        ("http://mirror.example/debian-security/", "bookworm-security"),
    ]
    assert found[0].signed_by == "/usr/share/keyrings/debian.gpg"
    assert found[0].components == ("main", "contrib")
    assert found[2].signed_by.splitlines()[1] == " -----BEGIN PGP PUBLIC KEY BLOCK-----"


def test_one_line() -> None:
    text = """\
    # deb http://no.example/debian bookworm main
    deb http://a.example/debian bookworm main contrib # remark
    deb [arch=amd64 signed-by=/k.gpg] http://b.example/debian trixie main
    deb-src http://a.example/debian bookworm main
    """
    assert parse_list(text) == [
        AptSource("http://a.example/debian", "bookworm", ("main", "contrib")),
        AptSource("http://b.example/debian", "trixie", ("main",), "/k.gpg"),
    ]


def test_other_archives_with_suites_of_the_same_name_come_last() -> None:
    mirrors = choose(
        [
            AptSource("https://other.example/packages", "bookworm", ("main",)),
            AptSource("https://docker.example/linux/debian", "bookworm", ("stable",)),
            AptSource("http://a.example/debian", "bookworm-updates", ("main",)),
        ]
    )
    assert mirrors.main.uri == "http://a.example/debian"
    assert mirrors.security is None


def test_a_machine_without_debian_is_told_what_to_do() -> None:
    with pytest.raises(VmError, match="no Debian mirror") as caught:
        choose([AptSource("http://u.example/ubuntu", "noble", ("main",))])
    assert "--kernel-image" in caught.value.hint


def test_reading(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text("deb http://one.example/debian bookworm-security main\n")
    (tmp_path / "sources.list.d/debian.sources").write_text(SOURCES)
    (tmp_path / "sources.list.d/old.list.save").write_text("deb http://no.example/debian bookworm main\n")
    mirrors = load_mirrors(tmp_path)
    assert mirrors.main.uri == "http://mirror.example/debian"
    assert mirrors.security is not None
    assert mirrors.security.uri == "http://mirror.example/debian-security/"


def test_no_sources_at_all(tmp_path: Path) -> None:
    with pytest.raises(VmError):
        load_mirrors(tmp_path)
