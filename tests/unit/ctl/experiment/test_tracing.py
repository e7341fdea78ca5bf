"""The adversaries on networks whose answer is known."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctl.experiment.adversaries import FLOOR, Setting, Tracing, candidates, normalised
from ctl.experiment.attack import exclusion
from ctl.experiment.counting import counting, echo
from ctl.experiment.kernels import Timing, flushes, make_kernel
from ctl.experiment.matching import match
from ctl.experiment.observation import NOWHERE, CorruptView, Observation
from ctl.experiment.scores import score
from peerd.config import MixingConfig

Make = Callable[..., Any]


def config(strategy: str, hops: int, **fields: Any) -> MixingConfig:
    quiet = {"loop_rate_per_second": 0.0, "drop_rate_per_second": 0.0}
    return MixingConfig(strategy=strategy, hops=hops, **(quiet | fields))  # type: ignore[arg-type]


def test_without_mixing_everything_is_traced(make_network: Make) -> None:
    seen, truth = make_network(6, 2, rate=3.0, seconds=10.0, delay=lambda at: at, seed=1)
    last = truth.challenges()
    posterior = Tracing(seen, Setting(config("none", 2))).backward(last)
    found = score(posterior, truth.sender[last])
    assert len(last) > 100
    assert found.guess_rate > 0.99
    assert found.entropy_bits < 0.1


@pytest.mark.parametrize("mean", [0.05, 0.3])
def test_the_posterior_of_an_exponential_network_is_calibrated(make_network: Make, mean: float) -> None:
    rng = random.Random(5)

    def delay(at: float) -> float:
        return at + rng.expovariate(1.0 / mean)

    seen, truth = make_network(8, 2, rate=2.0, seconds=60.0, delay=delay, seed=2)
    last = truth.challenges()
    found = score(
        Tracing(seen, Setting(config("exponential", 2, mean_delay_seconds=mean))).backward(last),
        truth.sender[last],
    )
    assert found.surprise_bits == pytest.approx(found.entropy_bits, abs=0.15)
    assert found.guess_rate > 1.2 / 7
    assert found.entropy_bits < np.log2(7)


def test_longer_delays_hide_better(make_network: Make) -> None:
    bits = []
    for mean in (0.01, 0.1, 0.5):
        rng = random.Random(5)
        seen, truth = make_network(
            8, 2, 2.0, 30.0, lambda at, rng=rng, mean=mean: at + rng.expovariate(1 / mean), 3
        )
        last = truth.challenges()
        setting = Setting(config("exponential", 2, mean_delay_seconds=mean))
        bits.append(score(Tracing(seen, setting).backward(last), truth.sender[last]).surprise_bits)
    assert bits == sorted(bits)
    assert bits[0] < bits[2] - 0.8


def test_a_fully_mixed_batch_leaves_every_sender_alike() -> None:
    """Four peers send one cell each to node 4 at the same time; it flushes them together to node 5."""
    n = 4
    sent = np.r_[np.zeros(n), np.full(n, 1.0)]
    seen = Observation(6, sent, sent + 0.1, np.r_[np.arange(n), np.full(n, 4)], np.r_[np.full(n, 4), [5] * n])
    posterior = Tracing(seen, Setting(config("timed", 1, timed_interval_seconds=1.0))).backward(
        np.arange(n, 2 * n)
    )
    assert posterior[:, :n] == pytest.approx(np.full((n, n), 1 / n), abs=0.01)
    assert posterior.sum(axis=1) == pytest.approx(np.ones(n))


def test_a_batch_before_is_no_part_of_a_flush() -> None:
    seen = Observation(
        5,
        sent_at=np.array([0.0, 0.3, 0.5, 1.0]),
        arrived_at=np.array([0.1, 0.35, 0.6, 1.1]),
        src=np.array([0, 3, 1, 3]),
        dst=np.array([3, 4, 3, 4]),
    )
    setting = Setting(config("threshold", 1, threshold_size=2))
    posterior = Tracing(seen, setting).backward(np.array([1, 3]))
    assert posterior[0].argmax() == 0
    assert posterior[1].argmax() == 1
    assert posterior.max(axis=1) == pytest.approx([1.0, 1.0], abs=0.01)


def test_corrupt_nodes_remember(make_network: Make) -> None:
    """Every mix node but the ends' is corrupt: nothing is left, however long the delays are."""
    rng = random.Random(5)
    seen, truth = make_network(8, 2, 3.0, 20.0, lambda at: at + rng.expovariate(1.0), seed=4)
    setting = Setting(config("exponential", 2, mean_delay_seconds=1.0))
    last = truth.challenges()
    honest = 3
    corrupt = [peer for peer in range(8) if peer >= honest]
    view = CorruptView.of(seen, truth, corrupt)
    first, second = truth.parent[truth.parent[last]], truth.parent[last]
    open_path = (seen.dst[first] >= honest) & (seen.src[last] >= honest)
    open_path &= (truth.sender[last] < honest) & (seen.dst[last] < honest)
    assert seen.src[first].tolist() == truth.sender[last].tolist()
    assert (truth.parent[second] == first).all()
    chosen = last[open_path]
    assert len(chosen) > 10
    owner = score(Tracing(seen, setting, view).backward(chosen), truth.sender[chosen])
    watcher = score(Tracing(seen, setting).backward(chosen), truth.sender[chosen])
    assert owner.guess_rate == 1.0
    assert owner.entropy_bits < 0.05
    assert watcher.guess_rate < 0.6


def test_a_view_shows_nothing_of_honest_nodes(make_network: Make) -> None:
    seen, truth = make_network(6, 2, 3.0, 5.0, lambda at: at, seed=1)
    view = CorruptView.of(seen, truth, [2])
    assert (view.parent[seen.src != 2] == -1).all()
    assert (view.parent[seen.src == 2] == truth.parent[seen.src == 2]).all()


def test_the_acknowledgement_leads_to_the_sender() -> None:
    """Node 2 delivers to 3 what 0 or 1 may have sent; 3 answers by node 4, which goes on to 0 alone."""
    seen = Observation(
        6,
        sent_at=np.array([0.0, 0.0, 0.02, 0.021, 0.04, 0.06]),
        arrived_at=np.array([0.01, 0.01, 0.03, 0.031, 0.05, 0.07]),
        src=np.array([0, 1, 2, 2, 3, 4]),
        dst=np.array([2, 2, 3, 5, 4, 0]),
    )
    tracing = Tracing(seen, Setting(config("exponential", 1, mean_delay_seconds=0.02)))
    last = np.array([2])
    message, both = tracing.backward(last)[0], tracing.both_ways(last, np.array([4]))[0]
    assert message[0] == pytest.approx(message[1], abs=0.02)
    assert both[0] > 0.9
    assert tracing.both_ways(last, np.array([-1]))[0][0] > message[0]


def test_counting_finds_a_lonely_burst(make_network: Make) -> None:
    rng = random.Random(5)
    seen, truth = make_network(8, 2, 0.2, 60.0, lambda at: at + rng.expovariate(20.0), seed=4)
    last = truth.challenges()
    posterior = counting(seen, Setting(config("exponential", 2)), last)
    assert posterior.sum(axis=1) == pytest.approx(np.ones(len(last)))
    assert score(posterior, truth.sender[last]).guess_rate > 0.35


def test_the_echo_of_a_burst_comes_home() -> None:
    """Everybody gets ten cells a second; peer 1 gets more just after the cell in question, peer 2 before."""
    steady = np.arange(0.0, 20.0, 0.1)
    arrived = np.concatenate([steady, steady, steady, 10.2 + np.arange(30) / 100, 9.5 + np.arange(30) / 100])
    dst = np.repeat([1, 2, 3, 1, 2], [200, 200, 200, 30, 30])
    arrived, dst = np.r_[arrived, 10.0], np.r_[dst, 0]
    order = np.argsort(arrived, kind="stable")
    arrived, dst = arrived[order], dst[order]
    seen = Observation(5, arrived - 0.01, arrived, np.full(len(dst), 4), dst)
    last = np.flatnonzero(dst == 0)
    posterior = echo(seen, Setting(config("exponential", 2, mean_delay_seconds=0.1)), last)[0]
    assert posterior[0] == 0.0
    assert posterior.argmax() == 1
    assert posterior[2] < posterior[3] < posterior[1]


@pytest.mark.parametrize("strategy", ["exponential", "outbox", "threshold", "timed", "pool", "none"])
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_any_watched_node_gives_probabilities(strategy: str, data: st.DataObject) -> None:
    moments = st.lists(st.floats(0.0, 5.0), max_size=40).map(lambda times: np.array(sorted(times)))
    out_at, in_at = data.draw(moments), data.draw(moments)
    kernel = make_kernel(config(strategy, 3), Timing(), out_at, in_at, 5.0)
    assert (kernel.first <= kernel.last).all()
    assert (np.diff(kernel.first) >= 0).all()
    found = match(kernel, out_at, None, 0.25)
    assert found.originated + found.weights.sum(axis=1) == pytest.approx(np.ones(len(out_at)), abs=1e-3)
    assert (found.weights >= 0.0).all()
    assert ((found.ended >= 0.0) & (found.ended <= 1.0)).all()
    assert (found.message <= found.originated + 1e-9).all()
    late = in_at[None, :] > out_at[:, None] + 1e-5
    assert found.weights[late].sum() == 0.0  # nothing leaves before it came


@settings(max_examples=30, deadline=None)
@given(st.integers(3, 12), st.integers(1, 5), st.integers(0, 2**31))
def test_posteriors_sum_to_one_and_spare_the_recipient(peers: int, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    last = np.arange(count)
    src, dst = rng.integers(0, peers, (2, count))
    seen = Observation(peers, last * 1.0, last + 0.1, src, dst)
    likelihood = np.where(rng.random((count, peers)) < 0.5, 0.0, rng.random((count, peers)))
    posterior = normalised(likelihood, candidates(seen, last))
    assert posterior.sum(axis=1) == pytest.approx(np.ones(count))
    assert (posterior[last, dst] == 0.0).all()
    others = posterior + (np.arange(peers) == dst[:, None])
    assert (others >= FLOOR / peers * 0.99).all()


def test_exclusion_knows_the_mix_nodes_next_to_the_recipient() -> None:
    seen = Observation(5, np.array([0.0, 1.5]), np.array([1.0, 2.0]), np.array([1, 0]), np.array([0, 4]))
    last, silent, told = np.array([0]), np.array([NOWHERE]), np.array([1])
    posterior = exclusion(seen, last, told, hops=3)[0]
    assert posterior[[1, 4]] == pytest.approx(np.full(2, FLOOR / 4))
    assert posterior[[2, 3]] == pytest.approx(np.full(2, (1 - FLOOR) / 2 + FLOOR / 4))
    posterior = exclusion(seen, last, silent, hops=3)[0]
    assert posterior[0] == 0.0
    assert posterior[1] == pytest.approx(FLOOR / 4)
    assert posterior[2:] == pytest.approx(np.full(3, (1 - FLOOR) / 3 + FLOOR / 4))
    assert exclusion(seen, last, told, hops=0)[0][1] == pytest.approx(0.25)


def test_flushes_are_what_leaves_together() -> None:
    assert flushes(np.array([0.0, 0.0, 0.1, 0.1, 0.1, 0.7]), 1e-6).tolist() == [0, 0, 1, 1, 1, 2]
    assert flushes(np.zeros(0), 1e-6).tolist() == []


def test_a_pool_prefers_the_younger() -> None:
    out_at, in_at = np.repeat([1.0, 2.0, 3.0], 6), np.array([0.5, 1.5, 2.5])
    kernel = make_kernel(config("pool", 3, pool_interval_seconds=1.0), Timing(), out_at, in_at, 3.0)
    weights = kernel.block(slice(12, 18), slice(0, 3))[0]
    assert weights[0] < weights[1] < weights[2]
    assert weights[1] / weights[2] == pytest.approx(0.4)  # 6 left of max(6 / 0.6, 6 + 4) held
