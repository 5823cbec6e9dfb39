"""The kinds of hook by name, as in `shape.CONTEXTS`."""

from __future__ import annotations

from multiprobe.compiler.backend.contexts import HookContext, Kprobe, KprobeMulti, RawTracepoint, Tracing
from multiprobe.compiler.backend.uprobe import Uprobe

HOOKS: dict[str, type[HookContext]] = {
    "kprobe_multi": KprobeMulti,
    "kprobe": Kprobe,
    "tracing": Tracing,
    "uprobe": Uprobe,
    "raw_tracepoint": RawTracepoint,
}
