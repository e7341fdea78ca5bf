"""Sender shaping: attempts are opened by sending slots alone, one at a time, resends too."""

from __future__ import annotations

import random

import msgspec
import pytest

from peerd.config import DeliveryConfig, MixingConfig
from peerd.delivery import Delivery, GaveUp, Inject, PathSelector
from peerd.delivery.sender import NO_PATH_RETRY_SECONDS, WRAPS_PER_TURN, Sender
from peerd.sphinx import Geometry, MixKey
from peerd.types import DropReason, PacketKind, PeerId

GEOMETRY = Geometry(max_hops=2, body_bytes=600)
SHAPED = MixingConfig(hops=1, mean_delay_seconds=0.01, send_rate_per_second=5.0)
CONFIG = DeliveryConfig(max_in_flight=4, max_attempts=3)
ME = PeerId(bytes(16))
PEERS = [PeerId(bytes([n]) * 16) for n in range(1, 5)]
KEYS = {peer: MixKey.generate() for peer in (ME, *PEERS)}


class Directory:
    def __init__(self) -> None:
        self.living = list(PEERS)

    def alive(self):
        return self.living

    def enrolled(self, peer):
        return peer in PEERS

    def mix_key(self, peer):
        return KEYS[peer].public


@pytest.fixture
def directory() -> Directory:
    return Directory()


def make(directory: Directory, mixing: MixingConfig = SHAPED, config: DeliveryConfig = CONFIG) -> Sender:
    rng = random.Random(5)
    return Sender(ME, GEOMETRY, config, mixing, PathSelector(directory, rng), rng)


@pytest.fixture
def sender(directory: Directory) -> Sender:
    return make(directory)


def test_work_opens_nothing_while_sending_is_shaped(sender) -> None:
    for tag in range(3):
        sender.send(PEERS[0], b"x", tag)
    assert [sender.work(now) for now in (0.0, 1.0, 100.0)] == [[], [], []]
    assert (sender.queued, sender.in_flight) == (3, 0)


@pytest.mark.parametrize("mixing", [
    msgspec.structs.replace(SHAPED, send_rate_per_second=0.0),
    msgspec.structs.replace(SHAPED, direct=True),
])  # fmt: skip
def test_without_shaping_or_in_direct_mode_it_opens_as_many_as_a_turn_allows(directory, mixing) -> None:
    sender = make(directory, mixing, msgspec.structs.replace(CONFIG, max_in_flight=100))
    for tag in range(WRAPS_PER_TURN + 2):
        sender.send(PEERS[0], b"x", tag)
    assert sender.next_deadline(1.0) == 1.0
    assert len(sender.work(1.0)) == WRAPS_PER_TURN
    assert len(sender.work(1.0)) == 2


def test_a_slot_takes_one_message(sender) -> None:
    assert sender.next_attempt(0.0) is None
    for tag in range(2):
        sender.send(PEERS[0], b"x", tag)
    first = sender.next_attempt(1.0)
    assert isinstance(first, Inject)
    assert (first.kind, first.resend) == (PacketKind.OWN, False)
    assert (sender.queued, sender.in_flight) == (1, 1)
    assert sender.next_attempt(1.1) is not None
    assert sender.next_attempt(1.2) is None


def test_the_window_is_kept_to(sender) -> None:
    for tag in range(10):
        sender.send(PEERS[0], b"x", tag)
    opened = [sender.next_attempt(0.0) for _ in range(10)]
    assert [attempt is not None for attempt in opened] == [True] * 4 + [False] * 6


def test_a_resend_takes_a_slot_too_and_goes_before_new_messages(sender) -> None:
    sender.send(PEERS[0], b"x", 1)
    first = sender.next_attempt(0.0)
    sender.departed(first.token, 0.0)
    deadline = sender.next_deadline(0.0)
    assert deadline > 0.0
    sender.send(PEERS[0], b"y", 2)
    assert sender.next_deadline(0.0) == deadline, "what waits for a slot is nothing to wake up for"
    assert sender.work(deadline) == []
    again = sender.next_attempt(deadline + 0.3)
    assert again.resend
    assert again.packet != first.packet
    new = sender.next_attempt(deadline + 0.6)
    assert not new.resend


def test_attempts_run_out_though_slots_are_rare(sender) -> None:
    sender.send(PEERS[0], b"x", 1)
    now = 0.0
    for _ in range(CONFIG.max_attempts):
        now += 7.0
        sender.departed(sender.next_attempt(now).token, now)
        now = sender.next_deadline(now)
        events = sender.work(now)
    assert events == [GaveUp(1, DropReason.GAVE_UP)]
    assert sender.next_deadline(now) is None


def test_the_deadline_never_spins(sender, directory) -> None:
    """Whatever waits: `work` has nothing to do about it, so the deadline is a timer's or none."""
    for tag in range(20):
        sender.send(PEERS[tag % 4], b"x", tag)
        assert sender.next_deadline(0.0) is None
    now = 0.0
    for _ in range(30):
        now += 0.2
        attempt = sender.next_attempt(now)
        if attempt is not None:
            sender.departed(attempt.token, now)
        sender.work(now)
        deadline = sender.next_deadline(now)
        assert deadline is None or deadline > now
    directory.living = []
    sender.lost(attempt.token, now) if attempt else None
    for _ in range(30):
        now += 0.2
        sender.work(now)
        sender.next_attempt(now)
        deadline = sender.next_deadline(now)
        assert deadline is None or deadline > now


def test_without_a_path_a_message_waits_and_is_not_lost(sender, directory) -> None:
    sender.send(PEERS[0], b"x", 1)
    directory.living = [PEERS[0]]
    assert sender.next_attempt(0.0) is None
    directory.living = list(PEERS)
    assert sender.next_attempt(NO_PATH_RETRY_SECONDS / 2) is None, "it does not try at every slot"
    assert sender.next_attempt(NO_PATH_RETRY_SECONDS) is not None
    assert sender.in_flight == 1


def test_shaping_can_be_switched_while_messages_wait(sender) -> None:
    for tag in range(3):
        sender.send(PEERS[0], b"x", tag)
    sender.next_attempt(0.0)
    sender.mixing = msgspec.structs.replace(SHAPED, send_rate_per_second=0.0)
    assert sender.next_deadline(1.0) == 1.0
    assert len(sender.work(1.0)) == 2
    sender.mixing = SHAPED
    sender.send(PEERS[0], b"x", 9)
    assert sender.work(2.0) == []
    assert sender.next_attempt(2.0) is not None


def test_direct_attempts_have_no_hops_and_no_delay(directory) -> None:
    sender = make(directory, msgspec.structs.replace(SHAPED, direct=True))
    sender.send(PEERS[2], b"x", 1)
    (inject,) = sender.work(0.0)
    assert (inject.first_hop, inject.delay) == (PEERS[2], 0.0)


def test_delivery_gives_an_own_message_for_a_slot_and_none_where_there_is_none(directory) -> None:
    delivery = Delivery(ME, GEOMETRY, CONFIG, SHAPED, directory, random.Random(1))
    assert delivery.next_own(0.0) is None
    delivery.send(PEERS[0], b"x", 1)
    assert delivery.work(0.0) == []
    own = delivery.next_own(0.0)
    assert own.kind is PacketKind.OWN
    delivery.departed(own.token, 0.0)
    assert (delivery.queued, delivery.in_flight) == (0, 1)
