"""The ARQ as a state machine: whatever happens in whatever order, each message is settled once."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from peerd.config import DeliveryConfig, MixingConfig
from peerd.delivery import Acked, Dropped, GaveUp, Inject, Message, MessageCodec, PathSelector
from peerd.delivery.sender import Sender
from peerd.sphinx import Deliver, Forward, Geometry, MixKey, SurbReply, reply, unwrap
from peerd.types import DropReason, PacketKind, PeerId

GEOMETRY = Geometry(max_hops=2, body_bytes=512)
CODEC = MessageCodec(GEOMETRY)
MIXING = MixingConfig(hops=1, mean_delay_seconds=0.01)
CONFIG = DeliveryConfig(max_in_flight=4, max_attempts=3, queue_limit=20)
ME = PeerId(bytes(16))
PEERS = [PeerId(bytes([n]) * 16) for n in range(1, 5)]
KEYS = {peer: MixKey.generate() for peer in (ME, *PEERS)}


class Directory:
    def __init__(self):
        self.living = list(PEERS)

    def alive(self):
        return self.living

    def enrolled(self, peer):
        return peer in PEERS

    def mix_key(self, peer):
        return KEYS[peer].public


def walk(inject):
    """Carry a packet hop by hop to its recipient: who that is, and the message."""
    peer, packet = inject.first_hop, inject.packet
    while True:
        match unwrap(GEOMETRY, KEYS[peer], packet):
            case Forward(next_hop=peer, packet=packet):
                continue
            case Deliver(message=body):
                return peer, CODEC.decode(body)
            case other:
                raise AssertionError(other)


def answer(message: Message, content: bytes):
    """What the sender gets when the recipient uses the SURB."""
    surb = CODEC.unpack_surb(message)
    peer, packet = surb.first_hop, reply(GEOMETRY, surb, content)
    while True:
        match unwrap(GEOMETRY, KEYS[peer], packet):
            case Forward(next_hop=peer, packet=packet):
                continue
            case SurbReply(surb_id=surb_id, body=body):
                assert peer == ME
                return surb_id, body
            case other:
                raise AssertionError(other)


class Arq(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.now = 0.0
        self.directory = Directory()
        rng = random.Random(5)
        self.sender = Sender(ME, GEOMETRY, CONFIG, MIXING, PathSelector(self.directory, rng), rng)
        self.config = CONFIG
        self.under_way = 0
        """When the limits last changed."""
        self.tags = 0
        self.to = {}
        self.named = {}
        self.settled = Counter()
        self.injected = []
        self.attempts = Counter()

    def take(self, events):
        for event in events:
            match event:
                case Inject(kind=kind, token=token):
                    assert kind is PacketKind.OWN
                    assert token is not None
                    self.injected.append(event)
                case Acked(tag=tag, rtt=rtt):
                    assert rtt >= 0.0
                    self.settled[tag] += 1
                case GaveUp(tag=tag):
                    self.settled[tag] += 1

    @rule(to=st.sampled_from(PEERS))
    def send(self, to):
        refused = self.sender.send(to, b"p%d" % self.tags, self.tags)
        if refused is None:
            self.to[self.tags] = to
            self.tags += 1
        else:
            assert refused is DropReason.SEND_QUEUE_FULL
            assert self.sender.queued >= self.config.queue_limit

    @rule(in_flight=st.integers(1, 6), queue=st.integers(1, 30), attempts=st.integers(1, 4))
    def reconfigure(self, in_flight, queue, attempts):
        """Limits change at any time; what is queued or under way is settled once all the same."""
        before = self.sender.queued, self.sender.in_flight
        self.config = DeliveryConfig(max_in_flight=in_flight, max_attempts=attempts, queue_limit=queue)
        self.sender.set_config(self.config)
        self.under_way = before[1]
        assert (self.sender.queued, self.sender.in_flight) == before

    @precondition(lambda self: self.named)
    @rule(data=st.data())
    def send_again(self, data):
        """What is on its way is not sent a second time."""
        tag = data.draw(st.sampled_from(sorted(self.named)))
        if not self.settled[tag]:
            refused = self.sender.send(self.to[tag], b"p%d" % tag, tag, self.named[tag])
            assert refused is None or self.sender.queued >= self.config.queue_limit

    @rule(to=st.sampled_from(PEERS))
    def send_named(self, to):
        message_id = b"%16d" % self.tags
        if self.sender.send(to, b"p%d" % self.tags, self.tags, message_id) is None:
            self.to[self.tags] = to
            self.named[self.tags] = message_id
            self.tags += 1

    @rule(wait=st.sampled_from([0.0, 0.01, 0.5, 5.0, 60.0]))
    def work(self, wait):
        self.now += wait
        self.take(self.sender.work(self.now))

    @precondition(lambda self: self.injected)
    @rule(data=st.data(), fate=st.sampled_from(["departs", "lost", "acked", "forged"]))
    def packet(self, data, fate):
        inject = data.draw(st.sampled_from(self.injected))
        if fate == "departs":
            self.sender.departed(inject.token, self.now)
        elif fate == "lost":
            self.sender.lost(inject.token, self.now)
        else:
            to, message = walk(inject)
            tag = int(message.payload[1:])
            assert self.to[tag] == to
            content = message.message_id if fate == "acked" else bytes(16)
            settled = self.settled[tag]
            event = self.sender.replied(*answer(message, content), self.now)
            if settled:
                assert event in (None, Dropped(DropReason.DUPLICATE))
            elif fate == "forged":
                assert event == Dropped(DropReason.BAD_BODY)
            else:
                self.take([event])
                assert self.settled[tag] == 1

    @precondition(lambda self: len(self.directory.living) > 2)
    @rule(data=st.data())
    def death(self, data):
        peer = data.draw(st.sampled_from(self.directory.living))
        self.directory.living = [p for p in self.directory.living if p != peer]
        events = self.sender.peer_died(peer, self.now)
        assert all(event.reason is DropReason.PEER_DEAD for event in events)
        self.take(events)

    @rule(below=st.integers(0, 40))
    def cancel(self, below):
        events = self.sender.cancel(lambda _to, tag: tag < below)
        assert all(event.reason is DropReason.CANCELLED for event in events)
        self.take(events)
        assert all(self.settled[tag] == 1 for tag in range(min(below, self.tags)))

    @invariant()
    def once_and_bounded(self):
        assert set(self.settled.values()) <= {1}
        assert self.sender.in_flight <= max(self.config.max_in_flight, self.under_way)
        open_now = self.sender.in_flight + self.sender.queued
        assert open_now + len(self.settled) == self.tags

    def teardown(self):
        """When the network answers nothing any more, everything ends: acknowledged or given up."""
        self.directory.living = list(PEERS)
        for _ in range(400):
            if len(self.settled) == self.tags:
                break
            before = len(self.injected)
            self.take(self.sender.work(self.now))
            for inject in self.injected[before:]:
                self.sender.departed(inject.token, self.now)
            # What was injected earlier and never left: the strategy always tells in the end.
            for inject in self.injected[:before]:
                self.sender.departed(inject.token, self.now)
            deadline = self.sender.next_deadline(self.now)
            assert deadline is not None or len(self.settled) == self.tags
            self.now = max(self.now, deadline or 0.0)
        assert len(self.settled) == self.tags
        assert self.sender.in_flight == self.sender.queued == 0


TestArq = Arq.TestCase
TestArq.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_a_message_on_its_way_is_not_queued_a_second_time():
    rng = random.Random(5)
    sender = Sender(ME, GEOMETRY, CONFIG, MIXING, PathSelector(Directory(), rng), rng)
    for _ in range(3):
        assert sender.send(PEERS[0], b"x", 1, bytes(16)) is None
    assert sender.queued == 1
    sender.work(0.0)
    assert sender.send(PEERS[0], b"x", 1, bytes(16)) is None
    assert (sender.queued, sender.in_flight) == (0, 1)
    assert sender.cancel(lambda _to, _tag: True) == [GaveUp(1, DropReason.CANCELLED)]
    assert sender.send(PEERS[0], b"x", 1, bytes(16)) is None  # settled: it may go again
    assert sender.queued == 1
    assert sender.cancel(lambda _to, _tag: True) == [GaveUp(1, DropReason.CANCELLED)]
    assert sender.send(PEERS[0], b"x", 1, bytes(16)) is None
    assert sender.queued == 1
