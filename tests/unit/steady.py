"""Property tests don't fail for being slow: the machine may be busy, or emulated."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("steady", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("steady")
