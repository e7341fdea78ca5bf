"""Random schedules of joins, leaves, crashes, returns, freezes, partitions, revocations, clocks and losses
while a run goes on, on the virtual clock."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import msgspec

from peerd.config import DeliveryConfig, LinkConfig, MembershipConfig, MixingConfig
from peerd.sim import Network, Settings, SimDaemon, Training
from peerd.sphinx import Epochs, Geometry
from peerd.types import RunSpec

RUN = f"{7:016x}" + 16 * "0"
OTHER_RUN = f"{8:016x}" + 16 * "0"
BEGINS, ENDS = 1.0, 18.0
"""When things happen."""
MOST_PEERS = 10
RUN_SECONDS = 400.0
"""In so much more virtual time the run must be over everywhere."""
QUIET_SECONDS = 45.0
"""Links are dialled again after 10 s at most, and who was held back for coming and going, after 20 s."""
NOTICED_SECONDS = 5.0
AGREED_SECONDS = 10.0
"""Mix keys may just have changed."""
DELIVERY = {"initial_timeout_seconds": 1.0, "min_timeout_seconds": 0.5, "max_timeout_seconds": 6.0}
MEMBERSHIP = MembershipConfig(dead_after_seconds=3.0, flap_half_life_seconds=10.0)
LINK = LinkConfig(dead_after_seconds=2.5, keepalive_seconds=0.5, connect_timeout_seconds=2.0)
REPLAYED = 200


class Play:
    """A schedule, all of it from the seed. `fields`: of the run's spec, and of a trainer's model."""

    def __init__(self, seed: int, *, parameters: int | None = None, **fields: Any) -> None:
        self.rng = rng = random.Random(seed)
        self.log: list[str] = [f"seed {seed}"]
        self.hops = rng.choice([1, 1, 1, 2])
        peers = rng.randint(self.hops + 4, 7)
        epochs = rng.choice([Epochs(12.0, 4.0), Epochs(600.0, 30.0)])
        stale = rng.choice(["drop", "drop", "use"])
        settings = Settings(
            mixing=MixingConfig(
                hops=self.hops, mean_delay_seconds=0.02, loop_rate_per_second=0.0, drop_rate_per_second=0.0
            ),
            delivery=DeliveryConfig(max_attempts=rng.choice([3, 10]), **DELIVERY),
            membership=MEMBERSHIP,
            link=LINK,
            geometry=Geometry(max_hops=2, body_bytes=1024),
            epochs=epochs,
            training=Training(
                parameters=rng.choice([90, 90, 200]) if parameters is None else parameters,
                seconds=rng.choice([(0.5, 1.5), (1.5, 4.0)]),
            ),
        )
        loss = rng.choice([0.0, 0.0, 0.01, 0.03])
        self.net = Network(peers, seed, settings, loss=loss, skew_seconds=rng.choice([0.0, 0.5, 1.5]))
        self.spec = RunSpec(
            run_id=RUN,
            task="digits-cnn",
            rounds=rng.randint(3, 6),
            grace_seconds=2.0,
            round_timeout_seconds=20.0,
            stale=stale,
            **fields,
        )
        self.say(f"{peers} peers, {settings.epochs}, {self.spec.rounds} rounds, loss {loss}, stale {stale}")
        self.revoked: set[int] = set()
        self.revocations: list[bytes] = []
        self.away_until: Counter[int] = Counter()
        """When who was frozen, cut off or not running was back."""
        self.apart_until = 0.0
        self.contacts: dict[int, int] = {}
        self.cells: list[bytes] = []
        self.net.drop = self._overhear
        self.net.at(0.5, self._announce)
        for _ in range(rng.randint(3, 9)):
            self.net.at(rng.uniform(BEGINS, ENDS), self._something)
        self.net.at(ENDS + 8.0, self._calm_down)

    def say(self, what: str) -> None:
        now = self.net.now if hasattr(self, "net") else 0.0
        self.log.append(f"{now:8.3f}  {what}")

    # -- what happens -------------------------------------------------------------

    def _announce(self) -> None:
        told = self.rng.choice(self._well())
        self.say(f"run announced at {told}")
        self.net.announce(self.spec, told, join_seconds=3.0)

    def _something(self) -> None:
        operations = {
            self._join: 3, self._leave: 2, self._crash: 3, self._freeze: 2, self._cut: 2, self._revoke: 1,
            self._set_clock: 1, self._set_loss: 1, self._clone: 1, self._another_run: 0.3,
        }  # fmt: skip
        self.rng.choices(list(operations), list(operations.values()))[0]()

    def _well(self) -> list[int]:
        """Hosts whose daemons run and will go on if nothing happens to them."""
        times = Counter(daemon.peer_id for daemon in self.net.daemons)
        return [
            daemon.place
            for daemon in self.survivors()
            if times[daemon.peer_id] == 1 and daemon.drain is None and not daemon.host.frozen
        ]

    def _victim(self) -> int | None:
        """Somebody without whom there are still enough mix nodes, and who is no newcomer's only contact."""
        needed = [
            contact
            for newcomer, contact in self.contacts.items()
            if self.net.is_up(newcomer) and len(self.net[newcomer].links.neighbours) < 2
        ]
        well = self._well()
        spare = [place for place in well if place not in needed]
        return self.rng.choice(spare) if spare and len(well) > self.hops + 3 else None

    def _join(self) -> None:
        if len(self.net.hosts) < MOST_PEERS:
            contact = self.rng.choice(self._well())
            newcomer = self.net.join(contact)
            self.contacts[newcomer] = contact
            self.say(f"{newcomer} joins by {contact}")
            self._away([newcomer], 0.0)

    def _leave(self) -> None:
        victim = self._victim()
        if victim is not None:
            self.say(f"{victim} leaves")
            self.net.leave(victim, timeout=self.rng.choice([5.0, 30.0]))
            if self.rng.random() < 0.4:
                self._later(self.rng.uniform(8.0, 20.0), lambda: self._restart(victim))

    def _crash(self) -> None:
        victim = self._victim()
        if victim is not None:
            self.say(f"{victim} crashes")
            self.net.crash(victim)
            if self.rng.random() < 0.6:
                self._later(self.rng.choice([0.1, 2.0, 8.0]), lambda: self._restart(victim))

    def _restart(self, victim: int) -> None:
        self.say(f"{victim} starts again: {self.net.restart(victim)}")
        self._away([victim], 0.0)

    def _freeze(self) -> None:
        victim = self._victim()
        if victim is not None:
            seconds = self.rng.choice([0.5, 3.0, 8.0])
            self.say(f"{victim} is frozen for {seconds} s")
            self.net.freeze(victim)
            self._away([victim], seconds)
            self._later(seconds, lambda: self._thaw(victim))

    def _thaw(self, victim: int) -> None:
        self.net.thaw(victim)
        self.say(f"{victim} goes on")

    def _cut(self) -> None:
        order = self.rng.sample(range(len(self.net.hosts)), len(self.net.hosts))
        at = self.rng.randrange(1, len(order))
        seconds = self.rng.choice([0.5, 3.0, 9.0])
        self.say(f"{order[:at]} and {order[at:]} are apart for {seconds} s")
        self.net.partition(order[:at], order[at:])
        self.apart_until = max(self.apart_until, self.net.now + seconds)
        self._away(order, seconds)
        self._later(seconds, self._heal)

    def _heal(self) -> None:
        self.net.heal()
        self.say("all are together")

    def _revoke(self) -> None:
        victim = self._victim()
        if victim is not None:
            told = self.rng.choice([place for place in self._well() if place != victim])
            self.say(f"{victim} is revoked at {told}")
            self.revocations.append(self.net.revoke(victim, told))
            self.revoked.add(victim)
            self._later(NOTICED_SECONDS, lambda: self._check_revoked(victim))

    def _away(self, places: list[int], seconds: float) -> None:
        for place in places:
            until = max(self.net.now + seconds, self.apart_until)
            self.away_until[place] = max(self.away_until[place], until)

    def _check_revoked(self, victim: int) -> None:
        """Nobody who can have heard of it has anything to do with it any more."""
        since = self.net.now - NOTICED_SECONDS
        well = [daemon for daemon in self.survivors() if self.away_until[daemon.place] <= since]
        check_revoked(self, victim, well)

    def _set_clock(self) -> None:
        place, seconds = self.rng.randrange(len(self.net.hosts)), self.rng.uniform(-1.5, 1.5)
        self.say(f"the clock of {place} is set to {seconds:+.2f} s")
        self.net.set_skew(place, seconds)

    def _set_loss(self) -> None:
        self.net.loss = self.rng.choice([0.0, 0.02, 0.1])
        self.say(f"loss {self.net.loss}")

    def _clone(self) -> None:
        original = self._victim()
        if len(self.net.hosts) < MOST_PEERS and original is not None:
            copy = self.net.clone(original, elsewhere=self.rng.random() < 0.5)
            self.say(f"{original} is started a second time, as {copy}")
            self._away([copy], 0.0)

    def _another_run(self) -> None:
        told = self.rng.choice(self._well())
        self.say(f"run stopped at {told}, and another announced")
        self.net.announce(self.spec, told, stopped=True)
        self.net.announce(msgspec.structs.replace(self.spec, run_id=OTHER_RUN), told, join_seconds=3.0)

    def _later(self, seconds: float, action) -> None:
        self.net.at(self.net.now + seconds, action)

    def _overhear(self, _source: int, _target: int, cell: bytes) -> bool:
        """Gossip is not as long as a packet."""
        if len(cell) < self.net.settings.geometry.packet_bytes:
            self.cells.append(cell)
        return False

    def _calm_down(self) -> None:
        self.say("calm")
        for place in range(len(self.net.hosts)):
            self.net.thaw(place)
        self.net.heal()
        self.net.loss = 0.0
        for record in self.revocations:  # who was told may have been alone, and have ended
            self.net.publish(self.rng.choice(self._well()), record)

    # -- and what comes of it -------------------------------------------------------

    def survivors(self) -> list[SimDaemon]:
        """All that run. One that is revoked may go on alone, where nobody tells it any more."""
        revoked = {self.net.hosts[place].peer_id for place in self.revoked}
        return [daemon for daemon in self.net.daemons if daemon.peer_id not in revoked]

    def ended(self) -> bool:
        runs = [daemon.participation.run for daemon in self.survivors()]
        return all(run is None or run.ended for run in runs) and all(
            d.drain is None for d in self.net.daemons
        )


def check_revoked(play: Play, victim: int, daemons: list[SimDaemon]) -> None:
    revoked = play.net.hosts[victim].peer_id
    for daemon in daemons:
        assert not daemon.view.enrolled(revoked), daemon.place
        assert revoked not in daemon.view.alive(), daemon.place
        assert revoked not in daemon.links.neighbours, daemon.place
        assert revoked not in daemon.links.inbound, daemon.place
        assert daemon.members.roster.member(revoked) is None, daemon.place
