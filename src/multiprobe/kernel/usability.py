"""`features`: what can be used on this kernel by this user, as `multiprobe doctor` tells it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from multiprobe.kernel.diagnosis import diagnose_mechanisms
from multiprobe.kernel.examine import examine

if TYPE_CHECKING:
    from multiprobe.kernel.diagnosis import Finding


def features() -> dict[str, Finding]:
    """For each mechanism whether it can be used here, and if not, why and what helps. Asks the kernel; attaches nothing
    that stays."""
    return {finding.subject: finding for finding in diagnose_mechanisms(examine())}
