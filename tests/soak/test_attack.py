"""The experiment that the README reports: what it must show, whatever the figures in between."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from ctl.experiment.rows import QUICK

pytestmark = [pytest.mark.soak, pytest.mark.timeout(3600)]

NEAR_BITS = 0.1


def test_no_mixing_hides_nothing_and_strong_hides_all_that_can_be_hidden() -> None:
    command = [sys.executable, "-m", "ctl.main", "--output", "json", "experiment", "attack"]
    done = subprocess.run([*command, "--quick", "--no-plot"], check=True, stdout=subprocess.PIPE)
    told = json.loads(done.stdout)
    rows = told["strategies"]
    for name, row in rows.items():
        print(name, row["guess_rate"], row["entropy_bits"], row["surprise_bits"])
    assert set(rows) == set(QUICK)
    assert all(row["challenges"] > 1000 for row in rows.values())
    assert rows["none"]["guess_rate"] > 0.95
    strong = rows["strong"]
    assert strong["guess_rate"] < 0.2
    assert abs(strong["entropy_bits"] - told["reachable_bits"]) < NEAR_BITS
    assert strong["surprise_bits"] > told["reachable_bits"] - NEAR_BITS  # his doubts are justified
