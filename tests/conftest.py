"""For all tests: what a property test takes says something of the machine, not of the code."""

from __future__ import annotations

import os

# Tests fork (ptys) with gRPC servers in their process: see `peerd.control`. Read at the first import of grpc.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

from hypothesis import HealthCheck, settings

settings.register_profile("peerd", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("peerd")
