from __future__ import annotations

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from peerd.enrolment.tokens import (
    MAX_EXPIRES_SECONDS,
    MAX_TOKENS,
    REMEMBERED_SECONDS,
    Fault,
    Token,
    Tokens,
    parse_token,
    pin_of,
)
from peerd.errors import ConflictError, InvalidInputError
from peerd.types import PeerId

ALICE, BOB = PeerId(b"a" * 16), PeerId(b"b" * 16)
TEN = st.binary(min_size=10, max_size=10)
HOSTS = st.sampled_from(["192.0.2.1", "alice.example.org", "[2001:db8::1]", "localhost", "a-b"])


def tokens() -> Tokens:
    return Tokens(random.Random(1).randbytes)


# -- the text --------------------------------------------------------------------------------------


@given(TEN, TEN, HOSTS, st.integers(1, 65_535))
def test_a_token_survives_copying(secret, pin, host, port):
    token = Token(secret, pin, f"{host}:{port}")
    text = token.text
    assert parse_token(text) == token
    assert parse_token(f"  {text}\n") == token
    code = text.split(".")[1]
    assert parse_token(text.replace(code, code.upper())) == token
    assert set(text) <= set("abcdefghijklmnopqrstuvwxyz0123456789-.:[]")
    assert len(text) < 80


@given(st.text(max_size=500) | st.from_regex(r"peerd-join\.[a-z2-7]{30,34}\..{0,20}"))
def test_no_text_is_more_than_one_line_that_does_not_repeat_it(text):
    try:
        token = parse_token(text)
    except InvalidInputError as error:
        assert "\n" not in str(error)
        assert len(text) < 20 or text not in str(error)
    else:
        assert (len(token.secret), len(token.pin)) == (10, 10)


@pytest.mark.parametrize(
    "address", ["", "host", "host:0", "host:99999", ":1", "ho st:1", "höst:1", "h\x7f:1"]
)
def test_a_token_that_names_nobody_to_ask(address):
    with pytest.raises(InvalidInputError, match="host:port"):
        parse_token(f"peerd-join.{'a' * 32}.{address}")


def test_no_secret_in_a_repr():
    token = Token(b"secret-123", b"pin-pin-ab", "h:1")
    assert "secret" not in repr(token)
    assert token.text.split(".")[1] not in repr(token)


def test_a_pin_is_of_one_key():
    assert pin_of(b"one") != pin_of(b"other")
    assert len(pin_of(b"one")) == 10


# -- what a delegate knows of them -----------------------------------------------------------------


def test_a_token_is_good_once():
    known = tokens()
    secret = known.make("", 60.0, now=100.0)
    assert known.redeem(secret, ALICE, "alice", now=110.0) is None
    assert known.redeem(secret, BOB, "bob", now=111.0) is Fault.USED


def test_whose_answer_got_lost_may_ask_again_until_it_ends():
    known = tokens()
    secret = known.make("", 60.0, now=100.0)
    assert known.redeem(secret, ALICE, "alice", now=110.0) is None
    assert known.redeem(secret, ALICE, "alice", now=159.9) is None
    assert known.redeem(secret, ALICE, "alice", now=160.0) is Fault.EXPIRED


def test_it_ends():
    known = tokens()
    secret = known.make("", 60.0, now=100.0)
    assert known.redeem(secret, ALICE, "alice", now=160.0) is Fault.EXPIRED


def test_it_may_be_for_one_name():
    known = tokens()
    secret = known.make("alice", 60.0, now=100.0)
    assert known.redeem(secret, BOB, "bob", now=101.0) is Fault.WRONG_NAME
    assert known.redeem(secret, ALICE, "alice", now=102.0) is None


@given(st.binary(max_size=40))
def test_no_other_secret_is_taken(guess):
    known = tokens()
    secret = known.make("", 60.0, now=0.0)
    if guess != secret:
        assert known.redeem(guess, ALICE, "alice", now=1.0) is Fault.UNKNOWN
    assert known.redeem(secret, ALICE, "alice", now=1.0) is None


@pytest.mark.parametrize("seconds", [0.0, -1.0, MAX_EXPIRES_SECONDS + 1.0, float("nan"), float("inf")])
def test_how_long_it_is_good_has_bounds(seconds):
    with pytest.raises(InvalidInputError, match="at most 30 days"):
        tokens().make("", seconds, now=0.0)


def test_there_are_not_ever_more():
    known = tokens()
    for _ in range(MAX_TOKENS):
        secret = known.make("", 60.0, now=0.0)
    with pytest.raises(ConflictError, match="256 join tokens are unused"):
        known.make("", 60.0, now=1.0)
    assert known.redeem(secret, ALICE, "alice", now=2.0) is None
    known.make("", 60.0, now=3.0)


def test_no_secret_is_on_disk_and_what_is_there_comes_back():
    known = tokens()
    secret, used = known.make("alice", 60.0, now=0.0), known.make("", 60.0, now=0.0)
    assert known.redeem(used, BOB, "bob", now=1.0) is None
    data = known.dump()
    for form in (secret, secret.hex().encode(), used):
        assert form not in data
    again = tokens()
    assert again.load(data)
    assert again.redeem(used, ALICE, "alice", now=2.0) is Fault.USED
    assert again.redeem(secret, ALICE, "alice", now=2.0) is None


@given(
    st.binary(max_size=200)
    | st.lists(st.dictionaries(st.text(), st.integers())).map(json.dumps).map(str.encode)
)
def test_no_bytes_on_disk_crash(data):
    known = tokens()
    known.make("", 60.0, now=0.0)
    if not known.load(data):
        assert len(json.loads(known.dump())) == 1


class Machine(RuleBasedStateMachine):
    """Against a plain model: whatever happens, a secret redeems for one peer, and only within its time."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.draw = random.Random(7).randbytes
        self.tokens = Tokens(self.draw)
        self.model: dict[bytes, tuple[str, float]] = {}
        self.used: dict[bytes, PeerId] = {}

    @rule(seconds=st.floats(0.0, 4 * REMEMBERED_SECONDS))
    def wait(self, seconds):
        self.now += seconds

    @rule(name=st.sampled_from(["", "alice", "bob"]), seconds=st.floats(1.0, 100.0))
    def make(self, name, seconds):
        secret = self.tokens.make(name, seconds, self.now)
        assert secret not in self.model
        self.model[secret] = (name, self.now + seconds)

    @rule()
    def restart(self):
        data = self.tokens.dump()
        self.tokens = Tokens(self.draw)
        assert self.tokens.load(data)

    @precondition(lambda self: self.model)
    @rule(data=st.data(), peer=st.sampled_from([(ALICE, "alice"), (BOB, "bob")]))
    def redeem(self, data, peer):
        secret = data.draw(st.sampled_from(sorted(self.model)))
        name, expires = self.model[secret]
        good = self.now < expires and name in ("", peer[1]) and self.used.get(secret, peer[0]) == peer[0]
        assert (self.tokens.redeem(secret, *peer, self.now) is None) == good
        if good:
            self.used[secret] = peer[0]

    @invariant()
    def is_bounded(self):
        assert len(json.loads(self.tokens.dump())) <= 2 * MAX_TOKENS + 1


test_tokens_by_a_model = Machine.TestCase
