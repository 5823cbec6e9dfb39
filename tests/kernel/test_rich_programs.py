"""Random programs with helper calls, maps of every kind, strings, events and the kernel's types: what the compiler
takes, the verifier of this kernel takes too, and it can be run and read.

MULTIPROBE_PROGRAMS=N tries more of them.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

import multiprobe as mp
from multiprobe.errors import CompileError, NotSupportedError, VerifierError
from multiprobe.kernel.mechanism import parse_mechanism

sys.path[:0] = [str(Path(__file__).parents[1] / "properties")]

from rich_programs import RichGenerator, rich_program  # noqa: E402

N_PROGRAMS = int(os.environ.get("MULTIPROBE_PROGRAMS", "20")) // 10
MECHANISMS = ("kprobe_multi", "tracing_multi", "trampoline", "kprobe")
SIDES = ("entry", "return", "session")
CANDIDATES = ["vfs_statfs", "vfs_getattr_nosec", "vfs_llseek", "vfs_fsync_range", "vfs_mkdir", "vfs_read"]
TOO_MUCH = ("bytes of stack", "does not fit in 64 bits")
"""What the compiler says of programs that chance has made too large."""


@pytest.mark.parametrize("when", SIDES)
@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_what_the_compiler_takes_the_verifier_takes(mechanism: str, when: str) -> None:
    kernel = mp.Kernel()
    n, too_large = 0, []
    first = N_PROGRAMS * (MECHANISMS.index(mechanism) * len(SIDES) + SIDES.index(when))
    for seed in range(first, first + N_PROGRAMS):
        try:
            run(seed, mechanism, when, kernel)
        except NotSupportedError:
            is_session = (mechanism, when) == ("kprobe_multi", "session")
            pytest.skip(f"this kernel has no {'kprobe_session' if is_session else mechanism}")
        except CompileError as error:
            if not any(what in str(error) for what in TOO_MUCH):
                raise
            continue
        except VerifierError as error:
            if "too large" not in str(error):
                print(RichGenerator(seed, when=when).source(), error.log[-2000:])
                raise
            too_large.append(seed)
            continue
        n += 1
    print(f"{n} programs accepted; too large for the verifier: {too_large}")
    assert n >= N_PROGRAMS // 2
    assert len(too_large) <= max(1, N_PROGRAMS // 10)


def run(seed: int, mechanism: str, when: str, kernel: mp.Kernel) -> None:
    """Attach it, hit it, and read all of its maps."""
    program = rich_program(seed, when=when)
    # Where the compiler changed the arguments of a function, no trampoline fits it.
    targets = kernel.by_symbols(CANDIDATES).attachable(parse_mechanism(mechanism), when=when)
    with mp.attach(program, targets, mechanisms=mechanism, kernel=kernel) as attachment:
        for _ in range(3):
            os.statvfs("/")
        for spec in program.maps.values():
            if isinstance(spec, mp.RingBuffer):
                attachment.events(spec, timeout=0).take()
            elif not isinstance(spec, mp.StackTraces):
                attachment.map(spec).read()
        assert attachment.report.attached == len(targets) > 0
        attachment.missed()
