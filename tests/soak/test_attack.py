"""The experiment that the README reports: what it must show, whatever the figures in between."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from ctl.experiment.rows import QUICK

pytestmark = [pytest.mark.soak, pytest.mark.timeout(3600)]

NEAR_BITS = 0.1


def attack(*options: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "ctl.main", "--output", "json", "experiment", "attack", "--no-plot"]
    done = subprocess.run([*command, *options], check=True, stdout=subprocess.PIPE)
    told = dict(json.loads(done.stdout))
    for name, row in told["strategies"].items():
        print(name, *(row[of] for of in ("guess_rate", "entropy_bits", "surprise_bits", "meter_bits")),
              row["strongest"], row["corrupt"])  # fmt: skip
    return told


def test_no_mixing_hides_nothing_and_strong_hides_all_that_can_be_hidden() -> None:
    told = attack("--quick")
    rows = told["strategies"]
    assert set(rows) == set(QUICK)
    assert all(row["challenges"] > 1000 for row in rows.values())
    assert rows["none"]["guess_rate"] > 0.95
    assert rows["none"]["corrupt"]["guess_rate"] > 0.95
    strong = rows["strong"]
    assert strong["guess_rate"] < 0.2
    assert (
        strong["strongest"]["guess_rate"] < 0.2
    )  # whichever of the four: chance is 0.11, the best possible 0.14
    assert abs(strong["entropy_bits"] - told["reachable_bits"]) < NEAR_BITS
    assert strong["surprise_bits"] > told["reachable_bits"] - NEAR_BITS  # his doubts are justified
    assert strong["meter_bits"] == pytest.approx(strong["entropy_bits"], abs=2 * NEAR_BITS)
    corrupt = strong["corrupt"]  # two of the mix nodes are his: some paths have but one that is not
    assert corrupt["nodes"] == 2
    assert corrupt["challenges"] > 1000
    assert corrupt["guess_rate"] < 0.3
    assert corrupt["guess_rate"] == min(row["corrupt"]["guess_rate"] for row in rows.values())


def test_daemons_are_watched_too_and_their_meters_read() -> None:
    told = attack("--testbed", "--rounds", "2", "--strategies", "none,balanced")
    assert told["source"] == "testbed"
    none, balanced = told["strategies"].values()
    assert none["meter_bits"] == 0.0
    assert 0.5 < balanced["meter_bits"] <= told["reachable_bits"]
    assert none["guess_rate"] > balanced["guess_rate"]
