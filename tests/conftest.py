"""For all tests: what a property test takes says something of the machine, not of the code.

Where a test belongs, by its mark:

    none    `make test`, beside others on busy cores: it waits for what it is about, and bounds no speed. Of a
            long list it walks each kind of thing once, of many seeds a few. Where training is not the subject
            it trains `synthetic`, or `paced` (tests/e2e/paced.py), with as few peers as its point needs.
    quiet   `make test`, one after the other when those are done: it measures time, CPU or traffic.
    soak    `make soak`: the whole list, all seeds, the real model, minutes of load; the same code with more
            parameters (`pytest.param(..., marks=pytest.mark.soak)`) where one has a short form.

Property tests draw fifty examples; `make properties` draws five hundred.
"""

from __future__ import annotations

import os

# Tests fork (ptys) with gRPC servers in their process: see `peerd.control`. Read at the first import of grpc.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

from hypothesis import HealthCheck, settings

settings.register_profile(
    "peerd", max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("many", settings.get_profile("peerd"), max_examples=500)
settings.load_profile("peerd")


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: there is always a test that waits for a timer or a process."""
    return (os.cpu_count() or 1) + 1
