"""Random schedules of joins, leaves, crashes, returns, freezes, partitions, revocations, clocks and losses
while a run goes on, on the virtual clock. After each: nothing was counted twice, nothing was lost without a
word, and those who are left agree and have come to the end.

A failing seed prints its schedule, and how to see it again.
"""

from __future__ import annotations

from collections import Counter

import pytest
from plays.checks import check, check_models
from plays.churn import ENDS, Play


def play(seed):
    check(Play(seed), check_models, f'tests/sim/test_churn.py -k "[{seed}]"')


@pytest.mark.parametrize("seed", range(8))
def test_churn(seed):
    play(seed)


@pytest.mark.soak
@pytest.mark.parametrize("seed", [*range(8, 25), *range(50, 1050)])
def test_more_churn(seed):
    play(seed)


@pytest.mark.soak
def test_all_of_it_does_happen():
    """Or the tests above would be of calm networks."""
    happened: Counter[str] = Counter()
    for seed in range(12):
        play = Play(seed)
        play.net.run(ENDS + 8.0)
        happened.update(word for line in play.log for word in line.split())
        happened.update(play.net.ledger.outcomes.keys())
        for daemon in play.net.lives:
            happened.update(reason.value for reason in daemon.dropped_counts)
            happened[daemon.ended] += 1
            for run in daemon.runs:
                happened["skipped"] += len(run.skips)
                happened.update(result.closed_by for result in run.rounds.status.results if run.rounds)
                happened["listened"] += sum(result.listened for result in run.rounds.status.results)
    for what in (
        "joins", "leaves", "crashes", "starts", "frozen", "apart", "revoked", "clock", "second",
        "acked", "cancelled", "peer_dead", "gave_up", "duplicate", "revoked_peer", "round_past",
        "drained", "killed", "another instance was started later", "complete", "grace", "listened", "skipped",
    ):  # fmt: skip
        assert happened[what] > 0, what
