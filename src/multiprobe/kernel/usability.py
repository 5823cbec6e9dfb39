"""`features`: what can be used on this kernel by this user, as `multiprobe doctor` tells it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from multiprobe.kernel.diagnosis import diagnose_mechanisms
from multiprobe.kernel.examine import examine

if TYPE_CHECKING:
    from multiprobe.kernel.diagnosis import Finding


def features() -> dict[str, Finding]:
    """For each mechanism, by name, whether this user can use it on this kernel, and if not, why and what helps.

    Source: the kernel's answers to system calls that attach nothing, its BTF, sysctls and tracefs.
    """
    return {finding.subject: finding for finding in diagnose_mechanisms(examine())}
