from __future__ import annotations

import json
from typing import Any

import pytest

from ctl.top.model import HISTORY, Model, progress
from ctl.top.sample import Sample
from peerd.pb import runs_pb2


@pytest.fixture
def model(sample_of: Any) -> Model:
    """alice and bob have been asked twice, carol does not answer, dora has not been asked."""
    made = Model(["alice", "bob", "carol", "dora"])
    for name, cells in (("alice", 100), ("bob", 50)):
        made.take(name, sample_of(name, at=0.0))
        made.take(name, sample_of(name, at=2.0, cells=cells))
    made.take("carol", Sample(0.0, error="carol: no daemon\nanswers"))
    return made


def test_rows(model: Model) -> None:
    alice, _, carol, dora = model.rows()
    assert (alice.state, carol.state, dora.state) == ("up", "away", "waiting")
    assert alice.rates is not None and alice.rates.cells_out == 50.0
    assert (alice.round, alice.rounds, alice.accuracy) == (3, 4, 0.75)
    assert (alice.links_up, alice.links) == (3, 4)  # who has left has none
    assert alice.entropy_bits == 2.5
    assert carol.error == "carol: no daemon answers"
    assert carol.rates is None and carol.round is None


def test_who_comes_back_is_up_again_and_has_rates_after_two_samples(model: Model, sample_of: Any) -> None:
    model.take("carol", sample_of("carol", at=4.0))
    assert (model.rows()[2].state, model.rows()[2].rates) == ("up", None)
    model.take("carol", sample_of("carol", at=5.0, cells=3))
    rates = model.rows()[2].rates
    assert rates is not None and rates.cells_out == 3.0


def test_the_summary_is_of_those_who_answer(model: Model) -> None:
    whole = model.summary()
    assert (whole.peers, whole.answering, whole.network) == (4, 2, "lab")
    assert (whole.links_up, whole.links) == (6, 8)
    assert whole.rates is not None and whole.rates.cells_out == 75.0
    assert whole.progress == pytest.approx(0.625)  # two rounds of four, and half of the fragments
    assert whole.accuracies == (0.75, 0.75)
    assert whole.curve == (0.5, 0.75)
    assert whole.alarms == {}


def test_alarms_are_told_with_their_peers(model: Model, sample_of: Any) -> None:
    sample = sample_of("bob", at=4.0)
    sample.status.alarms[:] = ["disk", "direct"]
    model.take("bob", sample)
    assert model.summary().alarms == {"direct": ("bob",), "disk": ("bob",)}


def test_nobody_there() -> None:
    whole = Model(["alice"]).summary()
    assert (whole.answering, whole.run, whole.rates, whole.rtt_seconds) == (0, None, None, None)
    assert whole.progress == 0.0


def test_of_two_runs_the_one_that_goes_on_is_shown(model: Model, sample_of: Any) -> None:
    for name in ("alice", "bob"):
        sample = sample_of(name, at=4.0)
        sample.run.state, sample.run.spec.run_id = "finished", "cd" * 16
        model.take(name, sample)
    model.take("carol", sample_of("carol", at=4.0))
    run = model.summary().run
    assert run is not None and run.spec.run_id == "ab" * 16


def test_complete_when_each_has_rates_or_does_not_answer(model: Model, sample_of: Any) -> None:
    assert not model.complete()
    model.take("dora", sample_of("dora", at=0.0))
    assert not model.complete()
    model.take("dora", sample_of("dora", at=1.0))
    assert model.complete()


def test_data_is_plain_and_has_a_unit_in_every_rate(model: Model) -> None:
    data = json.loads(json.dumps(model.data(), allow_nan=False))
    assert data["network"]["accuracy"] == 0.75
    alice, carol = data["peers"]["alice"], data["peers"]["carol"]
    assert alice["cells_out_per_second"] == 50.0
    assert alice["cpu"] == 0.5
    assert carol["state"] == "away" and carol["cells_out_per_second"] is None
    assert set(alice) == set(carol) == set(data["peers"]["dora"])


def test_history_is_bounded(sample_of: Any) -> None:
    model = Model(["alice"])
    for at in range(HISTORY + 10):
        model.take("alice", sample_of(at=float(at), cells=at))
    assert len(model.history("alice")) == HISTORY
    assert model.history("nobody") == ()


@pytest.mark.parametrize(
    ("fields", "share"),
    [
        ({"state": "finished", "round": 4}, 1.0),
        ({"state": "running", "round": 1, "stage": "training"}, 0.0),
        ({"state": "running", "round": 4, "stage": "exchanging", "fragments_received": 9,
          "fragments_expected": 3}, 1.0),
        ({"state": "running", "round": 90, "stage": "training"}, 1.0),
        ({"state": "starting"}, 0.0),
    ],
)  # fmt: skip
def test_progress(fields: dict[str, Any], share: float) -> None:
    assert progress(runs_pb2.RunStatus(spec=runs_pb2.RunSpec(rounds=4), **fields)) == share
    assert progress(runs_pb2.RunStatus()) == 0.0
