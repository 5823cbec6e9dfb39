"""Choosing a kernel from what the archive has, and the cache of those that were fetched."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from multiprobe.errors import VmError
from multiprobe.vm import kernels
from multiprobe.vm.apt import Package, parse_packages, stanza
from multiprobe.vm.kernels import candidates, choose, newest
from multiprobe.vm.mirrors import AptSource, Mirrors

CLOUD = "cloud-amd64"


def package(name: str, version: str, *depends: str) -> Package:
    return Package(name, version, 1000, depends)


ARCHIVE = [
    package(f"linux-image-6.1.0-9-{CLOUD}", "6.1.27-1"),
    package(f"linux-image-6.1.0-50-{CLOUD}", "6.1.176-1"),
    package(f"linux-image-6.1.0-56-{CLOUD}", "6.1.192-2"),
    package(f"linux-image-6.1.0-56-{CLOUD}-unsigned", "6.1.192-2"),
    package(f"linux-image-6.1.0-56-{CLOUD}-dbg", "6.1.192-2"),
    package(f"linux-image-{CLOUD}", "6.1.192-2"),
    package(f"linux-image-6.12.117+deb12-{CLOUD}", "6.12.117-1~deb12u1"),
    package(f"linux-image-6.12.99+deb12-{CLOUD}", "6.12.99-1~deb12u1"),
    package(f"linux-image-6.12.120+deb13-{CLOUD}", "6.12.120-1"),
    package(f"linux-image-7.3.4+deb13-{CLOUD}", "7.3.4-1~bpo13+1", f"linux-modules-7.3.4+deb13-{CLOUD}"),
    package(f"linux-binary-7.3.4+deb13-{CLOUD}", "7.3.4-1~bpo13+1"),
    package(f"linux-binary-unsigned-7.3.4+deb13-{CLOUD}", "7.3.4-1~bpo13+1"),
    package(f"linux-modules-7.3.4+deb13-{CLOUD}", "7.3.4-1~bpo13+1"),
    package(f"linux-binary-unsigned-7.3.5+deb13-{CLOUD}", "7.3.5-1~bpo13+1"),
    package(f"linux-binary-7.2.1+deb13-{CLOUD}", "7.2.1-1~bpo13+1"),  # its modules are gone
    package("linux-image-6.1.0-56-amd64", "6.1.192-2"),
    package("linux-image-6.1.0-50-rt-amd64", "6.1.176-1"),
    package("linux-binary-7.3.4+deb13-rt-amd64", "7.3.4-1~bpo13+1"),
    package("linux-modules-7.3.4+deb13-rt-amd64", "7.3.4-1~bpo13+1"),
]


@pytest.mark.parametrize(
    ("series", "expected"),
    [
        ("6.1", f"linux-image-6.1.0-56-{CLOUD}"),
        ("6.12", f"linux-image-6.12.117+deb12-{CLOUD}"),  # the oldest Debian that has the series
        ("7.3", f"linux-binary-7.3.4+deb13-{CLOUD}"),  # signed before unsigned
        ("6.1-generic", "linux-image-6.1.0-56-amd64"),
        ("6.1-rt", "linux-image-6.1.0-50-rt-amd64"),
        ("7.3-rt", "linux-binary-7.3.4+deb13-rt-amd64"),
    ],
)
def test_the_newest_of_a_series(series: str, expected: str) -> None:
    assert choose(candidates(ARCHIVE), series).image.name == expected


def test_the_newer_layout_brings_its_modules() -> None:
    chosen = choose(candidates(ARCHIVE), "7.3")
    assert [other.name for other in chosen.others] == [f"linux-modules-7.3.4+deb13-{CLOUD}"]
    assert chosen.release == f"7.3.4+deb13-{CLOUD}"
    assert chosen.size == 2000


def test_a_wrong_series_is_answered_with_those_there_are() -> None:
    with pytest.raises(VmError, match=r"'5\.4'") as caught:
        choose(candidates(ARCHIVE), "5.4")
    assert caught.value.hint == "choose one of these: 6.1, 6.1-generic, 6.1-rt, 6.12, 7.3, 7.3-rt"


def test_a_kernel_whose_modules_are_gone_has_its_image() -> None:
    (only,) = kernels.without_modules(ARCHIVE)
    assert (only.series, only.release, only.others) == ("7.2", f"7.2.1+deb13-{CLOUD}", ())
    everything = [*candidates(ARCHIVE), only]
    assert choose(everything, "7.2") is only
    assert {series: one.has_modules for series, one in kernels.newest(everything).items()} == {
        "6.1": True, "6.1-generic": True, "6.1-rt": True, "6.12": True, "7.2": False, "7.3": True, "7.3-rt": True,
    }  # fmt: skip
    assert choose(everything, "7.3").image.version == "7.3.4-1~bpo13+1", "not the newer one without its modules"
    with pytest.raises(VmError, match="no kernel of series"):
        choose(everything, "5.4")


def test_an_image_without_modules_is_kept(store: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (candidate,) = kernels.without_modules(ARCHIVE)

    def unpack(_deb: Path, tree: Path) -> None:
        (tree / "boot").mkdir()
        (tree / f"boot/vmlinuz-{candidate.release}").write_bytes(b"kernel")

    monkeypatch.setattr(kernels.apt, "unpack", unpack)
    work = tmp_path / "work"
    work.mkdir()
    kernels._store(candidate, [tmp_path / "x.deb"], work)
    kernel = kernels.find("7.2")
    assert (kernel.release, kernel.modules) == (candidate.release, None)
    assert kernel.image.read_bytes() == b"kernel"


@pytest.mark.parametrize("series", ["", "6", "6.12.1", "v6.1", "../6.1", "6.1\n", "6.1-lts", "6.1-"])
def test_what_is_no_series(series: str) -> None:
    with pytest.raises(VmError):
        kernels.check_series(series)


def test_release_candidates_come_after_releases() -> None:
    names = [(f"linux-image-7.4.0-{CLOUD}", "7.4~rc9-1"), (f"linux-image-7.4.1-{CLOUD}", "7.4.1-1")]
    assert newest(candidates([package(*name) for name in names]))["7.4"].image.version == "7.4.1-1"


def test_packages_are_read_from_apt_cache() -> None:
    text = (
        "Package: a\nVersion: 1\nSize: 12\nDepends: b (>= 2), c | d\nDescription: x\n y: z\n\nPackage: e\nVersion: 2\n"
    )
    assert parse_packages(text) == [Package("a", "1", 12, ("b", "c")), Package("e", "2", 0)]


def test_private_sources() -> None:
    mirrors = Mirrors(AptSource("http://a.example/debian", "bookworm", ("main",), "/k.gpg"), None)
    assert stanza(mirrors, "trixie-backports") == (
        "Types: deb\nURIs: http://a.example/debian\nSuites: trixie-backports\nComponents: main\nSigned-By: /k.gpg\n"
    )
    assert stanza(mirrors, "bookworm-security") == ""


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MULTIPROBE_CACHE", str(tmp_path))
    place = tmp_path / "vm/kernels/6.12"
    (place / "boot").mkdir(parents=True)
    (place / "boot/vmlinuz").write_bytes(b"kernel")
    fields = {"series": "6.12", "release": "6.12.1", "version": "6.12.1-1", "image": "boot/vmlinuz", "modules": "lib"}
    (place / "kernel.json").write_text(json.dumps(fields))
    return place


def test_a_fetched_kernel_is_found(store: Path) -> None:
    kernel = kernels.cached("6.12")
    assert kernel is not None
    assert kernel.image == store / "boot/vmlinuz"
    assert kernels.find("6.12") == kernel
    assert kernels.all_cached() == [kernel]


@pytest.mark.parametrize("damage", ["{", "{}", "[]", '{"image": 3}'])
def test_a_damaged_entry_is_none(store: Path, damage: str) -> None:
    (store / "kernel.json").write_text(damage)
    assert kernels.cached("6.12") is None


def test_an_incomplete_entry_is_none(store: Path) -> None:
    (store / "boot/vmlinuz").unlink()
    assert kernels.cached("6.12") is None


def test_a_kernel_of_ones_own(tmp_path: Path) -> None:
    image = tmp_path / "bzImage"
    with pytest.raises(VmError, match="not a file"):
        kernels.of_image(image)
    image.write_bytes(bytes(0x1FE) + b"\x55\xaa\0\0HdrS")
    assert kernels.of_image(image).modules is None
    with pytest.raises(VmError, match="contains no kernel modules"):
        kernels.of_image(image, tmp_path)
    (tmp_path / "9.9/kernel").mkdir(parents=True)
    assert kernels.of_image(image, tmp_path / "9.9").release == "9.9"


@pytest.mark.parametrize("content", [b"", b"\x7fELF" + bytes(4000), bytes(0x1FE) + b"\x55\xaa\0\0Hdr"])
def test_a_file_that_is_no_kernel_is_refused_before_qemu_sees_it(tmp_path: Path, content: bytes) -> None:
    image = tmp_path / "vmlinux"
    image.write_bytes(content)
    with pytest.raises(VmError, match="lacks the header of a boot image for"):
        kernels.of_image(image)


def test_a_cache_that_cannot_be_made_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MULTIPROBE_CACHE", str(tmp_path / "file"))
    with pytest.raises(VmError, match=r"the directory for kernels can't be made: .*ENOTDIR") as caught:
        kernels.all_cached()
    assert "MULTIPROBE_CACHE" in caught.value.hint
