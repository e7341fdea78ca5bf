"""What one peer sends of its own accord: slots, cover, stock and direct mode, in virtual time."""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise

import pytest

from peerd.clock import earliest
from peerd.config import DeliveryConfig, MixingConfig, RelayConfig
from peerd.delivery import Acked, LoopReturned, Received
from peerd.relay import Mixnet
from peerd.relay.trace import Came, Left, Opened
from peerd.sphinx import EpochKey, Geometry, Hop, Keyring, MixKey, ReplayFilter, wrap
from peerd.types import DropReason, PacketKind, PeerId

GEOMETRY = Geometry(max_hops=3, body_bytes=700)
PEERS = [PeerId(bytes([n]) * 16) for n in range(1, 7)]
ME = PEERS[0]
LINK_SECONDS = 0.001
OFF = {"loop_rate_per_second": 0.0, "drop_rate_per_second": 0.0}


class Net:
    """Peers with real cores and packets; links take a millisecond; the clock jumps to what is due."""

    def __init__(self, mixing=None, seed=1, tracer=None, **of_first):
        self.now = 0.0
        self.keys = {peer: MixKey.generate() for peer in PEERS}
        self.living = set(PEERS)
        self.sent = {peer: [] for peer in PEERS}
        self.events = {peer: [] for peer in PEERS}
        self.drops = Counter()
        self.moving = []
        self.turns = 0
        mixing = mixing or MixingConfig(hops=2, mean_delay_seconds=0.02, **OFF)
        self.nodes = {
            peer: self._make(peer, of_first.get("first", mixing) if peer == ME else mixing, seed, tracer)
            for peer in PEERS
        }

    def _make(self, me, mixing, seed, tracer):
        ring = Keyring()
        ring.put(EpochKey(1, self.keys[me], ReplayFilter(100_000)))
        ring.accept((1,))
        net = self

        class View:
            def alive(self):
                return [peer for peer in PEERS if peer in net.living and peer != me]

            def enrolled(self, peer):
                return peer in PEERS and peer != me

            def mix_key(self, peer):
                return net.keys[peer].public

        return Mixnet(
            me=me, geometry=GEOMETRY, keyring=ring, directory=View(), mixing=mixing,
            delivery=DeliveryConfig(), relay=RelayConfig(), rng=random.Random(seed * 100 + me[0]), now=0.0,
            emit=lambda to, packet: net.moving.append((net.now + LINK_SECONDS, to, packet)),
            journal=lambda epoch, tags: None, dropped=lambda reason: net.drops.update([reason]),
            sent=lambda kind: net.sent[me].append((net.now, kind)), mixed=lambda *told: None, tracer=tracer,
        )  # fmt: skip

    def run(self, until):
        while True:
            deadlines = [node.next_deadline(self.now) for node in self.nodes.values()]
            following = earliest(*deadlines, *(at for at, _, _ in self.moving[:1]))
            if following is None or following > until:
                self.now = until
                return
            self.now = max(self.now, following)
            while self.moving and self.moving[0][0] <= self.now:
                _, to, packet = self.moving.pop(0)
                self.nodes[to].arrived(packet, self.now)
            for peer, node in self.nodes.items():
                deadline = node.next_deadline(self.now)
                if deadline is not None and deadline <= self.now:
                    self.turns += 1
                    self.events[peer] += node.turn(self.now)

    def kinds(self, peer=ME):
        return Counter(kind for _, kind in self.sent[peer])


def shaped(rate, **changes):
    return MixingConfig(
        **({"hops": 2, "mean_delay_seconds": 0.02, "send_rate_per_second": rate} | OFF | changes)
    )


# -- slots --------------------------------------------------------------------------------------------


def test_a_slot_gives_the_own_message_and_else_drop_cover():
    net = Net(shaped(0.0), first=shaped(20.0))
    net.run(20.0)
    before = net.kinds()
    assert before[PacketKind.OWN] == 0
    assert 300 <= before[PacketKind.DROP] <= 500
    for tag in range(200):
        assert net.nodes[ME].delivery.send(PEERS[1 + tag % 5], b"x", tag) is None
    net.run(40.0)
    after = net.kinds()
    assert after[PacketKind.OWN] == 200
    total = after[PacketKind.OWN] + after[PacketKind.DROP]
    assert total - before[PacketKind.DROP] == pytest.approx(400, abs=100), "the rate is the same"
    tags = sorted(event.tag for event in net.events[ME] if isinstance(event, Acked))
    assert tags == list(range(200))
    assert not net.drops


def test_loops_give_their_slots_to_nobody():
    """An own message in a loop's place would make sending quicker when there is something to send."""
    net = Net(shaped(0.0), first=shaped(1e-6, loop_rate_per_second=20.0, drop_rate_per_second=20.0))
    net.nodes[ME].delivery.send(PEERS[1], b"x", 1)
    net.run(3.0)
    kinds = net.kinds()
    assert kinds[PacketKind.OWN] == 0
    assert kinds[PacketKind.LOOP] > 20
    assert kinds[PacketKind.DROP] > 20


def test_own_messages_do_not_leave_in_bursts_when_sending_is_shaped():
    net = Net(shaped(0.0), first=shaped(20.0))
    for tag in range(300):
        net.nodes[ME].delivery.send(PEERS[1], b"x", tag)
    net.run(15.0)
    times = [at for at, kind in net.sent[ME] if kind is PacketKind.OWN]
    assert len(times) == pytest.approx(300, abs=60)
    gaps = [b - a for a, b in pairwise(times)]
    mean = sum(gaps) / len(gaps)
    deviation = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5
    assert mean == pytest.approx(1 / 20, rel=0.2)
    assert deviation == pytest.approx(mean, rel=0.3), "exponential"


def test_without_shaping_they_do_so_that_the_test_above_can_fail():
    net = Net(shaped(0.0))
    for tag in range(100):
        net.nodes[ME].delivery.send(PEERS[1], b"x", tag)
    net.run(1.0)
    assert net.kinds()[PacketKind.OWN] == 100


def test_without_a_path_a_slot_gives_nothing_and_nothing_spins():
    net = Net(shaped(0.0), first=shaped(20.0, loop_rate_per_second=5.0))
    net.living = {ME, PEERS[1]}
    net.nodes[ME].delivery.send(PEERS[1], b"x", 1)
    net.run(5.0)
    assert net.kinds() == {}
    assert net.turns < 2 * 25 * 5, "a turn for a slot, hardly more"
    net.living = set(PEERS)
    net.run(8.0)
    assert net.kinds()[PacketKind.OWN] == 1
    assert net.kinds()[PacketKind.LOOP] > 0
    assert [event.tag for event in net.events[ME] if isinstance(event, Acked)] == [1]


def test_loops_come_home_at_their_rate():
    net = Net(shaped(0.0, loop_rate_per_second=4.0))
    net.run(30.0)
    loops = net.kinds()[PacketKind.LOOP]
    assert loops == pytest.approx(120, abs=40)
    home = sum(isinstance(event, LoopReturned) for event in net.events[ME])
    assert loops - 5 <= home <= loops
    assert net.nodes[ME].delivery.loops.loss == 0.0


def test_a_budget_lowers_the_rates_in_force():
    mixing = shaped(
        20.0, loop_rate_per_second=20.0, cover_budget_bytes_per_second=10.0 * GEOMETRY.packet_bytes
    )
    net = Net(mixing)
    rates = net.nodes[ME].cover_rates
    assert rates.total == pytest.approx(10.0)
    assert rates.send == pytest.approx(rates.loop)
    net.run(20.0)
    kinds = net.kinds()
    assert kinds[PacketKind.DROP] + kinds[PacketKind.LOOP] == pytest.approx(200, abs=50)


# -- the stock, and who goes first --------------------------------------------------------------------


def crowd(net, count):
    """Packets of others, to be forwarded by us."""
    for _ in range(count):
        path = [Hop(peer, net.keys[peer].public, 0.0) for peer in (ME, PEERS[1], PEERS[2])]
        net.nodes[ME].arrived(wrap(GEOMETRY, path, bytes(GEOMETRY.message_bytes)), net.now)


def test_in_idle_turns_the_stock_is_filled_and_then_there_is_rest():
    net = Net(shaped(0.0), first=shaped(0.0, loop_rate_per_second=3.0, drop_rate_per_second=2.0))
    node = net.nodes[ME]
    for _ in range(5):
        assert node.next_deadline(0.0) == 0.0
        assert node.turn(0.0) == []
    assert node.next_deadline(0.0) > 0.0
    assert all(node.delivery.has_cover(kind) for kind in (PacketKind.LOOP, PacketKind.DROP))


def test_while_packets_of_others_wait_an_empty_stock_is_forgone_and_counted():
    net = Net(shaped(0.0), first=shaped(0.0, loop_rate_per_second=10.0))
    node = net.nodes[ME]
    crowd(net, 40)
    node.turn(0.9)
    assert node.cover_forgone >= 1
    assert net.kinds()[PacketKind.LOOP] == 0
    assert node.inbox_depth == 32, "as many were unwrapped as in any turn"
    while node.inbox_depth:
        node.turn(0.9)
    net.now = 1.0
    node.turn(1.0)
    assert net.kinds()[PacketKind.FORWARDED] == 40


def test_with_a_stock_cover_leaves_however_much_waits():
    net = Net(shaped(0.0), first=shaped(0.0, loop_rate_per_second=10.0, mean_delay_seconds=0.0))
    node = net.nodes[ME]
    for _ in range(12):
        node.turn(0.0)
    crowd(net, 40)
    node.turn(0.9)
    assert net.kinds()[PacketKind.LOOP] >= 1
    assert node.cover_forgone == 0


def test_own_messages_are_not_forgone_when_it_is_busy():
    net = Net(shaped(0.0), first=shaped(10.0))
    for tag in range(3):
        net.nodes[ME].delivery.send(PEERS[1], b"x", tag)
    crowd(net, 100)
    node = net.nodes[ME]
    node.turn(0.9)
    assert node.delivery.in_flight >= 1


def test_the_stock_goes_with_the_keys_and_with_the_configuration():
    net = Net(shaped(0.0, loop_rate_per_second=3.0))
    node = net.nodes[ME]
    for change in (node.keys_changed, lambda: node.set_mixing(shaped(0.0, loop_rate_per_second=3.0), 0.0)):
        for _ in range(5):
            node.turn(0.0)
        assert node.delivery.has_cover(PacketKind.LOOP)
        change()
        assert not node.delivery.has_cover(PacketKind.LOOP)
        assert node.next_deadline(0.0) == 0.0, "it is made anew at once"


# -- direct mode --------------------------------------------------------------------------------------


def test_in_direct_mode_messages_and_answers_leave_at_once_over_one_link():
    net = Net(shaped(20.0, loop_rate_per_second=5.0, drop_rate_per_second=5.0, direct=True))
    for tag in range(8):
        net.nodes[ME].delivery.send(PEERS[1 + tag % 5], b"x%d" % tag, tag)
    net.run(1.0)
    assert net.kinds() == {PacketKind.OWN: 8}
    for peer in PEERS[1:]:
        assert set(net.kinds(peer)) == {PacketKind.ACK}
        assert all(isinstance(event, Received) for event in net.events[peer])
    acked = [event for event in net.events[ME] if isinstance(event, Acked)]
    assert sorted(event.tag for event in acked) == list(range(8))
    assert all(event.rtt == pytest.approx(2 * LINK_SECONDS) for event in acked)
    assert sum(len(sent) for sent in net.sent.values()) == 16, "no cover, no forwarding"
    assert net.nodes[ME].cover_rates.total == 0.0


@pytest.mark.parametrize("strategy", ["exponential", "outbox", "threshold", "timed", "pool", "none"])
def test_direct_messages_do_not_wait_in_the_strategy(strategy):
    slow = ("outbox_interval_seconds", "timed_interval_seconds", "pool_interval_seconds",
            "threshold_patience_seconds")  # fmt: skip
    mixing = shaped(0.0, strategy=strategy, direct=True, **dict.fromkeys(slow, 5.0))
    net = Net(mixing)
    net.nodes[ME].delivery.send(PEERS[3], b"x", 1)
    net.run(0.1)
    assert [event.tag for event in net.events[ME] if isinstance(event, Acked)] == [1]


def test_who_is_direct_still_mixes_for_the_others():
    net = Net(shaped(0.0), first=shaped(0.0, direct=True))
    crowd(net, 3)
    net.run(0.5)
    assert net.kinds() == {PacketKind.FORWARDED: 3}


def test_a_direct_peer_and_one_that_mixes_understand_each_other():
    net = Net(shaped(0.0, mean_delay_seconds=0.01), first=shaped(0.0, direct=True))
    net.nodes[ME].delivery.send(PEERS[1], b"there", 1)
    net.nodes[PEERS[1]].delivery.send(ME, b"back", 2)
    net.run(2.0)
    assert [e.tag for peer in (ME, PEERS[1]) for e in net.events[peer] if isinstance(e, Acked)] == [1, 2]


def test_switching_to_direct_and_back_loses_nothing():
    net = Net(shaped(0.0), first=shaped(30.0))
    direct = shaped(30.0, direct=True)
    for tag in range(120):
        net.nodes[ME].delivery.send(PEERS[1 + tag % 5], b"x", tag)
    for turn in range(12):
        net.nodes[ME].set_mixing(direct if turn % 2 else shaped(30.0), net.now)
        net.run(net.now + 0.2)
    net.run(12.0)
    assert sorted(e.tag for e in net.events[ME] if isinstance(e, Acked)) == list(range(120))
    assert not net.drops


# -- the trace ----------------------------------------------------------------------------------------


def test_every_packet_can_be_followed_to_its_end():
    records = []
    net = Net(shaped(20.0, loop_rate_per_second=3.0), tracer=records.append)
    for tag in range(30):
        net.nodes[ME].delivery.send(PEERS[1 + tag % 5], b"x", tag)
    net.run(4.0)
    for node in net.nodes.values():  # the last ones get home
        node.set_mixing(shaped(0.0), 4.0)
    net.run(10.0)
    left = {r.packet: r for r in records if isinstance(r, Left)}
    came = {r.packet: r for r in records if isinstance(r, Came)}
    opened = {r.packet: r for r in records if isinstance(r, Opened)}
    assert len(records) == len(left) + len(came) + len(opened), "a packet has one name on every link"
    assert set(left) == set(came) == set(opened)
    ends = Counter()
    starts = [r for r in left.values() if r.kind is not PacketKind.FORWARDED]
    for start in starts:
        hop, links = start, 1
        while True:
            arrival, opening = came[hop.packet], opened[hop.packet]
            assert arrival.peer == opening.peer == hop.to
            assert hop.at <= arrival.at <= opening.at
            if opening.fate != "forward":
                break
            hop = left[opening.next_packet]
            assert (hop.kind, hop.peer) == (PacketKind.FORWARDED, opening.peer)
            assert hop.at >= opening.at
            links += 1
        if start.kind in (PacketKind.OWN, PacketKind.DROP):
            assert left[opening.next_packet].kind is PacketKind.ACK
        else:
            assert opening.next_packet == b""
        assert links == 3, "two hops and the end"
        if start.kind is PacketKind.LOOP:
            assert opening.peer == start.peer
        ends[start.kind, opening.fate] += 1
    kinds = {kind for kind, _ in ends}
    assert kinds == {PacketKind.OWN, PacketKind.ACK, PacketKind.LOOP, PacketKind.DROP}
    assert {fate for kind, fate in ends if kind is PacketKind.ACK} == {"reply"}
    assert {fate for kind, fate in ends if kind is not PacketKind.ACK} == {"deliver"}
    assert ends[PacketKind.OWN, "deliver"] == 30
    chains = sum(3 for _ in starts)
    assert chains == len(left), "no packet is in no chain"


def test_what_cannot_be_opened_is_no_opened_record():
    records = []
    net = Net(tracer=records.append)
    net.nodes[ME].arrived(bytes(GEOMETRY.packet_bytes), 0.5)
    net.nodes[ME].turn(0.75)
    (came,) = records
    assert (came.at, came.peer) == (0.5, ME)
    assert net.drops == {DropReason.LOW_ORDER: 1}


def test_without_a_tracer_no_packet_is_named(monkeypatch):
    def never(packet):
        raise AssertionError("hashed for nobody")

    monkeypatch.setattr("peerd.relay.mixnet.packet_id", never)
    net = Net(shaped(5.0))
    net.nodes[ME].delivery.send(PEERS[1], b"x", 1)
    net.run(2.0)
    assert net.kinds()[PacketKind.OWN] == 1
