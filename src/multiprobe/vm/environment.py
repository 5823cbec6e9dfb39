"""Selects the environment variables of a command in the guest: for finding programs and for output, and no secrets."""

from __future__ import annotations

from collections.abc import Mapping

_NAMES = frozenset(
    (
        *("HOME", "USER", "LOGNAME", "SHELL", "PATH", "TZ", "LANG", "LANGUAGE", "VIRTUAL_ENV", "EDITOR", "PAGER"),
        *("TERM", "COLORTERM", "NO_COLOR", "FORCE_COLOR", "CLICOLOR", "COLUMNS", "LINES", "CI"),
        *("PYTHONPATH", "PYTHONUNBUFFERED", "PYTHONWARNINGS"),
        *("XDG_CACHE_HOME", "XDG_CONFIG_HOME"),
    )
)
_PREFIXES = ("LC_", "MULTIPROBE_")
#: Root works there; what the user has comes first.
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

#: Set in every guest, to the release of its kernel.
GUEST_VARIABLE = "MULTIPROBE_GUEST"
#: Set in a guest whose clocks count instructions, one each nanosecond (`--icount`); read by `bench.machine`.
ICOUNT_VARIABLE = "MULTIPROBE_ICOUNT"


def guest_environment(
    environment: Mapping[str, str], *, release: str, has_terminal: bool, extra: Mapping[str, str]
) -> dict[str, str]:
    """The variables of a command in the guest; a terminal's size comes from the terminal, not from variables."""
    passed = {
        name: text
        for name, text in environment.items()
        if (name in _NAMES or name.startswith(_PREFIXES)) and not (has_terminal and name in ("COLUMNS", "LINES"))
    }
    entries = [entry for entry in f"{passed.get('PATH', '')}:{_PATH}".split(":") if entry]
    passed["PATH"] = ":".join(dict.fromkeys(entries))
    defaults = {"HOME": "/root", "TERM": "dumb"}
    return {**defaults, **passed, GUEST_VARIABLE: release, **extra}
