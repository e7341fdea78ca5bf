from __future__ import annotations

import random
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from peerd.config import NetworkConfig
from peerd.enrolment.redeemer import Redeemer
from peerd.enrolment.tokens import Tokens
from peerd.membership import Authority, PeerState
from peerd.membership.roster import Refused, Roster
from peerd.membership.trust import Trust


@dataclass
class Clock:
    now: float

    def __call__(self) -> float:
        return self.now


@dataclass
class Delegate:
    """A peer that may sign in others, and what it knows."""

    state: PeerState
    roster: Roster
    tokens: Tokens
    redeemer: Redeemer
    wall: Clock

    def hear(self, *records: bytes) -> None:
        for record in records:
            outcome = self.roster.offer(record, self.wall())
            assert not isinstance(outcome, Refused), outcome


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.create(tmp_path / "net", NetworkConfig(name="lab", body_bytes=4096))


@pytest.fixture
def peer(authority: Authority, tmp_path: Path):
    """A peer that the authority has enrolled, with its roster; no delegate yet."""

    def make(name: str) -> Delegate:
        authority.enroll_local(name, f"{name}:1", tmp_path / name).install(tmp_path / name)
        state = PeerState.load(tmp_path / name)
        roster = Roster("lab", Trust("lab", state.authorities), 10_000, state.peer_id)
        tokens, clock = Tokens(random.Random(1).randbytes), Clock(time.time())
        made = Delegate(state, roster, tokens, Redeemer(state, roster, tokens, clock), clock)
        made.hear(*state.records)
        return made

    return make


@pytest.fixture
def delegate(authority: Authority, peer) -> Delegate:
    made = peer("dele")
    made.hear(authority.delegate("dele")[0])
    return made
