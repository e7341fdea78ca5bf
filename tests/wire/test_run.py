"""A live run with a real trainer process: its death is told, whenever it comes."""

from __future__ import annotations

import asyncio
import os
import random
import signal

import structlog

from peerd.clock import monotonic
from peerd.config import TrainingConfig
from peerd.learning import Run
from peerd.types import RunSpec


class Quiet:
    """Sink and observer of a peer that is alone with a partner who never sends."""

    def broadcast(self, round_number, payloads): ...
    def forget_before(self, round_number): ...
    def dropped(self, reason): ...
    def stage_changed(self, stage): ...
    def trainer_spent(self, stage, cpu_seconds): ...
    def round_measured(self, result): ...


async def test_a_trainer_that_dies_between_two_jobs_is_counted_and_the_run_goes_on():
    run = Run(
        spec=RunSpec(run_id="ab" * 16, task="digits-cnn", rounds=1), shard=0, shards=6, cohort=2,
        training=TrainingConfig(), payload_bytes=4096, sink=Quiet(), save=lambda *_: None,
        observer=Quiet(), rng=random.Random(1), clock=monotonic, log=structlog.get_logger(),
    )  # fmt: skip
    main = asyncio.create_task(run.main())
    async for status in run.watch():
        if status.stage == "exchanging":
            break
    os.kill(run.trainer_status().pid, signal.SIGKILL)
    while run.trainer_status().state != "dead":
        await asyncio.sleep(0.01)
    run.set_cohort(1)  # the partner is gone: the round closes, and its model has to be evaluated
    await main
    assert run.status().state == "finished"
    assert run.status().results[0].accuracy > 0.0
    assert run.trainer_status().restarts == 1
    assert "between two jobs" in run.trainer_status().last_error
