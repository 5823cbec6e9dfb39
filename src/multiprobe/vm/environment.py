"""Which of the user's environment variables a command in the guest sees: what it needs to find programs and to print
well, and nothing that may be a secret."""

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


def guest_environment(
    environment: Mapping[str, str], *, release: str, has_terminal: bool, extra: Mapping[str, str]
) -> dict[str, str]:
    """The variables of a command in the guest; with a terminal, its size is asked of that and not of variables."""
    passed = {
        name: text
        for name, text in environment.items()
        if (name in _NAMES or name.startswith(_PREFIXES)) and not (has_terminal and name in ("COLUMNS", "LINES"))
    }
    entries = [entry for entry in f"{passed.get('PATH', '')}:{_PATH}".split(":") if entry]
    passed["PATH"] = ":".join(dict.fromkeys(entries))
    defaults = {"HOME": "/root", "TERM": "dumb"}
    return {**defaults, **passed, GUEST_VARIABLE: release, **extra}
