"""For all tests: what a property test takes says something of the machine, not of the code."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("peerd", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("peerd")
