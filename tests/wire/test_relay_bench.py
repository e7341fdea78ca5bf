"""The benchmark of a whole relay, in small, says all that it promises. What it says is bounded in
`tests/soak/test_relay.py`, for a quiet machine."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[1] / "bench" / "relay.py"
PARTS = {"tls_in", "cells", "unwrap", "replay", "journal", "strategy", "tls_out", "rest"}


@pytest.mark.timeout(120)
def test_the_relay_benchmark_tells_all_that_it_promises():
    done = subprocess.run(
        [sys.executable, BENCH, "--packets", "200", "--sizes", "8192"],
        check=True, stdout=subprocess.PIPE, timeout=110,
    )  # fmt: skip
    told = json.loads(done.stdout)
    assert told["floor_us"] > 0.0
    by_size = ("hop_cpu_us", "hop_cpu_us_20ms", "packets_per_second", "packets_per_second_20ms")
    for figure in (*by_size, "ratio_to_floor"):
        assert told[figure].keys() == {"8192"}
        assert told[figure]["8192"] > 0.0
    hop = told["hop_cpu_us"]["8192"]
    assert hop > told["floor_us"]  # a hop is more than its two multiplications
    assert told["ratio_to_floor"]["8192"] == pytest.approx(hop / told["floor_us"], abs=0.02)
    parts = told["breakdown_us"]
    assert parts.keys() == PARTS
    assert parts["unwrap"] > parts["strategy"] > 0.0
    assert sum(parts.values()) == pytest.approx(hop, abs=0.5)  # each is rounded
