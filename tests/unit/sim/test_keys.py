"""What a simulated peer keeps of its mix keys through epochs and restarts."""

from __future__ import annotations

import random

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from peerd.membership import About
from peerd.sim.keys import SimKeys
from peerd.sphinx import Epochs

T0 = 1_000_000.0


@pytest.fixture
def keys():
    identity = Ed25519PrivateKey.from_private_bytes(32 * b"a")
    made = SimKeys(identity, "alice", "192.0.2.1:9101", Epochs(100.0, 20.0), random.Random(1))
    made.start(T0 + 50.0, About(instance=1), 0)
    return made


def epochs(keys):
    return sorted(key.epoch for key in keys.keyring)


def test_the_keys_of_an_epoch_and_the_next(keys):
    assert epochs(keys) == [10_000, 10_001]
    assert keys.descriptor.version > T0
    assert keys.next_change(T0 + 50.0) == T0 + 80.0
    before = keys.descriptor
    assert not keys.update(T0 + 80.0)
    assert keys.keyring.accepted == (10_000, 10_001)
    assert keys.update(T0 + 100.0)
    assert epochs(keys) == [10_000, 10_001, 10_002]
    assert keys.descriptor.version == before.version + 1
    assert keys.descriptor.mix_keys[0] == before.mix_keys[1]
    keys.update(T0 + 120.0)
    assert epochs(keys) == [10_001, 10_002]


def test_what_it_says_of_itself(keys):
    before = keys.descriptor.version
    about = About(instance=1, leaving=True)
    assert keys.say(about)
    assert keys.descriptor.leaving
    assert not keys.say(about)
    keys.outbid(before + 50)
    assert keys.descriptor.version == before + 51


def test_a_restart_keeps_keys_and_goes_on_with_versions(keys):
    before, publics = keys.descriptor.version, keys.descriptor.mix_keys
    keys.start(T0 - 1000.0, About(instance=2), before + 7)
    assert keys.descriptor.version == before + 8
    keys.start(T0 + 50.0, About(instance=3), 0)
    assert keys.descriptor.mix_keys != publics  # the clock had been set back, and they were destroyed
    assert keys.descriptor.instance == 3


def test_a_copy_shares_keys_and_nothing_else(keys):
    copy = keys.copy("192.0.2.2:9101", random.Random(2))
    copy.start(T0 + 50.0, About(instance=2), 0)
    assert copy.descriptor.mix_keys == keys.descriptor.mix_keys
    assert copy.descriptor.peer_id == keys.descriptor.peer_id
    assert copy.descriptor.address == "192.0.2.2:9101"
    keys.keyring[10_000].replay.check_and_add(b"tag")
    assert copy.keyring[10_000].replay.check_and_add(b"tag") is None
