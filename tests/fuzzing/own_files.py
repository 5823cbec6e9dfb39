"""Targets of `fuzz.py` that read what multiprobe itself has written: caches, saved runs, pins. Anyone may have damaged
it since, and saved runs come from other people.
"""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from zlib import crc32

import numpy as np
from kernel_files import Files

import multiprobe as mp
from fuzzing.target import Target, run_command, words_of
from multiprobe.compiler import cache as program_cache
from multiprobe.compiler.code import Code, Relocation
from multiprobe.functions import cache as table_cache
from multiprobe.links.mechanisms.culprits import Culprits
from multiprobe.links.mechanisms.tried import format_tried, parse_tried
from multiprobe.links.pins import parse_manifest
from multiprobe.runs.compression import HAS_ZSTD
from multiprobe.vm import accelerator, kernels

_KERNEL = b'{"series": "6.12", "release": "6.12.1", "version": "1", "image": "vmlinuz", "modules": "lib/6.12"}'
_MANIFEST = (
    b'{"version": 1, "program": "count", "addresses": [1], "n_programs": 1, "maps": ["calls"], "links": '
    b'[{"mechanism": "kprobe", "functions": [0]}]}'
)
_CULPRITS = b"kprobe_multi:entry 22 tcp_sendmsg\ntrampoline:session 524 vfs_read+0x4 [nf]\n"
_HEAD = b"""\
{"type":"run","schema":1,"id":"a","multiprobe":"0.1","command":"count","arguments":["count","x"],"settings":{"when":\
"entry"},"host":{"name":"h","machine":"m","kernel":"6.12","cpus":2},"start":{"wall_ns":5,"monotonic_ns":1},"seconds":2.5}
{"type":"report","schema":1,"requested":2,"attached":1,"skipped":[{"function":"x","code":"c","reason":"r"}],"failed":\
[{"function":"y","mechanism":"kprobe","errno":"EINVAL","reason":"r"}],"missed":{"link_misses":1},"timings":{"attach":1.5}}
{"type":"attached","module":"","functions":["vfs_read","vfs_write"]}
"""
_ROWS = {
    b"count": b"""\
{"type":"function","function":"vfs_read","module":"","address":"0xff","calls":5,"rate":2.0,"share":0.5}
{"type":"function","function":"vfs_write","module":"nf","address":"0xff","calls":7,"rate":2.0,"share":0.5}
""",
    b"latency": b"""\
{"type":"function","function":"vfs_read","module":"","calls":12,"running":1,"total_ns":4000,"max_ns":900,"histogram":\
[[256,512,11],[512,1024,1]]}
""",
    b"errors": b"""\
{"type":"group","count":2,"error":"ENOSPC","first":"b [m]","path":["a","b [m]"],"is_cut":false,"outcome":"handled",\
"end":"a","end_error":null}
{"type":"failure","error":"EIO"}
""",
    b"stacks": b"""\
{"type":"stack","function":"b","module":"m","frames":["a","b"],"calls":4}
""",
    b"graph": b"""\
{"type":"call","id":0,"caller":null,"function":"a","module":"","duration":900}
{"type":"call","id":1,"caller":0,"function":"b","module":"m","duration":null}
{"type":"call","id":2,"caller":null,"function":"b","module":"m","duration":7}
""",
}
RUNS = {command: _HEAD.replace(b'"count"', b'"%s"' % command) + rows for command, rows in _ROWS.items()}
_BROKEN = (b'"calls":-1', b'{"type":"attached"', b"1e999", b"[", b"{", b'"\\ud800"', b"\n", b"null", b"9" * 5000)
_RUN_COMMANDS = (
    b"merge\0RUN\0--json",
    b"merge\0RUN\0OTHER\0--top\0003",
    b"diff\0RUN\0OTHER\0--fdr\0001%\0--least\00050%\0--json",
    b"diff\0RUN\0--\0OTHER\0RUN\0--csv",
)


def with_end(data: bytes) -> bytes:
    """A saved run with a last line that fits, as if it had been written so."""
    lines = data[: data.rfind(b"\n") + 1]
    first = tuple(b'{"type":"%s"' % name for name in (b"function", b"group", b"failure", b"stack", b"call"))
    n_rows = sum(line.startswith(first) for line in lines.split(b"\n"))
    return lines + b'{"type":"end","rows":%d,"crc32":%d}\n' % (n_rows, crc32(lines))


def own_files(directory: Path) -> Iterator[Target]:
    """All of them; `directory` is their cache."""
    yield from _caches(directory)
    yield from _saved_runs(directory)
    yield Target("kernel.json", (_KERNEL,), _kernel_json(directory), (b"{", b"[", b"null", b"1e999"))
    yield Target("accelerator", (b'{"kvm": true}',), _answer(directory), (b"{", b"[", b"null", b"1"))
    yield Target("tried", (format_tried(np.array([1, 1 << 40], "u8"), np.array([7], "u8")),), parse_tried)
    yield Target("culprits", (_CULPRITS,), _culprits(directory), (b":", b" ", b"\n", b"9" * 5000, b"-1", b"\xb2"))
    yield Target("pins", (_MANIFEST,), partial(parse_manifest, path="x"), (b"{", b"[", b"null", b"-1", b"true", b'"'))


def _caches(directory: Path) -> Iterator[Target]:
    """What is damaged must not be believed. Nobody else can write them with the right checksum."""
    table, key = Files(directory).kernel().functions("*").table, b"2\nboot\n0\nx"
    good = table_cache.encode(table, key)
    relocations = (Relocation(1, "map", "map0"),)
    code = program_cache.encode("k", Code(b"\0" * 80, relocations, ("a",), frozenset({"x"}), ((1, 2),), ("t",)))

    def believe(decode: Callable[[bytes], object], whole: bytes) -> Callable[[bytes], object]:
        def call(data: bytes) -> object:
            if decode(data) is not None and data != whole:
                raise AssertionError("a damaged file was believed")
            return None

        return call

    def read_table(data: bytes) -> object:
        """With length and checksum put right, as if they had been written so."""
        data = data[: len(data) & ~7].ljust(24, b"\0")
        return table_cache.decode(good[:8] + struct.pack("<QQ", len(data), crc32(data[24:])) + data[24:], key)

    yield Target("table cache", (good,), believe(lambda data: table_cache.decode(data, key), good))
    yield Target("table cache, checksum right", (good,), read_table)

    def read_program(data: bytes) -> object:
        body = data[len(program_cache.MAGIC) + 4 :]
        return program_cache.decode("k", program_cache.MAGIC + crc32(body).to_bytes(4, "little") + body)

    yield Target("program cache, checksum right", (code,), read_program, (b"[", b"]", b"1e999", b'"', b"null"))
    yield Target("program cache", (code,), believe(lambda data: program_cache.decode("k", data), code))


def _saved_runs(directory: Path) -> Iterator[Target]:
    """Saved runs of each command, merged, and compared with a good one of the same command."""
    others = {}
    for command, data in RUNS.items():
        path = directory / f"other-{command.decode()}"
        path.write_bytes(with_end(data.replace(b'"id":"a"', b'"id":"b"')))
        others[command.decode()] = mp.Run.load(path)

    def load(suffix: str, pack: Callable[[bytes], bytes]) -> Callable[[bytes], object]:
        path = directory / f"run{suffix}"

        def call(data: bytes) -> object:
            path.write_bytes(pack(data))
            run = mp.Run.load(path)
            merged = list(mp.merge([run]).to_json()), list(mp.merge([path]).to_json())
            other = others.get(run.command, others["count"])
            return run.report, merged, list(mp.diff(other, run).to_json()), list(mp.diff(path, other).to_json())

        return call

    whole = tuple(map(with_end, RUNS.values()))
    yield Target("saved run", whole, load("", bytes), _BROKEN)
    yield Target("saved run, end right", tuple(RUNS.values()), load("", with_end), _BROKEN)
    yield Target("saved run, gzip", tuple(gzip.compress(one, mtime=0) for one in whole), load(".gz", bytes))
    if HAS_ZSTD:
        compress = import_module("zstandard").ZstdCompressor().compress
        yield Target("saved run, zstd", tuple(map(compress, whole)), load(".zst", bytes))
    yield Target("commands on saved runs", _RUN_COMMANDS, _run_command(directory), (b"\0", b"\0--", b"%", b"nan"))


def _run_command(directory: Path) -> Callable[[bytes], object]:
    """`merge` and `diff` of the files that the words RUN and OTHER stand for."""
    files = {"RUN": directory / "a run", "OTHER": directory / "another run"}
    files["RUN"].write_bytes(with_end(RUNS[b"latency"]))
    files["OTHER"].write_bytes(with_end(RUNS[b"latency"].replace(b'"id":"a"', b'"id":"b"')))

    def call(data: bytes) -> object:
        command, *words = words_of(data)
        made = [str(files[word]) if word in files else word for word in words]
        return run_command(["merge" if command == "merge" else "diff", *made])

    return call


def _kernel_json(directory: Path) -> Callable[[bytes], object]:
    def call(data: bytes) -> object:
        for path in (directory / "vm", directory / "vm/kernels", directory / "vm/kernels/6.12"):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        (directory / "vm/kernels/6.12/kernel.json").write_bytes(data)
        return kernels.cached("6.12")

    return call


def _answer(directory: Path) -> Callable[[bytes], object]:
    def call(data: bytes) -> object:
        accelerator.remember("1", is_usable=True)
        (path,) = (directory / "vm/accelerator").iterdir()
        path.write_bytes(data)
        return accelerator.choose("1", lambda: False, device="/dev/null")

    return call


def _culprits(directory: Path) -> Callable[[bytes], object]:
    functions = Files(directory).kernel().functions("*")

    def call(data: bytes) -> object:
        (directory / "culprits-fuzzed").write_bytes(data)
        known = Culprits.load("fuzzed")
        masks = known.without_known(functions.mechanisms(when="entry"), functions, when="entry")
        return masks, [known.reason(functions, position) for position in range(len(functions))]

    return call
