"""The ledger finds every breach of what it watches over."""

from __future__ import annotations

import numpy as np
import pytest

from peerd.learning import decode_payload, encode_fragment
from peerd.sim import Ledger
from peerd.types import DropReason, PeerId

ALICE, BOB = PeerId(16 * b"a"), PeerId(16 * b"b")
RUN = 7


def payload(number=1, index=0, value=1.0):
    return encode_fragment(RUN, number, index, np.full(3, value, np.float32))


@pytest.fixture
def ledger():
    return Ledger()


def average(ledger, sent, collection=1, run=RUN):
    ledger.averages(collection, run, sent, decode_payload(sent))


def test_a_message_from_its_beginning_to_its_end(ledger):
    first, second = (ledger.sends(0, ALICE, BOB, payload(index=index)) for index in (0, 1))
    assert ledger.open(0) == 2
    ledger.delivers(BOB, payload())
    average(ledger, payload())
    ledger.settles(first, None)
    ledger.settles(second, DropReason.PEER_DEAD)
    assert (ledger.open(0), ledger.faults) == (0, [])
    assert ledger.outcomes == {"acked": 1, "peer_dead": 1}
    ((place, values),) = ledger.averaged(1).items()
    assert (place.sender, place.round, place.index) == (ALICE, 1, 0)
    assert np.frombuffer(values, "<f4").tolist() == [1.0, 1.0, 1.0]


def test_what_is_on_its_way_is_one_message(ledger):
    assert ledger.sends(0, ALICE, BOB, payload()) == ledger.sends(0, ALICE, BOB, payload())
    assert ledger.sends(0, ALICE, BOB, payload()) != ledger.sends(1, ALICE, BOB, payload(value=2.0))
    assert (ledger.open(0), ledger.open(1)) == (1, 1)


def test_settled_twice(ledger):
    number = ledger.sends(0, ALICE, BOB, payload())
    ledger.settles(number, DropReason.CANCELLED)
    ledger.settles(number, DropReason.CANCELLED)
    assert len(ledger.faults) == 1


def test_acknowledged_and_not_delivered(ledger):
    number = ledger.sends(0, ALICE, BOB, payload())
    ledger.delivers(ALICE, payload())
    ledger.settles(number, None)
    assert len(ledger.faults) == 1


def test_delivered_and_not_sent(ledger):
    ledger.delivers(BOB, payload())
    assert len(ledger.faults) == 1


def test_averaged_twice_also_with_other_values(ledger):
    """After a restart a peer may have learned something else in the same round."""
    ledger.sends(0, ALICE, BOB, payload())
    ledger.sends(1, ALICE, BOB, payload(value=2.0))
    average(ledger, payload())
    average(ledger, payload(), collection=2)
    assert ledger.faults == []
    average(ledger, payload(value=2.0))
    assert len(ledger.faults) == 1


def test_averaged_in_another_run(ledger):
    ledger.sends(0, ALICE, BOB, payload())
    average(ledger, payload(), run=8)
    assert len(ledger.faults) == 1


def test_averaged_in_another_round(ledger):
    ledger.sends(0, ALICE, BOB, payload())
    ledger.averages(1, RUN, payload(), decode_payload(payload(number=2)))
    assert len(ledger.faults) == 1


def test_slices_of_models_are_kept_apart(ledger):
    """Everybody has the same ones: several copies are no fault."""
    sent = encode_fragment(RUN, 2, 1, np.full(3, 5.0, np.float32), of_model=True)
    ledger.sends(0, ALICE, BOB, sent)
    ledger.sends(1, BOB, ALICE, sent)
    average(ledger, sent)
    average(ledger, sent)
    (copies,) = ledger.slices(1, 2).values()
    assert [np.frombuffer(data, "<f4").tolist() for data in copies] == [[5.0] * 3] * 2
    assert (ledger.slices(1, 3), ledger.slices(2, 2), ledger.averaged(1), ledger.faults) == ({}, {}, {}, [])
