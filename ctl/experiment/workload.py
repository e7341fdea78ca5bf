"""What the peers do while they are watched: rounds of federated learning, as bursts of fragments.

Training takes every peer another time, so in each round every peer begins to send at another moment, drawn
anew; then it sends its fragments to everybody at once, all shuffled together. Cover goes on all the time.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from ctl.experiment.observation import Observation, Truth, observe
from peerd.config import MixingConfig
from peerd.relay.trace import Record
from peerd.sim import World

WARM_UP_DELAYS = 8.0
"""Cover alone, before the first round, for so many mean delays of a hop; and at least a second."""
SETTLE_SECONDS = 60.0
"""Most that is waited for the end of a round."""


@dataclass(frozen=True)
class Workload:
    peers: int
    rounds: int
    fragments: int
    """That a peer sends to each other peer in a round."""
    spread_seconds: float = 1.0
    """Training times of a round differ by up to so much."""
    latency_seconds: float = 0.01
    seed: int = 1

    @property
    def messages(self) -> int:
        return self.rounds * self.fragments * self.peers * (self.peers - 1)


@dataclass(frozen=True)
class Watched:
    """One run under observation."""

    seen: Observation
    truth: Truth
    meter_bits: float
    """Mean of the peers' own entropy meters, by hop."""
    messages: int
    seconds: float
    """How long was watched: virtual seconds."""


def simulate(mixing: MixingConfig, work: Workload, progress: Callable[[str], None]) -> Watched:
    """A network of `peerd.sim` on a virtual clock; the same workload and seed give the same records."""
    records: list[Record] = []
    world = World(
        peers=work.peers,
        seed=work.seed,
        mixing=mixing,
        latency_seconds=work.latency_seconds,
        trace=lambda record: records.append(record),
    )
    rng = random.Random(work.seed)  # noqa: S311 - an experiment is its seed
    world.run(max(1.0, WARM_UP_DELAYS * mixing.sender_delay_seconds))
    world.reset_meters()
    for number in range(work.rounds):
        progress(f"round {number + 1} of {work.rounds}")
        _round(world, work, rng)
    world.run(max(0.2, WARM_UP_DELAYS * mixing.sender_delay_seconds))
    seen, truth = observe(records, world.ids)
    return Watched(seen, truth, world.meter_bits(), work.messages, world.now)


def _round(world: World, work: Workload, rng: random.Random) -> None:
    """Every peer sends its fragments; over when all of them are there and every peer has begun."""
    begun = world.now
    there = len(world.ids) * (len(world.ids) - 1) * work.fragments
    wanted = sum(len(world[index].received) for index in range(work.peers)) + there
    for sender in range(work.peers):
        world.at(begun + work.spread_seconds * rng.random(), _burst(world, work, sender, rng.getrandbits(32)))
    world.run(
        SETTLE_SECONDS,
        until=lambda: sum(len(world[index].received) for index in range(work.peers)) >= wanted,
    )


def _burst(world: World, work: Workload, sender: int, seed: int) -> Callable[[], None]:
    def send() -> None:
        recipients = [r for r in range(work.peers) if r != sender for _ in range(work.fragments)]
        random.Random(seed).shuffle(recipients)  # noqa: S311
        for tag, recipient in enumerate(recipients):
            world.send(sender, recipient, b"fragment", tag)

    return send
