"""A million packets through a real daemon: what its memory grows by is its replay filter."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.soak, pytest.mark.timeout(3600)]

BENCH = Path(__file__).parents[1] / "bench" / "relay.py"
MOST_BESIDE_BYTES = 16 << 20
"""Of growth beyond the replay filter."""


def test_a_million_packets() -> None:
    done = subprocess.run([sys.executable, BENCH, "--soak"], check=True, stdout=subprocess.PIPE)
    told = json.loads(done.stdout)
    print({key: value for key, value in told.items() if key != "rss_bytes"}, told["rss_bytes"][::10])
    assert told["packets"] == 1_000_000
    assert told["rss_growth_bytes"] <= told["replay_filter_bytes"] + MOST_BESIDE_BYTES
