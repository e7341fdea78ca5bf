from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerd.enrolment import wire
from peerd.enrolment.wire import Ask, decode_answer, decode_ask, encode_ask, encode_bundle, encode_error
from peerd.errors import ConflictError, DeniedError, InvalidInputError, PeerdError, UnavailableError

TEN = st.binary(min_size=10, max_size=10)


def body(framed: bytes) -> bytes:
    assert wire.length_of(framed[:4]) == len(framed) - 4
    return framed[4:]


@given(TEN, st.binary(max_size=1000))
def test_a_request_comes_as_it_was_sent(secret, request):
    assert decode_ask(body(encode_ask(Ask(secret, request)))) == Ask(secret, request)


@given(st.binary(max_size=300))
def test_no_bytes_crash_the_request_parser(data):
    assert decode_ask(data) is None


@given(st.data())
def test_nor_does_a_request_changed_anywhere(data):
    good = bytearray(body(encode_ask(Ask(bytes(10), b"{}"))))
    good[data.draw(st.integers(0, len(good) - 1))] ^= data.draw(st.integers(1, 255))
    found = decode_ask(bytes(good))
    assert found is None or (len(found.secret) == 10 and isinstance(found.request, bytes))


@pytest.mark.parametrize("secret", [b"", bytes(9), bytes(11)])
def test_a_secret_of_another_size_is_no_request(secret):
    assert decode_ask(body(encode_ask(Ask(secret, b"")))) is None


def test_deep_nesting_is_no_request():
    assert decode_ask(b"[" * wire.MAX_REQUEST_BYTES) is None


def test_no_secret_in_a_repr():
    assert "secret" not in repr(Ask(b"secret-123", b""))


@given(st.binary(min_size=1, max_size=1000))
def test_a_bundle_comes_as_it_was_sent(bundle):
    assert decode_answer(body(encode_bundle(bundle)), "h:1") == bundle


@pytest.mark.parametrize("kind", [InvalidInputError, ConflictError, UnavailableError, DeniedError])
def test_an_error_comes_as_what_it_was(kind):
    with pytest.raises(kind, match=r"^h:1: the name is taken$") as told:
        decode_answer(body(encode_error(kind("the name is taken"))), "h:1")
    assert type(told.value) is kind


def test_a_strangers_error_cannot_steer_the_terminal():
    with pytest.raises(PeerdError) as told:
        decode_answer(body(encode_error(DeniedError("a\n\x1b[2J" + "b" * 10_000))), "h:1")
    assert str(told.value).isprintable()
    assert len(str(told.value)) < 400


@given(st.binary(max_size=300))
def test_no_bytes_crash_the_answer_parser(data):
    with pytest.raises(PeerdError, match=r"^h:1: "):
        decode_answer(data, "h:1")
