"""What a hop may cost; and a million packets through a daemon, whose replay filter is all that may grow."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.soak, pytest.mark.quiet, pytest.mark.timeout(3600)]

BENCH = Path(__file__).parents[1] / "bench" / "relay.py"
MOST_FLOORS = 2.5
"""Of a whole hop at 8 KiB, TLS and all, beside two bare X25519 multiplications."""
MOST_BESIDE_BYTES = 2 << 20
"""Of growth over the last half, beyond what the replay filter grows by."""


def told_by(*options: str) -> dict[str, Any]:
    done = subprocess.run([sys.executable, BENCH, *options], check=True, stdout=subprocess.PIPE)
    return dict(json.loads(done.stdout))


def test_a_hop_costs_little_more_than_its_multiplications() -> None:
    told = told_by("--sizes", "8192")
    print(told)
    assert told["hop_cpu_us"]["8192"] <= MOST_FLOORS * told["floor_us"], told


def test_a_million_packets() -> None:
    told = told_by("--soak")
    print({key: value for key, value in told.items() if key != "rss_bytes"}, told["rss_bytes"][::10])
    assert told["packets"] == 1_000_000
    assert told["rss_growth_bytes"] <= told["replay_filter_growth_bytes"] + MOST_BESIDE_BYTES
