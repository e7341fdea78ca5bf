"""Keys that rotate every five seconds, under load: nothing is lost, and nothing comes a second time."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from peerd.config import MixingConfig
from peerd.sphinx import Epochs, Geometry
from peerd.types import DropReason

EPOCHS = Epochs(5.0, 3.0)
LONGEST_LIFE = EPOCHS.seconds + 2 * EPOCHS.grace
GEOMETRY = Geometry(max_hops=5, body_bytes=1024)
PEERS = 6
RELAY = 2
MINUTE = 60
OLDEST = 16
"""Seconds: some more than a key's longest life."""
AGES = 4
"""Each packet comes again so many times."""
COVER = MixingConfig(loop_rate_per_second=0.3, drop_rate_per_second=0.3)


@pytest.fixture
def busy(network):
    """Six peers who all send to all, each second, for as long as the test says."""

    def make(seed, seconds, **options):
        options = {"epochs": EPOCHS, "skew_seconds": 0.5, "geometry": GEOMETRY, "mixing": COVER} | options
        net = network(PEERS, seed=seed, **options)
        sent = Counter()

        def send():
            for sender in range(PEERS):
                recipient = (sender + 1 + net.rng.randrange(PEERS - 1)) % PEERS
                if net[sender].up and net[recipient].up:
                    net.send(sender, recipient, f"{net.now}:{sender}>{recipient}".encode())
                    sent[sender] += 1
            if net.now < seconds - 1.0:
                net.at(net.now + 1.0, send)

        net.at(0.0, send)
        return net, sent

    return make


@pytest.mark.parametrize(
    ("strategy", "grace"),
    [
        ({"strategy": "exponential", "mean_delay_seconds": 0.05}, 3.0),
        ({"strategy": "outbox", "outbox_size": 2, "outbox_interval_seconds": 0.04}, 3.0),
        ({"strategy": "threshold", "threshold_size": 2, "threshold_patience_seconds": 0.1}, 3.0),
        ({"strategy": "none"}, 3.0),
        *(
            pytest.param(strategy, grace, marks=pytest.mark.soak)
            for strategy, grace in (
                ({"strategy": "exponential", "mean_delay_seconds": 0.05}, 5.0),
                ({"strategy": "timed", "timed_interval_seconds": 0.1}, 3.0),
                ({"strategy": "pool", "pool_interval_seconds": 0.05, "pool_minimum": 0}, 3.0),
            )
        ),
    ],
    ids=lambda value: value["strategy"] if isinstance(value, dict) else str(value),
)
def test_a_minute_under_load_loses_nothing(busy, strategy, grace):
    """Of every strategy, in settings in which a round trip takes less than the grace: a SURB is made of the
    keys of the moment, and what comes home later than the grace finds them gone."""
    mixing = MixingConfig(loop_rate_per_second=0.3, drop_rate_per_second=0.3, **strategy)
    net, sent = busy(1, 60.0, mixing=mixing, epochs=Epochs(5.0, grace))
    first = {index: net[index].descriptor.mix_keys for index in range(PEERS)}
    net.run(75.0)
    got = Counter(payload for peer in net.peers.values() for payload in peer.received)
    assert set(got.values()) == {1}
    assert len(got) == sum(sent.values()) == 60 * PEERS
    for index in range(PEERS):
        peer = net[index]
        assert peer.gave_up == []
        assert len(peer.acked) == sent[index]
        assert peer.dropped[DropReason.BAD_MAC] == peer.dropped[DropReason.REPLAY] == 0
        assert peer.loops_lost == 0
        epochs = [epoch for epoch, _ in first[index]]
        assert not set(epochs) & {key.epoch for key in peer.keyring}
        assert peer.descriptor.mix_keys[0][0] - epochs[0] in (14, 15)


class Recorder:
    """Somebody on the wire: keeps every packet, and hands it to the same peer again when it is older.

    `ages`: of one packet when it comes again, asked for each. `expected`: what the peers must say to that.
    That a key has gone is known from the ring alone.
    """

    def __init__(self, net, ages):
        self.net = net
        self.ages = ages
        self.expected: Counter[DropReason] = Counter()
        self.by_age: Counter[tuple[float, DropReason]] = Counter()
        net.drop = self.see

    def see(self, _source, target, packet):
        # The packet is on its way: whose key will open it is told by the ring without its filter.
        key, _ = self.net[target].keyring.unwrap(GEOMETRY, packet)
        for age in self.ages():
            self.net.at(self.net.now + age, lambda age=age: self.again(target, packet, key, age))
        return False

    def again(self, target, packet, key, age):
        peer = self.net[target]
        if not peer.up:
            return
        accepted = key.epoch in peer.keyring.accepted
        if accepted:
            assert peer.keyring[key.epoch] is key  # the same key with the same tags, also after a restart
        reason = DropReason.REPLAY if accepted else DropReason.BAD_MAC
        self.expected[reason] += 1
        self.by_age[age, reason] += 1
        self.net.inject(target, packet)


def refusals(net):
    total = Counter()
    for peer in net.peers.values():
        total.update(peer.dropped)
    return total


def test_what_was_recorded_on_the_wire_is_refused_at_every_age(busy):
    net, sent = busy(2, 20.0, mixing=MixingConfig(loop_rate_per_second=0.1, drop_rate_per_second=0.1))
    ages = (0.1, 1.0, 4.0, 7.0, 12.0, 30.0)
    recorder = Recorder(net, lambda: ages)
    net.run(25.0)
    recorder.ages = tuple
    net.run(40.0)
    dropped = refusals(net)
    assert dropped[DropReason.REPLAY] == recorder.expected[DropReason.REPLAY] > 500
    assert dropped[DropReason.BAD_MAC] == recorder.expected[DropReason.BAD_MAC] > 500
    for age in ages:
        replays, wrong = (recorder.by_age[age, r] for r in (DropReason.REPLAY, DropReason.BAD_MAC))
        if age > LONGEST_LIFE:
            assert replays == 0  # the key has gone, and with it all that it could open
        if age <= 1.0:
            assert wrong < replays / 2
    got = Counter(payload for peer in net.peers.values() for payload in peer.received)
    assert set(got.values()) == {1}
    assert len(got) == sum(sent.values())
    assert all(not peer.gave_up for peer in net.peers.values())


def test_a_minute_under_load_in_which_all_that_was_recorded_comes_again_at_every_age(busy):
    """Both at once: keys rotate twelve times, nothing is given up, and a replay is refused whenever it comes,
    for whatever is left of its key; then a relay dies and comes back, and is asked again."""
    net, sent = busy(6, MINUTE)
    rng = random.Random(6)
    recorder = Recorder(net, lambda: [rng.uniform(0.0, OLDEST) for _ in range(AGES)])
    net.run(MINUTE + 2.0)
    recorder.ages = tuple
    before = refusals(net)
    assert before[DropReason.REPLAY] == recorder.expected[DropReason.REPLAY] > 2000
    assert before[DropReason.BAD_MAC] == recorder.expected[DropReason.BAD_MAC] > 2000
    got = Counter(payload for peer in net.peers.values() for payload in peer.received)
    assert set(got.values()) == {1}
    assert len(got) == sum(sent.values()) == MINUTE * PEERS
    assert all(not peer.gave_up for peer in net.peers.values())
    assert sum(len(peer.acked) for peer in net.peers.values()) == sum(sent.values())
    for second in range(OLDEST):
        replays, wrong = (
            sum(count for (age, of), count in recorder.by_age.items() if of is reason and int(age) == second)
            for reason in (DropReason.REPLAY, DropReason.BAD_MAC)
        )
        assert replays + wrong > 100, second  # of every age there were many
        assert replays > 0 or second >= EPOCHS.seconds + EPOCHS.grace
        assert replays == 0 or second < LONGEST_LIFE

    net.kill(RELAY)
    net.run(0.5)
    net.restart(RELAY)
    net.run(OLDEST)  # the younger ones of them come after it
    after = refusals(net)
    for reason in (DropReason.REPLAY, DropReason.BAD_MAC):
        assert after[reason] == recorder.expected[reason] > before[reason]
    assert set(Counter(payload for peer in net.peers.values() for payload in peer.received).values()) == {1}


def test_a_restart_is_no_second_chance_for_a_replay(busy):
    """A relay that dies and comes back has its keys and tags; what it saw before it refuses after."""
    net, _ = busy(3, 30.0, dead_after=1.0)
    relay = RELAY
    recorder = Recorder(net, lambda: (0.5, 1.5, 4.0, 8.0, 12.0))
    net.run(7.0)
    net.kill(relay)
    net.run(0.7)
    before = Counter(net[relay].dropped)
    expected = Counter(recorder.expected)
    all_before = refusals(net)
    net.restart(relay)
    recorder.ages = tuple  # only what was recorded before
    net.run(3.0)
    assert net[relay].dropped[DropReason.REPLAY] > before[DropReason.REPLAY]
    net.run(20.0)
    assert net[relay].dropped[DropReason.BAD_MAC] > before[DropReason.BAD_MAC]
    said = refusals(net) - all_before
    asked = recorder.expected - expected
    assert said[DropReason.REPLAY] == asked[DropReason.REPLAY]
    # What the dying peer had on its way may have been for keys that were gone when it came back: none here.
    assert said[DropReason.BAD_MAC] == asked[DropReason.BAD_MAC]


def test_a_peer_that_misses_all_gossip_for_an_epoch_is_back_at_once(busy):
    """Two halves that have not heard each other for six epochs know no key of the other."""
    net, sent = busy(4, 12.0, dead_after=2.0)
    net.run(10.0)
    net.partition(range(5), [5])
    net.run(30.0)
    lonely = net.ids[5]
    assert all(net[i].view.mix_key(lonely) is None for i in range(5))
    assert net[5].view.alive() == ()
    net.heal()
    net.run(0.1)
    assert all(lonely in net[i].view.alive() for i in range(5))
    assert len(net[5].view.alive()) == 5
    net.send(0, 5, b"welcome back")
    net.send(5, 0, b"thanks")
    net.run(10.0)
    assert b"welcome back" in net[5].received
    assert b"thanks" in net[0].received
    assert sum(sent.values()) == 12 * PEERS


def test_a_peer_whose_keys_are_not_known_any_more_dies_and_comes_back(network):
    """Its link stays up; only its descriptors are not heard."""
    net = network(PEERS, seed=5, epochs=EPOCHS, dead_after=1.0)
    silent = net[5]
    announcer, silent.announcer = silent.announcer, None
    net.run(14.0)  # two epochs, and a second
    assert all(net[i].view.state(silent.peer_id)[0] == "dead" for i in range(5))
    silent.announcer = announcer
    net._announce(silent, silent.mixnet)
    net.run(2.0)
    assert all(net[i].view.state(silent.peer_id)[0] == "alive" for i in range(5))


def test_mixing_that_is_slower_than_the_grace_loses_packets_and_no_message(busy):
    """Pools that wait for traffic hold packets until their keys are gone: counted, resent, settled."""
    mixing = MixingConfig(strategy="threshold", loop_rate_per_second=0.3, drop_rate_per_second=0.3)
    net, sent = busy(1, 30.0, mixing=mixing)
    net.run(200.0)
    assert refusals(net)[DropReason.BAD_MAC] > 0
    assert sum(peer.resent for peer in net.peers.values()) > 0
    for index in range(PEERS):
        assert len(net[index].acked) == sent[index]


def test_clocks_that_differ_by_more_than_the_grace_show(busy):
    """Who is ahead knows no present key of the others: they are dead to it, and that can be seen. Its
    messages wait, as they do whenever there is no path; none is lost or handed on twice."""
    net, sent = busy(6, 15.0, skew_seconds=12.0, epochs=Epochs(5.0, 0.5))
    net.run(100.0)
    dead = [
        (index, other)
        for index in range(PEERS)
        for other in net[index].view.peers()
        if net[index].view.state(other)[0] == "dead"
    ]
    assert dead
    for index in range(PEERS):
        peer = net[index]
        settled = len(peer.acked) + len(peer.gave_up)
        assert settled + peer.mixnet.delivery.in_flight + peer.mixnet.delivery.queued == sent[index]
    got = Counter(payload for peer in net.peers.values() for payload in peer.received)
    assert set(got.values()) <= {1}
