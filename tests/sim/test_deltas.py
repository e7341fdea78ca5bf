"""Runs with deltas on the simulated network: who comes late, falls behind or comes back has the others' model
in the end, to the bit, whenever it comes."""

from __future__ import annotations

import numpy as np
import pytest

from peerd.config import LinkConfig, MembershipConfig, MixingConfig
from peerd.sim import Network, Settings, Training
from peerd.types import RunSpec

ENCODINGS = [("int8", True), ("top-k", False), ("random-mask", False)]
LONG = 400.0


def make_network(peers: int, seed: int, parameters: int = 1500, loss: float = 0.0) -> Network:
    settings = Settings(
        mixing=MixingConfig(
            hops=1, mean_delay_seconds=0.02, loop_rate_per_second=0.0, drop_rate_per_second=0.0
        ),
        membership=MembershipConfig(dead_after_seconds=3.0),
        link=LinkConfig(dead_after_seconds=2.5, keepalive_seconds=0.5, connect_timeout_seconds=2.0),
        training=Training(parameters=parameters, seconds=(0.5, 1.5)),
    )
    return Network(peers, seed, settings, loss=loss)


def begin(net: Network, encoding: str, delta: bool, rounds: int, **changes: object) -> RunSpec:
    spec = RunSpec(
        run_id=32 * "7", task="digits-cnn", rounds=rounds, encoding=encoding, delta=delta, grace_seconds=3.0,
        round_timeout_seconds=30.0, **changes,
    )  # fmt: skip
    net.run(3.0)
    net.announce(spec, 0, join_seconds=3.0)
    return spec


def all_ended(net: Network) -> bool:
    runs = [daemon.participation.run for daemon in net.daemons]
    return all(run is not None and run.ended for run in runs)


def reach(net: Network, index: int, number: int) -> None:
    """Until that peer has closed that round."""
    net.run(LONG, until=lambda: bool(net[index].runs) and number in net[index].runs[-1].models)
    assert number in net[index].runs[-1].models


def finish(net: Network) -> list[np.ndarray]:
    """Until all have ended; the models at the end of the run, by place."""
    net.run(LONG, until=lambda: all_ended(net))
    runs = [daemon.runs[-1] for daemon in net.daemons]
    assert {run.state for run in runs} == {"finished"}
    assert net.ledger.faults == []
    return [run.models[run.spec.rounds] for run in runs]


def assert_alike(models: list[np.ndarray]) -> None:
    assert len({model.tobytes() for model in models}) == 1


def assert_among(model: np.ndarray, others: list[np.ndarray]) -> None:
    """It is what one of them has, or between: a death has left them with a little different ones."""
    low, high = np.min(others, axis=0), np.max(others, axis=0)
    assert ((low <= model) & (model <= high)).all()


@pytest.mark.parametrize(("encoding", "delta"), ENCODINGS)
def test_who_comes_after_the_last_round_gets_the_model(encoding, delta):
    net = make_network(6, seed=1)
    begin(net, encoding, delta, rounds=3)
    assert_alike(finish(net))
    net.run(20.0)
    late = net.join(2)
    assert_alike(finish(net))
    (result,) = net[late].runs[-1].rounds.status.results
    assert result.listened and result.round == 3


@pytest.mark.parametrize("seed", range(3))
def test_those_who_are_left_still_have_the_model(seed):
    """Half of the deltas that led to it are gone with those who have left."""
    net = make_network(6, seed=10 + seed)
    begin(net, "int8", True, rounds=3)
    assert_alike(finish(net))
    net.leave(0)
    net.leave(3)
    net.run(30.0)
    net.crash(1)
    net.run(10.0)
    assert [daemon.place for daemon in net.daemons] == [2, 4, 5]
    net.join(4)
    models = finish(net)
    assert len(models) == 4
    assert_alike(models)


@pytest.mark.parametrize(("encoding", "delta"), ENCODINGS)
def test_who_was_away_at_the_end_gets_the_model_when_it_is_back(encoding, delta):
    net = make_network(6, seed=20)
    begin(net, encoding, delta, rounds=4)
    reach(net, 1, 2)
    net.crash(1)
    finish(net)
    net.run(5.0)
    assert net.restart(1)
    models = finish(net)
    assert net[1].runs[-1].rounds.status.results[-1].listened
    assert_among(models[1], models[:1] + models[2:])


@pytest.mark.parametrize("seed", range(4))
def test_who_comes_in_the_last_round_gets_the_model(seed):
    """From those who are still in it, or from those who have closed it."""
    net = make_network(6, seed=30 + seed)
    begin(net, "top-k", False, rounds=4)
    reach(net, 0, 3)
    net.run(0.4 * seed)
    net.join(2)
    models = finish(net)
    assert len(models) == 7
    assert_alike(models)


@pytest.mark.parametrize("seed", range(2))
def test_where_too_little_comes_of_the_model_the_run_has_failed_and_can_be_taken_up_again(seed):
    """Slices are withheld from who comes back; when it starts once more they are not."""
    net = make_network(6, seed=40 + seed)
    begin(net, "int8", True, rounds=3)
    reach(net, 1, 1)
    net.crash(1)
    finish(net)
    for daemon in net.daemons:
        daemon.runs[-1].rounds.base_for_newcomer = lambda: None
    assert net.restart(1)
    net.run(60.0)
    assert net[1].runs[-1].state == "failed"
    assert 3 not in net[1].runs[-1].models
    net.crash(1)
    for daemon in net.daemons:
        del daemon.runs[-1].rounds.base_for_newcomer
    net.run(10.0)
    assert net.restart(1)
    models = finish(net)
    assert_among(models[1], models[:1] + models[2:])
