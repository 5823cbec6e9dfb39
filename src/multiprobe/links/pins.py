"""Pinning an attachment in a BPF file system, so that it outlives its process, and opening it again in another one.

Below the directory are `link0`, `link1`, …, `program0`, …, `map0`, …, `control` (the map that switches programs on and
off), `follower0` (the link of the program that follows children, if any) and `manifest`: a map that holds a JSON
object, since a BPF file system has no ordinary files.
"""

from __future__ import annotations

import json
import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

from multiprobe.binaries.mixed import only_of_kernel
from multiprobe.cachedir import path_of
from multiprobe.errors import DataError, MultiprobeError, UsageError, errno_name
from multiprobe.functions.kernel import Kernel
from multiprobe.kernel.mechanism import Mechanism, parse_mechanism
from multiprobe.links.guard.replaceable import Part, ReplaceableLinks
from multiprobe.links.ledger import Ledger
from multiprobe.links.mechanisms.link import Link
from multiprobe.links.mechanisms.linked import Linked
from multiprobe.maps.cpus import load_n_cpus
from multiprobe.maps.histogram import Histogram, HistogramMap
from multiprobe.maps.layout import CONTROL_SIZE, layout
from multiprobe.maps.maps import ArrayMap, HashMap, SharedArray
from multiprobe.maps.set_spec import MapSetSpec
from multiprobe.maps.specs import Hash
from multiprobe.maps.store import MapSet
from multiprobe.syscalls import bpf

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from multiprobe.binaries.mixed import AnyFunctionSet
    from multiprobe.compiler.program import Program
    from multiprobe.functions.sets import FunctionSet
    from multiprobe.links.objects import ObjectStore
    from multiprobe.maps.opening import Map
    from multiprobe.maps.specs import MapSpec
    from multiprobe.syscalls.fd import FileDescriptor

VERSION = 1


class Manifest(NamedTuple):
    """What `pin` writes about an attachment. links: of each, the mechanism and the indices of its functions."""

    program: str
    addresses: list[int]
    n_programs: int
    links: list[tuple[Mechanism, list[int]]]
    maps: list[str]


class Pinned(NamedTuple):
    """What was opened from a directory of pins."""

    functions: FunctionSet
    links: ReplaceableLinks
    store: MapSet
    ledger: Ledger


def pin(
    directory: str | os.PathLike[str],
    program: Program,
    functions: AnyFunctionSet,
    links: ReplaceableLinks,
    store: MapSet | ObjectStore,
    follower: FileDescriptor | None = None,
) -> None:
    """Pin links, programs and maps in a new directory; on an error nothing stays pinned.

    Raises UsageError for maps that can't be pinned (ring buffers, stacks, values by task) and for a directory that
    can't be made, KernelError when it is in no BPF file system.
    """
    path = path_of(directory)
    if not isinstance(store, MapSet) or links.has_gate:
        raise UsageError(f"{program!r} can't be pinned", hint="attach it without budget=, careful= and replaceable=")
    maps = {name: _pinnable(name, store.map(spec)) for name, spec in program.maps.items()}
    parts, of_kernel = links.parts, only_of_kernel(functions, "pinning")
    with ExitStack() as undo:
        _make_directory(path)
        undo.callback(unpin, path)
        _pin_all(path, "link", [link.fd for part in parts for link in part.linked.links])
        _pin_all(path, "program", [one for part in parts for one in part.linked.open_programs()])
        _pin_all(path, "map", maps.values())
        bpf.obj_pin(store.control.fd, os.path.join(path, "control"))
        _pin_all(path, "follower", [follower] if follower else [])
        _pin_manifest(path, _manifest(program, of_kernel, links, list(maps)))
        undo.pop_all()


def _make_directory(path: str) -> None:
    try:
        os.mkdir(path, 0o700)
    except OSError as error:
        raise UsageError(
            f"creating the directory {path}: {errno_name(error.errno or 0)}",
            hint="give a new directory in a BPF file system, as /sys/fs/bpf/NAME",
        ) from error


def _pinnable(name: str, one: Map) -> FileDescriptor:
    if not isinstance(one, ArrayMap | HashMap):
        raise UsageError(f"map {name!r} can't be pinned", hint="arrays, hash tables and histograms can")
    return one.fd


def _pin_all(directory: str, kind: str, descriptors: Iterable[FileDescriptor]) -> None:
    for number, fd in enumerate(descriptors):
        bpf.obj_pin(fd, os.path.join(directory, f"{kind}{number}"))


def _manifest(
    program: Program, functions: FunctionSet, links: ReplaceableLinks, maps: Sequence[str]
) -> dict[str, object]:
    every = [link for part in links.parts for link in part.linked.links]
    offsets = functions.offsets or [0] * len(functions)
    return {
        "version": VERSION,
        "program": program.name,
        "addresses": [address + offset for address, offset in zip(functions.addresses(), offsets, strict=True)],
        "n_programs": sum(len(part.linked.open_programs()) for part in links.parts),
        "links": [{"mechanism": link.mechanism.label, "functions": list(link.functions)} for link in every],
        "maps": list(maps),
    }


def _pin_manifest(directory: str, manifest: dict[str, object]) -> None:
    data = json.dumps(manifest).encode()
    store = SharedArray(-(-len(data) // 8) * 8, name="manifest")
    try:
        store.memory[: len(data)] = data
        bpf.obj_pin(store.fd, os.path.join(directory, "manifest"))
    finally:
        store.close()


def unpin(directory: str | os.PathLike[str]) -> None:
    """Remove the pins and their directory: what no process holds is detached by that."""
    path = path_of(directory)
    try:
        for name in sorted(os.listdir(path)):
            os.unlink(os.path.join(path, name))
        os.rmdir(path)
    except OSError as error:
        raise UsageError(f"cannot remove the pins in {path}: {error.strerror}") from error


class PinnedMaps(MapSet):
    """The maps of an attachment, opened from their pins."""

    def __init__(self, directory: str, specs: dict[str, MapSpec], names: Sequence[str], n_functions: int) -> None:
        super().__init__(MapSetSpec((), n_functions, n_cpus=1), control=_open_control(directory))
        try:
            for number, name in enumerate(names):
                if name in specs:
                    self._maps[specs[name]] = _open_map(directory, number, specs[name], n_functions)
        except BaseException:
            self.close()
            raise


def _open_control(directory: str) -> SharedArray:
    return SharedArray(CONTROL_SIZE, name="control", fd=bpf.obj_get(os.path.join(directory, "control"), "map control"))


def _open_map(directory: str, number: int, spec: MapSpec, n_functions: int) -> Map:
    made = layout(spec, n_functions, load_n_cpus())
    fd = bpf.obj_get(os.path.join(directory, f"map{number}"), f"map {number}")
    try:
        found = bpf.map_info(fd)
        if (found.key_size, found.value_size) != (made.key_size, made.value_size):
            raise UsageError(f"{spec!r} is not the map that is pinned", hint="use the program that was attached")
        if isinstance(spec, Hash):
            return HashMap(spec, made, name="pinned", fd=fd)
        kind = HistogramMap if isinstance(spec, Histogram) else ArrayMap
        return kind(spec, made, name="pinned", fd=fd)  # type: ignore[arg-type]
    except BaseException:
        fd.close()
        raise


def open_pins(directory: str | os.PathLike[str], program: Program, kernel: Kernel | None) -> Pinned:
    """Open what `pin` pinned. Raises DataError for another directory, UsageError for another program."""
    path = path_of(directory)
    manifest = _load_manifest(path)
    if manifest.program != program.name:
        raise UsageError(f"{path} holds program {manifest.program!r}, not {program.name!r}")
    functions = (kernel or Kernel()).by_addresses(manifest.addresses, unsafe=True)
    if len(functions) != len(manifest.addresses):
        raise DataError(f"functions pinned in {path} are no longer there: a module was unloaded")
    links = ReplaceableLinks(None, 0)
    ledger = Ledger(len(functions))
    with ExitStack() as undo:
        undo.callback(links.close)
        for linked in _open_links(path, manifest):
            links.adopt(Part(linked, None))
            ledger.attach(linked.mechanism, len({index for link in linked.links for index in link.functions}))
        store = PinnedMaps(path, program.maps, manifest.maps, len(functions))
        undo.pop_all()
    return Pinned(functions, links, store, ledger)


def _load_manifest(path: str) -> Manifest:
    try:
        fd = bpf.obj_get(os.path.join(path, "manifest"), "map manifest")
    except MultiprobeError as error:
        raise DataError(f"{path} holds no pinned attachment: {error}") from error
    with fd:
        size = bpf.map_info(fd).value_size
        data = bpf.map_lookup(fd, bytes(4), size) or b""
    return parse_manifest(data.rstrip(b"\0"), path)


def parse_manifest(data: bytes, path: str) -> Manifest:
    """What `pin` wrote. Raises DataError, naming `path`, for anything else."""
    try:
        found = json.loads(data)
        if found["version"] == VERSION:
            return _manifest_of(found)
    except (ValueError, LookupError, TypeError, RecursionError, UsageError):
        pass  # the same sentence
    raise DataError(f"{path} was not pinned by this version of multiprobe")


def _manifest_of(found: dict[str, Any]) -> Manifest:
    made = Manifest(
        program=str(found["program"]),
        addresses=_numbers(found["addresses"], below=1 << 64),
        n_programs=_number(found["n_programs"], below=1 << 32),
        links=[
            (parse_mechanism(one["mechanism"]), _numbers(one["functions"], below=len(found["addresses"])))
            for one in found["links"]
        ],
        maps=[str(name) for name in found["maps"]],
    )
    if not made.links:
        raise ValueError("an attachment without links")
    return made


def _number(found: object, *, below: int) -> int:
    if type(found) is not int or not 0 <= found < below:
        raise ValueError(f"{found!r} is not a number below {below}")
    return found


def _numbers(found: list[object], *, below: int) -> list[int]:
    return [_number(one, below=below) for one in found]


def _open_links(path: str, manifest: Manifest) -> list[Linked]:
    """The links, those of a mechanism together; the programs go with the first."""
    found: dict[Mechanism, Linked] = {}
    try:
        for number, (mechanism, indices) in enumerate(manifest.links):
            linked = found.setdefault(mechanism, Linked(mechanism))
            fd = bpf.obj_get(os.path.join(path, f"link{number}"), f"link {number}")
            linked.links.append(Link(fd, mechanism, indices))
        for number in range(manifest.n_programs):
            fd = bpf.obj_get(os.path.join(path, f"program{number}"), f"program {number}")
            next(iter(found.values())).programs.append(fd)
    except BaseException:
        for linked in found.values():
            linked.close()
        raise
    return list(found.values())
