"""The authority of a simulated network: what it signs is good anywhere, and has the same bytes each time."""

from __future__ import annotations

import random

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from peerd.membership import Member, Roster, RunNotice, Trust, certificate_record, descriptor_record
from peerd.membership.descriptor import sign_descriptor
from peerd.membership.verify import Verifier
from peerd.sim.authority import SimAuthority, draw_key
from peerd.sim.verifier import SharedVerifier
from peerd.types import RunSpec

WALL = 1e6
SPEC = RunSpec(run_id=32 * "7", task="digits-cnn")
ALICE = sign_descriptor(Ed25519PrivateKey.from_private_bytes(32 * b"a"), "alice", ("192.0.2.1:9101",))


class Made:
    def __init__(self, seed: int) -> None:
        rng = random.Random(seed)
        self.authority = SimAuthority("sim", rng, WALL)
        self.certificate = certificate_record(self.authority.enroll(ALICE, draw_key(rng)))
        self.revocation = self.authority.revoke(ALICE.peer_id, "alice", WALL)
        self.run = self.authority.announce(SPEC, WALL, 10.0)
        self.trust = Trust("sim", [self.authority.certificate])

    def roster(self) -> Roster:
        return Roster("sim", self.trust, 10, ALICE.peer_id)


@pytest.fixture(scope="module")
def made() -> Made:
    return Made(1)


def test_all_of_it_is_good_to_a_real_verifier(made):
    roster = made.roster()
    assert isinstance(roster.offer(made.certificate, WALL).body, Member)
    assert roster.offer(descriptor_record(ALICE), WALL).body == ALICE
    assert isinstance(roster.offer(made.run, WALL).body, RunNotice)
    assert roster.offer(made.revocation, WALL) is not None
    assert roster.is_revoked(ALICE.peer_id)


def test_the_same_seed_signs_the_same_bytes(made):
    again, other = Made(1), Made(2)
    for name in ("certificate", "revocation", "run"):
        assert getattr(again, name) == getattr(made, name) != getattr(other, name)


def verified(made, verifier, *records):
    roster = made.roster()
    roster.verifier = verifier
    return [roster.offer(record, WALL) for record in records]


def test_what_one_has_verified_is_verified_for_all(made):
    verdicts = {}
    records = (made.certificate, descriptor_record(ALICE), made.run, made.revocation)
    first, second = (SharedVerifier(made.trust, verdicts) for _ in range(2))
    assert verified(made, first, *records) == verified(made, second, *records)
    assert (first.signatures > 0, second.signatures) == (True, 0)
    assert verified(made, Verifier(made.trust), *records) == verified(made, second, *records)


def test_but_only_where_the_same_ca_is_trusted_and_only_what_is_good(made):
    verdicts = {}
    verified(made, SharedVerifier(made.trust, verdicts), made.certificate)
    stranger = SharedVerifier(Made(2).trust, verdicts)
    (refused,) = verified(made, stranger, made.certificate)
    assert refused.hostile
    verified(made, stranger, made.certificate)
    assert stranger.signatures == 2  # looked at again
