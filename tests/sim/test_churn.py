"""Random schedules of joins, leaves, crashes, returns, freezes, partitions, revocations, clocks and losses
while a run goes on, on the virtual clock. After each: nothing was counted twice, nothing was lost without a
word, and those who are left agree and have come to the end.

A failing seed prints its schedule, and how to see it again.
"""

from __future__ import annotations

import random
from collections import Counter

import msgspec
import numpy as np
import pytest

from peerd.config import DeliveryConfig, LinkConfig, MembershipConfig, MixingConfig
from peerd.sim import Network, Settings, SimDaemon, Training
from peerd.sphinx import Epochs, Geometry
from peerd.types import DropReason, PeerId, RunSpec

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
    """A schedule, all of it from the seed."""

    def __init__(self, seed: int) -> None:
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
                parameters=rng.choice([90, 90, 200]), seconds=rng.choice([(0.5, 1.5), (1.5, 4.0)])
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
        check_revoked(self, victim, [d for d in self.survivors() if self.away_until[d.place] <= since])

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


def disagreements(play: Play) -> list[str]:
    """What those who are left do not see alike."""
    daemons = play.survivors()
    living = {daemon.peer_id for daemon in daemons}
    found = [] if len(living) == len(daemons) else ["two instances of one peer go on"]
    if len({daemon.members.roster.summary() for daemon in daemons}) != 1:
        found.append("other records")
    left: Counter[PeerId] = Counter()
    for daemon in daemons:
        view = daemon.view
        others = living - {daemon.peer_id}
        if set(view.alive()) != others or set(daemon.links.neighbours) != others:
            found.append(f"{daemon.place} sees others alive")
        left.update(peer for peer in view.peers() if view.state(peer)[0] == "left")
    if not set(left.values()) <= {len(living)}:
        found.append("others have left")
    return found


def check_agreement(play: Play) -> None:
    play.net.run(AGREED_SECONDS, until=lambda: not disagreements(play))
    assert disagreements(play) == []


def check_memory(play: Play) -> None:
    """Nothing grows with what has happened: only with who there is."""
    hosts = len(play.net.hosts)
    for daemon in play.survivors():
        sender = daemon.mixnet.delivery._sender
        for name in ("_queue", "_again", "_open", "_unsettled", "_surbs", "_timers"):
            assert not getattr(sender, name), (daemon.place, name)
        assert daemon.mixnet.inbox_depth == 0
        assert daemon.mixnet.mix_depth <= hosts  # gossip
        assert len(daemon.members.roster) <= 3 * hosts + 2
        gossip = daemon.members.gossip
        assert len(gossip._neighbours) <= hosts
        assert len(gossip._early) <= 64
        assert all(len(known.refused) <= 64 for known in gossip._neighbours.values())
        assert len(daemon.view._entries) <= hosts
        assert not daemon.view._timed
        assert len(daemon.links._dials) <= hosts
        assert len(list(daemon.host.keys.keyring)) <= 3
        run = daemon.participation.run
        if run is not None and run.rounds is not None:
            assert len(run.rounds._collected.rounds) <= 4


def check_models(play: Play) -> None:
    """Each is the mean of exactly those fragments that the recipient has taken in for its round."""
    for daemon in play.net.lives:
        if play.spec.stale == "use" or daemon.dropped_counts[DropReason.ROUND_AHEAD]:
            continue  # those of other rounds are in it, or some of this round were thrown away
        for run in daemon.runs:
            taken = play.net.ledger.averaged(run.collection)
            for number, model in run.models.items():
                result = next(r for r in run.rounds.status.results if r.round == number)
                own = [] if result.listened else [run.updates[number]]
                for index in range(run.layout.fragments):
                    where = run.layout.slice(index)
                    parts = [
                        np.frombuffer(taken[place], "<f4")
                        for place in taken
                        if (place.round, place.index) == (number, index)
                    ]
                    parts += [update[where] for update in own]
                    if parts:
                        np.testing.assert_allclose(model[where], np.mean(parts, axis=0), atol=1e-5)


def check_fragments(play: Play) -> None:
    ledger = play.net.ledger
    assert ledger.faults == []
    for daemon in play.survivors():
        assert ledger.open(daemon.life) == 0, f"{daemon.place} has forgotten messages"


def replay(play: Play) -> None:
    """Old gossip brings nobody back."""
    net, rng = play.net, play.rng
    for cell in rng.sample(play.cells, min(REPLAYED, len(play.cells))):
        teller, told = rng.sample([daemon.place for daemon in play.survivors()], 2)
        net.gossip(teller, told, cell)
    net.run(3.0)


def check(seed: int) -> None:
    play = Play(seed)
    try:
        net = play.net
        net.run(ENDS + 8.0)
        net.run(RUN_SECONDS, until=play.ended)
        assert play.ended(), "somebody waits for ever"
        net.run(QUIET_SECONDS)
        check_fragments(play)
        check_models(play)
        check_agreement(play)
        check_memory(play)
        replay(play)
        for victim in play.revoked:
            check_revoked(play, victim, play.survivors())
        check_agreement(play)
    except BaseException:
        print("\n".join([*play.log, f'pytest -m "soak or not soak" tests/sim/test_churn.py -k "[{seed}]"']))
        raise


@pytest.mark.parametrize("seed", range(50))
def test_churn(seed):
    check(seed)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(50, 1050))
def test_more_churn(seed):
    check(seed)


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
