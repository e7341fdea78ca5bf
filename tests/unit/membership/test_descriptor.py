from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from peerd.errors import InvalidInputError
from peerd.membership import Descriptor, decode_descriptor
from peerd.membership.descriptor import DOMAIN, MAX_BYTES, sign_descriptor
from peerd.pb import gossip_pb2

KEY = Ed25519PrivateKey.from_private_bytes(b"i" * 32)
MIX = bytes([9]) + bytes(31)
NEXT = bytes([5]) + bytes(31)
KEYS = ((3, MIX), (4, NEXT))
GOOD = sign_descriptor(KEY, "alice", ("192.0.2.1:9101",), KEYS, version=7)


def keys(*pairs: tuple[int, bytes]) -> list[gossip_pb2.MixKey]:
    return [gossip_pb2.MixKey(epoch=epoch, key=key) for epoch, key in pairs]


def signed(domain: bytes = DOMAIN, **changes) -> bytes:
    """A descriptor with a valid signature, whatever is in it."""
    fields = {
        "identity_key": KEY.public_key().public_bytes_raw(),
        "name": "alice",
        "addresses": ["192.0.2.1:9101"],
        "mix_keys": keys(*KEYS),
        "version": 7,
    }
    body = gossip_pb2.Descriptor(**(fields | changes)).SerializeToString(deterministic=True)
    signature = KEY.sign(domain + body)
    message = gossip_pb2.SignedDescriptor(descriptor=body, signature=signature)
    return message.SerializeToString(deterministic=True)


def test_it_comes_back_with_every_field():
    assert decode_descriptor(GOOD.signed) == GOOD
    assert (GOOD.name, GOOD.address, GOOD.mix_keys) == ("alice", "192.0.2.1:9101", KEYS)
    assert GOOD.version == 7
    assert signed() == GOOD.signed  # deterministic


@given(st.integers(0, len(GOOD.signed) * 8 - 1))
def test_every_bit_flip_is_refused(bit):
    data = bytearray(GOOD.signed)
    data[bit // 8] ^= 1 << (bit % 8)
    assert decode_descriptor(bytes(data)) is None


@given(st.integers(0, len(GOOD.signed) - 1))
def test_every_truncation_is_refused(length):
    assert decode_descriptor(GOOD.signed[:length]) is None


@given(st.binary(max_size=300))
def test_no_bytes_crash_the_parser(data):
    assert decode_descriptor(data) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"name": ""},
        {"name": "Alice"},
        {"name": "a" * 32},
        {"name": "a\n"},
        {"addresses": []},
        {"addresses": ["192.0.2.1:9101"] * 9},
        {"addresses": ["nonsense"]},
        {"addresses": ["192.0.2.1:0"]},
        {"addresses": ["192.0.2.1:" + "9" * 3000]},
        {"mix_keys": keys((3, b""))},
        {"mix_keys": keys((3, bytes(32)))},
        {"mix_keys": keys((3, bytes([1]) + bytes(31)))},
        {"mix_keys": keys((3, MIX + b"x"))},
        {"mix_keys": keys((3, MIX), (4, bytes(32)))},
        {"mix_keys": keys((3, MIX), (3, NEXT))},
        {"mix_keys": keys((4, MIX), (3, NEXT))},
        {"mix_keys": keys((3, MIX), (5, NEXT))},
        {"mix_keys": keys((3, MIX), (4, NEXT), (5, MIX))},
        {"identity_key": b"short"},
        {"addresses": ["a" * MAX_BYTES + ":1"]},
        {"run": b"short"},
        {"run": bytes(17)},
        {"software": "a" * 33},
        {"software": "0.4 beta"},
        {"software": "0.4\n"},
        {"software": "\u00e9"},
    ],
    ids=str,
)
def test_well_signed_nonsense_is_refused(changes):
    assert decode_descriptor(signed(**changes)) is None


def test_a_signature_for_another_purpose_is_refused():
    assert decode_descriptor(signed(domain=b"peerd bundle v1\0")) is None
    assert decode_descriptor(signed(domain=b"")) is None


def test_another_peers_signature_is_refused():
    other = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    assert decode_descriptor(signed(identity_key=other)) is None


def test_signing_checks_what_it_signs():
    with pytest.raises(InvalidInputError):
        sign_descriptor(KEY, "NOT A NAME", ("192.0.2.1:9101",), KEYS)


@given(
    st.from_regex(r"\A[a-z0-9][a-z0-9-]{0,30}\Z"),
    st.lists(st.integers(1, 65535).map(lambda p: f"host:{p}"), min_size=1, max_size=8),
    st.integers(0, 2**64 - 2),
    st.integers(0, 2),
    st.integers(0, 2**64 - 1),
)
def test_all_allowed_descriptors_come_back(name, addresses, epoch, known, version):
    mix_keys = ((epoch, MIX), (epoch + 1, NEXT))[:known]
    made = sign_descriptor(KEY, name, tuple(addresses), mix_keys, version)
    assert isinstance(made, Descriptor)
    assert decode_descriptor(made.signed) == made
    assert made.mix_keys == mix_keys


@pytest.mark.parametrize(
    ("epoch", "key"),
    [(0, MIX), (2, MIX), (3, MIX), (4, NEXT), (5, None), (2**64, None)],
)
def test_the_key_for_an_epoch(epoch, key):
    """The clock of a peer may be ahead of ours: it then has no key of our epoch, and its first will do."""
    assert GOOD.key_for(epoch) == key


def test_without_keys_there_is_none_for_any_epoch():
    enrolled = sign_descriptor(KEY, "alice", ("192.0.2.1:9101",))
    assert enrolled.mix_keys == ()
    assert enrolled.key_for(0) is None
    assert decode_descriptor(enrolled.signed) == enrolled


def test_what_it_is_about_to_do():
    said = {
        "leaving": True,
        "run": b"r" * 16,
        "contributes_from": 7,
        "model": b"m" * 8,
        "instance": 2**64 - 1,
        "started_at": 1_700_000_000.25,
        "software": "0.4.0.dev1+g123",
    }
    made = sign_descriptor(KEY, "alice", ("192.0.2.1:9101",), KEYS, 7, **said)
    assert decode_descriptor(made.signed) == made
    assert {name: getattr(made, name) for name in said} == said


@pytest.mark.parametrize("model", [b"m", b"m" * 7, b"m" * 9, b"m" * 32])
def test_the_hash_of_a_model_has_one_length(model):
    with pytest.raises(InvalidInputError):
        sign_descriptor(KEY, "alice", ("192.0.2.1:9101",), KEYS, model=model)
    assert decode_descriptor(signed(model=model)) is None


def test_who_does_not_say_takes_part_in_nothing():
    assert (GOOD.leaving, GOOD.run, GOOD.contributes_from) == (False, b"", 0)
    assert (GOOD.instance, GOOD.started_at, GOOD.software) == (0, 0.0, "")


def test_a_later_version_may_say_more():
    """Fields that we do not know are in the signed bytes, and travel on."""
    body = gossip_pb2.SignedDescriptor.FromString(GOOD.signed).descriptor + b"\xf8\x07\x01"
    message = gossip_pb2.SignedDescriptor(descriptor=body, signature=KEY.sign(DOMAIN + body))
    later = decode_descriptor(message.SerializeToString())
    assert later is not None
    assert (later.name, later.version) == ("alice", 7)
    assert body in later.signed


def test_numbers_that_do_not_fit_the_wire_are_no_silent_change():
    for mix_keys, version in ((((-1, MIX),), 1), (((2**64, MIX),), 1), ((), -1), ((), 2**64)):
        with pytest.raises((InvalidInputError, ValueError)):
            sign_descriptor(KEY, "alice", ("192.0.2.1:9101",), mix_keys, version)
