"""Live runs with real trainer processes: deaths of the trainer, joining late, coming back, ending."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections import Counter

import numpy as np
import pytest
import structlog

from peerd.clock import monotonic
from peerd.config import TrainingConfig
from peerd.learning import Fragment, Layout, Run, decode_payload, fragment_values
from peerd.training.accountant import spent
from peerd.types import PeerId, RunSpec

PAYLOAD_BYTES = 4096
PEER = PeerId(b"p" * 16)


class Around:
    """Sink, observer and disk of a run: keeps what it was told."""

    def __init__(self):
        self.sent: list[tuple[str, int, list[bytes]]] = []
        self.forgotten: list[int] = []
        self.drops: Counter = Counter()
        self.stages: list[str] = []
        self.contributed: list[int] = []
        self.forms: list[bytes] = []
        self.saved: list[tuple[int, np.ndarray, dict]] = []
        self.counted = 0
        self.disk_full = False
        self.measured: list[tuple[int, float]] = []

    def broadcast(self, round_number, parcels, of):
        if not (self.sent and self.sent[-1][:2] == ("all", round_number)):  # it streams, bit by bit
            self.sent.append(("all", round_number, []))
        self.sent[-1][2].extend(parcel.make() for parcel in parcels)

    def deal_in(self, peer, round_number, parcels, of):
        self.send_to(peer, round_number, parcels)

    def send_to(self, peer, round_number, parcels):
        assert peer == PEER
        self.sent.append(("one", round_number, [parcel.make() for parcel in parcels]))

    def send_to_listeners(self, round_number, parcels):
        self.sent.append(("listeners", round_number, [parcel.make() for parcel in parcels]))

    def forget_before(self, round_number):
        self.forgotten.append(round_number)

    def dropped(self, reason, count):
        self.drops[reason] += count

    def stage_changed(self, stage):
        if not self.stages or stage != self.stages[-1]:
            self.stages.append(stage)

    def contributes(self, from_round):
        self.contributed.append(from_round)

    def model_known(self, form):
        self.forms.append(form)

    def trainer_spent(self, stage, cpu_seconds): ...

    def round_measured(self, result, vector):
        self.measured.append((result.round, result.accuracy))

    def save(self, spec, round_number, vector, **rest):
        self.saved.append((round_number, None if vector is None else vector.copy(), rest))

    async def released(self, run_id):
        return self.counted

    async def release(self, run_id):
        if self.disk_full:
            raise OSError(28, "No space left on device")
        self.counted += 1
        self.sent.append(("counted", self.counted, []))
        return self.counted


@pytest.fixture
def around():
    return Around()


@pytest.fixture
def make_run(around):
    def make(*others, rounds=1, settings=None, training=None, **changes):
        spec = RunSpec(
            run_id="ab" * 16, task="digits-cnn", rounds=rounds, test_samples=50, **(settings or {})
        )
        return Run(
            spec=spec, shard=2, shards=6, others=others, members=3,
            training=training or TrainingConfig(), payload_bytes=PAYLOAD_BYTES, sink=around, save=around.save,
            ledger=around, observer=around, rng=random.Random(1), clock=monotonic,
            log=structlog.get_logger(), **changes,
        )  # fmt: skip

    return make


async def until(run, stage):
    async for status in run.watch():
        if status.stage == stage:
            return status
    raise AssertionError(f"{run.status().state} {run.status().error} before {stage}")


def feed(run, round_number, value):
    """All that one other peer sends in a round."""
    layout = Layout(run.status().parameters, fragment_values(PAYLOAD_BYTES))
    update = np.full(layout.parameters, value, np.float32)
    for index in range(layout.fragments):
        values = update[layout.slice(index)]
        run.on_fragment(Fragment(run.spec.wire_id, round_number, index, values.tobytes()))


def joined(payloads):
    fragments = sorted((decode_payload(payload) for payload in payloads), key=lambda f: f.index)
    return np.concatenate([np.frombuffer(fragment.data, "<f4") for fragment in fragments])


async def test_a_trainer_that_dies_between_two_jobs_is_counted_and_the_run_goes_on(make_run):
    run = make_run(1)
    main = asyncio.create_task(run.main())
    await until(run, "exchanging")
    os.kill(run.trainer_status().pid, signal.SIGKILL)
    while run.trainer_status().restarts == 0:
        await asyncio.sleep(0.01)
    run.set_cohort([])  # the partner is gone: the round closes, and its model has to be evaluated
    await main
    assert run.status().state == "finished"
    assert run.status().results[0].accuracy > 0.0
    assert run.trainer_status().restarts == 1
    assert "between two jobs: killed by SIGKILL" in run.trainer_status().last_error


async def revived(run, restarts):
    while (run.trainer_status().state, run.trainer_status().restarts) != ("idle", restarts):
        await asyncio.sleep(0.01)


async def test_a_trainer_that_dies_in_a_pause_is_not_found_dead_after_it(make_run):
    run = make_run(1)
    main = asyncio.create_task(run.main())
    await until(run, "exchanging")
    run.pause()
    os.kill(run.trainer_status().pid, signal.SIGKILL)
    async with asyncio.timeout(60):
        await revived(run, 1)
    assert run.status().state == "paused"
    run.resume()
    run.set_cohort([])
    await main
    assert (run.status().state, run.trainer_status().restarts) == ("finished", 1)


async def test_one_death_too_many_in_a_pause_ends_the_run_at_once(make_run):
    run = make_run(1, training=TrainingConfig(max_restarts=1))
    main = asyncio.create_task(run.main())
    await until(run, "exchanging")
    run.pause()
    os.kill(run.trainer_status().pid, signal.SIGKILL)
    async with asyncio.timeout(60):
        await revived(run, 1)
        os.kill(run.trainer_status().pid, signal.SIGKILL)
        await main
    assert run.status().state == "failed"
    assert "between two jobs: killed by SIGKILL" in run.status().error


async def test_from_the_first_round_to_the_last(make_run, around):
    """With a partner, to whom it says what it does, and with a disk."""
    run = make_run(1, rounds=2, announced=True)
    assert run.status().round == 1 and run.status().stage == "starting"
    main = asyncio.create_task(run.main())
    await asyncio.sleep(0)
    assert around.contributed == [1]  # before the trainer is ready: the others are to wait for it
    assert around.forms == []
    assert [(number, len(vector)) for number, vector, _ in around.saved] == [(0, 0)]
    status = await until(run, "exchanging")
    assert (status.cohort, status.contributes_from, status.announced) == (2, 1, True)
    feed(run, 1, 0.0)
    await until(run, "training")
    await until(run, "exchanging")
    run.appeared(PEER)
    feed(run, 2, 0.0)
    await main
    assert run.status().state == "finished"
    run.appeared(PEER)  # it lingers for who comes late
    assert around.contributed == [1, 2]
    assert [len(form) for form in around.forms] == [8]
    assert [(who, number) for who, number, _ in around.sent] == [
        ("all", 1),
        ("all", 2),
        ("one", 2),
        ("one", 2),
    ]
    (_, _, all_), *ones = around.sent[1:]
    for _, _, one in ones:
        np.testing.assert_array_equal(joined(one), joined(all_))
    np.testing.assert_allclose(around.saved[-1][1], joined(all_) / 2, rtol=1e-6)
    assert [(number, rest["finished"]) for number, _, rest in around.saved] == [
        (0, False),
        (1, False),
        (2, True),
    ]
    assert around.saved[0][2] == {"shard": 2, "shards": 6, "announced": True, "finished": False}
    assert around.forgotten == [1, 2]
    assert around.stages == [
        "starting", "training", "exchanging", "evaluating", "training", "exchanging", "evaluating", "done",
    ]  # fmt: skip


async def test_a_late_joiner_listens_where_the_others_are_and_then_contributes(make_run, around):
    run = make_run(1, rounds=9, listening=True)
    main = asyncio.create_task(run.main())
    status = await until(run, "listening")
    assert around.contributed == []
    assert (status.cohort, status.contributes_from, status.listeners) == (1, 0, 0)
    run.appeared(PEER)
    feed(run, 8, 0.01)
    status = await until(run, "training")
    assert (status.round, status.rounds_skipped, status.contributes_from) == (9, 7, 9)
    assert around.contributed == [9]
    assert status.results[0].listened and status.results[0].round == 8
    assert [(number, len(vector)) for number, vector, _ in around.saved] == [(0, 0), (8, status.parameters)]
    assert (around.saved[1][1] == np.float32(0.01)).all()
    await until(run, "exchanging")
    feed(run, 9, 0.01)
    await main
    assert [(who, number) for who, number, _ in around.sent] == [("all", 9)]
    assert around.stages[:4] == ["starting", "listening", "evaluating", "training"]
    assert run.status().results[-1].cohort == 2


async def test_what_comes_while_the_trainer_starts_is_not_lost(make_run):
    layout_of = make_run(rounds=1)
    main = asyncio.create_task(layout_of.main())
    await main
    parameters = layout_of.status().parameters
    run = make_run(1, rounds=9, listening=True)
    layout = Layout(parameters, fragment_values(PAYLOAD_BYTES))
    for index in range(layout.fragments):
        values = np.zeros(parameters, np.float32)[layout.slice(index)]
        run.on_fragment(Fragment(run.spec.wire_id, 9, index, values.tobytes()))
    await run.main()
    assert (run.status().state, run.status().rounds_skipped) == ("finished", 8)


async def test_a_run_is_taken_up_again_where_it_was_left(make_run, around):
    first = make_run(rounds=2)
    main = asyncio.create_task(first.main())
    async for status in first.watch():
        if status.round == 2:
            break
    main.cancel()  # as when the daemon ends
    await asyncio.wait({main})
    assert first.status().state == "stopped"
    number, vector, rest = around.saved[-1]
    assert (number, rest["finished"]) == (1, False)
    digest = first.status().model_digest

    run = make_run(rounds=2, start_round=number + 1, initial=vector)
    assert (run.status().round, run.status().model_digest) == (2, digest)
    await run.main()
    assert run.status().state == "finished"
    assert [result.round for result in run.status().results] == [2]
    assert [number for number, _, _ in around.saved] == [0, 1, 1, 2]
    assert 0.0 < np.abs(around.saved[-1][1] - vector).max() < 1.0  # trained on from there, not from the start


async def test_a_checkpoint_of_another_model_fails_the_run(make_run):
    run = make_run(rounds=2, start_round=2, initial=np.zeros(7, np.float32))
    await run.main()
    assert run.status().state == "failed"
    assert "7 values" in run.status().error


@pytest.mark.parametrize("for_good", [True, False])
async def test_a_stopped_run_is_over_for_good_or_not(make_run, around, for_good):
    run = make_run(1, rounds=2)
    main = asyncio.create_task(run.main())
    await until(run, "exchanging")
    run.stop(for_good=for_good)
    run.stop(for_good=for_good)
    await main
    assert run.status().state == "stopped"
    run.appeared(PEER)
    run.set_cohort([])
    assert [rest["finished"] for _, _, rest in around.saved] == [False] + [True] * for_good
    assert [who for who, _, _ in around.sent] == ["all"]


# -- privacy ----------------------------------------------------------------------

NOISED = {"privacy_clip": 0.5, "noise_multiplier": 2.0}


async def test_what_leaves_is_noised_and_counted_before_it_leaves(make_run, around):
    """And a peer that comes back goes on from what it has spent, although it trains the same round again."""
    run = make_run(1, rounds=3, settings=NOISED)
    main = asyncio.create_task(run.main())
    await until(run, "training")
    assert run.status().epsilon == 0.0
    await until(run, "exchanging")
    first = run.status().epsilon
    assert first == pytest.approx(spent(2.0, 1e-5, 1))
    assert [what for what, *_ in around.sent] == ["counted", "all"]
    main.cancel()  # as when the daemon ends, with the update on its way
    await asyncio.wait({main})

    again = make_run(1, rounds=3, settings=NOISED)
    main = asyncio.create_task(again.main())
    await until(again, "training")
    assert again.status().epsilon == first
    await until(again, "exchanging")
    assert again.status().epsilon == pytest.approx(spent(2.0, 1e-5, 2))
    assert [(what, number) for what, number, _ in around.sent] == [
        ("counted", 1), ("all", 1), ("counted", 2), ("all", 1),
    ]  # fmt: skip
    one, other = (joined(payloads) for what, _, payloads in around.sent if what == "all")
    assert np.linalg.norm(one - other) > 50.0  # noise of norm 100 each, anew
    feed(again, 1, 0.0)
    result = (await until(again, "evaluating")).results[0]
    assert result.epsilon == again.status().epsilon
    again.stop()
    await main


async def test_a_trainer_that_dies_while_it_trains_costs_nothing(make_run, around):
    run = make_run(1, settings={**NOISED, "local_epochs": 20})
    main = asyncio.create_task(run.main())
    await until(run, "training")
    os.kill(run.trainer_status().pid, signal.SIGKILL)
    status = await until(run, "exchanging")
    assert run.trainer_status().restarts == 1
    assert (around.counted, status.epsilon) == (1, pytest.approx(spent(2.0, 1e-5, 1)))
    run.stop()
    await main


async def test_what_cannot_be_counted_is_not_sent(make_run, around):
    around.disk_full = True
    run = make_run(1, settings=NOISED)
    await run.main()
    assert (run.status().state, around.sent) == ("failed", [])
    assert "cannot be written down, so it was not sent: [Errno 28]" in run.status().error
    assert run.status().epsilon == 0.0


async def test_without_noise_nothing_is_counted(make_run, around):
    run = make_run(rounds=1, settings={"privacy_clip": 0.5})
    await run.main()
    assert (run.status().state, run.status().epsilon, around.counted) == ("finished", None, 0)


async def test_an_initial_model_of_another_size_is_one_line_and_the_earlier_checkpoint_stays(
    make_run, around
):
    run = make_run(
        initial=np.zeros(7, np.float32),
        settings={"initial_run": "cd" * 16, "initial_round": 3, "initial_sha256": "00" * 32},
    )
    await run.main()
    assert run.status().state == "failed"
    assert run.status().error == "the checkpoint has 7 values, the model 10074"
    assert around.saved == [], "nothing is written over the checkpoint of the earlier run"


async def test_a_run_that_ends_early_says_so_and_is_not_gone_on_with(make_run, around):
    run = make_run(rounds=9, settings={"target_accuracy": 0.01})
    await run.main()
    status = run.status()
    assert (status.state, status.ended_by, status.round, status.contributes_from) == (
        "finished", "target", 1, 1,
    )  # fmt: skip
    assert status.results[0].test_samples == 360, "fifty of them decided, all of them measure"
    assert around.contributed == [1, -1]
    assert [(number, rest["finished"]) for number, _, rest in around.saved] == [
        (0, False), (1, False), (1, True),
    ]  # fmt: skip
    assert around.measured == [(1, status.results[0].accuracy)], "once"
