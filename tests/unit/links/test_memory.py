"""Kernel memory of links, on fake kernels: predicted, told, and refused before anything is attached."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import multiprobe as mp
from fake_kernel import LIKE_6_12, LIKE_7_3, FakeKernel, Profile
from fake_kernel.objects import Map
from multiprobe.cli.main import run
from multiprobe.errors import KernelError, UsageError
from multiprobe.instruments.errors.program import make_program
from multiprobe.instruments.graph.program import GraphProbe
from multiprobe.instruments.latency.program import LatencyProbe
from multiprobe.instruments.stacks.program import StacksProbe
from multiprobe.instruments.trace.instrument import RING_SIZE
from multiprobe.kernel.return_nodes import NODE, ReturnNodes
from multiprobe.links.plan.memory import TRAMPOLINE_BYTES, TRAMPOLINE_CPU_BYTES
from multiprobe.maps.layout import layout
from multiprobe.maps.memory import mapped_bytes
from multiprobe.maps.set_spec import HITS
from multiprobe.maps.switch import switch_size
from multiprobe.uapi.bpf import MapType

NODES = ReturnNodes(NODE, has_rings=True)
NAMES = ["vfs_read", "vfs_write", "vfs_open"]
calls = mp.PerFunction(mp.u64)
Boot = Callable[..., FakeKernel]


@mp.program
def count(ctx):
    calls[ctx.function] += 1


many = mp.Array(mp.u64, 1 << 18)


@mp.program
def large_count(ctx):
    many[ctx.function] += 1


@pytest.fixture
def boot(tmp_path: Path) -> Iterator[Boot]:
    booted: list[FakeKernel] = []

    def boot(profile: object = LIKE_6_12, *, available: int = 8_000_000, n_cpus: int = 32) -> FakeKernel:
        fake = FakeKernel(tmp_path, profile, n_cpus=n_cpus)  # type: ignore[arg-type]
        show(fake, available=available)
        booted.append(fake.__enter__())
        return fake

    yield boot
    for fake in booted:
        fake.__exit__()
        assert fake.left() == []


def show(fake: FakeKernel, *, available: int, used: int = 70_000) -> None:
    """Have /proc/meminfo say so, in kB."""
    text = f"MemAvailable: {available} kB\nVmallocUsed: {used} kB\nSUnreclaim: 1000 kB\nPercpu: 500 kB\n"
    (fake.root / "proc/meminfo").write_text(text)


@pytest.mark.parametrize("when", ["entry", "return", "session"])
def test_returns_and_sessions_are_predicted_by_plan_and_report(boot: Boot, when: str) -> None:
    boot()
    expected = NODES.bytes_for(3, when=when, n_cpus=32)
    memory = {"predicted": expected} if expected else {}
    assert mp.plan(NAMES, when=when, mechanisms="kprobe_multi").report.kernel_memory == memory
    with mp.attach(count, NAMES, when=when, mechanisms="kprobe_multi") as attachment:
        report = attachment.report
    assert report.kernel_memory == (memory | {"taken": 0} if memory else {})
    assert report.to_json()["kernel_memory"] == report.kernel_memory


@pytest.mark.parametrize("when", ["entry", "session"])
def test_trampolines_of_a_batch_are_predicted(boot: Boot, when: str) -> None:
    boot(LIKE_7_3)
    predicted = mp.plan(NAMES, when=when, mechanisms="tracing_multi").report.kernel_memory
    assert predicted == {"predicted": 3 * (TRAMPOLINE_BYTES + 32 * TRAMPOLINE_CPU_BYTES)}
    assert mp.plan(NAMES, when=when, mechanisms="kprobe_multi").report.kernel_memory == {}, "fprobe is on fgraph there"


def test_the_kernel_without_sysfs_is_predicted_for_the_cpus_of_this_machine(
    boot: Boot, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = boot()
    (fake.root / "sys/devices/system/cpu/possible").unlink()
    monkeypatch.setattr("os.cpu_count", lambda: 7)
    predicted = mp.plan(NAMES, when="return", mechanisms="kprobe_multi").report.kernel_memory["predicted"]
    assert predicted == NODES.bytes_for(3, when="return", n_cpus=7)


def test_too_much_is_refused_before_anything_is_attached(boot: Boot) -> None:
    fake = boot(available=400)  # kB; 3 functions on 32 CPUs take 131 kB
    with pytest.raises(
        UsageError, match=r"would take about 0\.1 MB of kernel memory, more than 25% of the 0\.4 MB"
    ) as caught:
        mp.attach(count, NAMES, when="return", mechanisms="kprobe_multi")
    assert "3 functions at return on 32 CPUs" in str(caught.value)
    for way in ("fewer functions", "entries only", "--mechanism", "--max-memory", "max_memory"):
        assert way in caught.value.hint
    assert "MAP_CREATE" not in fake.calls
    assert fake.links == []
    with mp.attach(count, NAMES, mechanisms="kprobe_multi") as attachment:
        assert attachment.report.attached == 3, "at entry it takes nothing"


@pytest.mark.parametrize("limit", [0, 0.9, 1.0])
def test_the_limit_can_be_raised_and_lifted(boot: Boot, limit: float) -> None:
    boot(available=400)
    limits = mp.Limits(max_memory=limit)
    with mp.attach(count, NAMES, when="return", mechanisms="kprobe_multi", limits=limits) as attachment:
        assert attachment.report.attached == 3
    assert mp.plan(NAMES, when="return", mechanisms="kprobe_multi", limits=limits).report.notes == ()


def test_a_kernel_that_does_not_say_what_is_available_sets_no_limit(boot: Boot) -> None:
    fake = boot()
    (fake.root / "proc/meminfo").unlink()
    with mp.attach(count, NAMES, when="return", mechanisms="kprobe_multi") as attachment:
        assert attachment.report.attached == 3


def test_what_was_taken_is_measured(boot: Boot, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = boot()
    real = fake._made

    def made(nr: int, arguments: tuple[int, ...], name: str) -> int:
        result = real(nr, arguments, name)
        if fake.links:
            show(fake, available=8_000_000, used=70_512)
        return result

    monkeypatch.setattr(fake, "_made", made)
    with mp.attach(count, NAMES, when="session", mechanisms="kprobe_multi") as attachment:
        assert attachment.report.kernel_memory["taken"] == 512 * 1024


@pytest.mark.parametrize("value", [-0.1, 1.5, True, "half", None])
def test_a_limit_is_a_part(value: object) -> None:
    with pytest.raises(UsageError, match="max_memory"):
        mp.Limits(max_memory=value)  # type: ignore[arg-type]


def test_a_dry_run_says_that_it_would_be_refused(boot: Boot, capsys: pytest.CaptureFixture[str]) -> None:
    boot(available=1000, n_cpus=256)
    words = ["count", "--return", "--mechanism", "kprobe_multi", *NAMES]
    predicted = NODES.bytes_for(3, when="return", n_cpus=256)
    assert run([*words, "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert f"kernel memory for links: about {predicted / 1e6:.1f} MB" in out
    assert "note: would be refused: attaching 3 functions at return on 256 CPUs would take about" in out
    assert run([*words, "--dry-run", "--json", "--max-memory", "0"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert (plan["kernel_memory"], plan["notes"]) == ({"predicted": predicted}, [])
    assert run([*words, "-d", "0"]) == 2
    assert "--max-memory" in capsys.readouterr().err


def test_maps_larger_than_a_cgroup_leaves_are_refused_before_they_are_made(boot: Boot) -> None:
    fake = boot(LIKE_7_3)
    (fake.root / "proc/self/cgroup").write_text("0::/own\n")
    own = fake.root / "sys/fs/cgroup/own"
    own.mkdir(parents=True, exist_ok=True)
    for name, text in (("max", str(100 << 20)), ("current", str(60 << 20)), ("stat", "anon 1\nfile 1048576\n")):
        (own / f"memory.{name}").write_text(text)
    large = mp.Array(mp.u64, 64 << 17)

    @mp.program
    def fill(ctx):
        large[ctx.function] += 1

    with pytest.raises(KernelError, match=r"67\.\d MB of maps, and 43\.0 MB left in the cgroup\): ENOMEM") as caught:
        mp.attach(fill, NAMES)
    assert "memory.max" in caught.value.hint
    (own / "memory.max").write_text("max\n")
    mp.attach(fill, NAMES).detach()


MAPS = {
    ("latency",): LatencyProbe().program,
    ("latency", "--by", "thread", "--self"): LatencyProbe(by="thread", has_self=True).program,
    ("errors",): make_program(),
    ("errors", "--each"): make_program(n_arguments=6, is_each=True),
    ("graph", "--max-events", "70000"): GraphProbe(max_events=70_000).program,
    ("stacks", "--time", "--user"): StacksProbe(has_user=True, is_timed=True, max_stacks=1 << 14).program,
}


@pytest.mark.parametrize("words", MAPS)
def test_a_dry_run_says_what_maps_take(boot: Boot, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]) -> None:
    boot(LIKE_7_3)
    program = MAPS[words]
    predicted = mp.plan(NAMES, when=program.when or "entry", mechanisms="kprobe_multi", program=program)
    expected = predicted.report.kernel_memory
    assert run([words[0], *NAMES, *words[1:], "--mechanism", "kprobe_multi", "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kernel_memory"] == expected
    assert run([words[0], *NAMES, *words[1:], "--mechanism", "kprobe_multi", "--dry-run"]) == 0
    line = f"kernel memory for maps: {expected.get('maps', 0) / 1e6:.1f} MB"
    assert (line in capsys.readouterr().out) == bool(expected)


def test_rings_of_trace_and_hits_of_a_budget_are_counted(boot: Boot, capsys: pytest.CaptureFixture[str]) -> None:
    boot(LIKE_7_3)
    assert run(["trace", *NAMES, "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kernel_memory"]["maps"] > 5 * RING_SIZE
    assert run(["errors", *NAMES, "--dry-run", "--json", "--budget", "5%", "--mechanism", "kprobe_multi"]) == 0
    found = json.loads(capsys.readouterr().out)["kernel_memory"]["maps"]
    assert run(["errors", *NAMES, "--dry-run", "--json", "--mechanism", "kprobe_multi"]) == 0
    without = json.loads(capsys.readouterr().out)["kernel_memory"]["maps"]
    assert found - without == mapped_bytes(layout(HITS, 3, 32).value_size) + mapped_bytes(switch_size(32))


#: Options of `mp.attach` and of `mp.plan` that need maps of their own.
WAYS = {
    "entry": {"when": "entry"},
    "return": {"when": "return"},
    "session": {"when": "session"},
    "only a process": {"pid": os.getpid(), "children": False},
    "with its children": {"pid": os.getpid()},
    "in a session": {"pid": os.getpid(), "when": "session"},
    "replaceable": {"replaceable": True},
    "in waves": {"limits": mp.Limits(careful=True)},
}


def taken(one: Map) -> int:
    """Bytes of a map, after what the kernel was told when it was created."""
    pages = -(-one.value_size * one.max_entries // 4096)
    if one.kind == MapType.ARRAY:
        return 4096 * (1 + pages)
    if one.kind == MapType.RINGBUF:
        return one.max_entries + 3 * 4096
    if one.kind in (MapType.HASH, MapType.LRU_HASH):
        return (16 << (one.max_entries - 1).bit_length()) + one.max_entries * (48 + one.key_size + one.value_size)
    assert one.kind == MapType.TASK_STORAGE
    return 0


@pytest.mark.parametrize("profile", [LIKE_6_12, LIKE_7_3], ids=["6.12", "7.3"])
@pytest.mark.parametrize("mechanism", ["kprobe_multi", "kprobe", "trampoline", "tracing_multi"])
@pytest.mark.parametrize("way", WAYS)
def test_every_map_is_predicted(boot: Boot, profile: Profile, mechanism: str, way: str) -> None:
    """All that is created, by the sizes that the kernel is told, and what the report and the plan say before."""
    fake = boot(profile)
    options = {"mechanisms": mechanism, **WAYS[way]}
    program = make_program() if way in ("session", "in a session") else large_count
    try:
        planned = mp.plan(NAMES, program=program, **options).report.kernel_memory["maps"]
    except mp.NotSupportedError:
        return
    with mp.attach(program, NAMES, **options) as attachment:
        assert attachment.report.kernel_memory["maps"] == planned
        created = sum(taken(one) for one in fake.objects.values() if isinstance(one, Map))
        assert planned == pytest.approx(created, rel=0.005), "but for pointers to pages, and spare entries"


def test_plan_and_report_say_the_same_of_a_pattern(boot: Boot) -> None:
    """Without the functions that the program calls itself, of which the fake kernel has one."""
    boot(LIKE_7_3)
    program = make_program()
    planned = mp.plan("bpf_*", when="session", program=program).report
    with mp.attach(program, "bpf_*") as attachment:
        assert attachment.report.kernel_memory["maps"] == planned.kernel_memory["maps"]
        assert [one.code for one in planned.skipped] == [one.code for one in attachment.report.skipped] != []
