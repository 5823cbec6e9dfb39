"""`Fleet` and `FleetHost`: what became of a measurement on each of many hosts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from multiprobe.runs.merging import Merged, merge

if TYPE_CHECKING:
    from multiprobe.runs.host import Host


@dataclass(frozen=True, slots=True)
class FleetHost:
    """What became of a measurement on one host.

    host: the machine; None where no worker of it answered; worker: the address of the worker that was asked
    state: "measured"; "failed", where the command ended with an error; "interrupted", where Ctrl-C came before the
        functions were attached; "lost", where the worker was not heard of any more; "refused", where multiprobe is
        missing there or of another version
    reason: a sentence, "" if it was measured; path: of the saved run, "" without one
    """

    host: Host | None
    worker: str
    state: str
    reason: str = ""
    path: str = ""

    @property
    def name(self) -> str:
        """The name of the host, or the worker's address where nothing else is known."""
        return self.worker if self.host is None else self.host.name

    def to_json(self) -> dict[str, object]:
        """The row that `multiprobe fleet --json` prints."""
        host = {} if self.host is None else self.host.to_json()
        return {
            "type": "host", "name": self.name, "state": self.state, "reason": self.reason, "worker": self.worker,
            "path": self.path, "host": host,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Fleet:
    """A measurement on many hosts: `line` is its command line, `hosts` what became of each."""

    line: tuple[str, ...]
    hosts: tuple[FleetHost, ...]

    @property
    def paths(self) -> list[str]:
        """The saved runs, for `mp.Run.load`, `mp.merge` and `mp.diff`."""
        return [host.path for host in self.hosts if host.path]

    @property
    def is_complete(self) -> bool:
        """Whether every host was measured."""
        return all(host.state == "measured" for host in self.hosts)

    def merged(self) -> Merged:
        """One table over all hosts. Raises what `mp.merge` raises."""
        return merge(self.paths)
