from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.bindings import crypto_scalarmult

from peerd.sphinx.group import FIELD_PRIME, LOW_ORDER, ORDER, X25519, product

GROUP = X25519()
scalars = st.binary(min_size=32, max_size=32)

# https://cr.yp.to/ecdh.html, "validate": all encodings that give a shared secret of zeros.
BLACKLIST = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "cdeb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b880",
    "4c9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f11d7",
    "d9ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "daffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "dbffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
]


def openssl(scalar: bytes, point: bytes) -> bytes:
    public = X25519PublicKey.from_public_bytes(point)
    return X25519PrivateKey.from_private_bytes(scalar).exchange(public)


@pytest.mark.parametrize("encoding", BLACKLIST)
def test_low_order_points_in_every_encoding_are_not_in_the_group(encoding):
    assert not GROUP.in_group(bytes.fromhex(encoding))


@pytest.mark.parametrize("u", sorted(LOW_ORDER))
def test_the_low_order_points_are_those_that_give_zeros(u):
    point = u.to_bytes(32, "little")
    with pytest.raises(ValueError, match="shared key"):
        openssl(GROUP.gensecret(), point)
    assert GROUP.in_group(((u + 3) % FIELD_PRIME).to_bytes(32, "little"))


@pytest.mark.parametrize("extra", range(19))
def test_encodings_that_are_not_reduced_are_not_in_the_group(extra):
    assert not GROUP.in_group((FIELD_PRIME + extra).to_bytes(32, "little"))


@given(scalars)
def test_the_top_bit_is_not_ignored(secret):
    point = bytearray(GROUP.expon_base([secret]))
    assert GROUP.in_group(bytes(point))
    point[31] |= 0x80
    assert not GROUP.in_group(bytes(point))


@given(st.binary(max_size=64).filter(lambda data: len(data) != 32))
def test_other_sizes_are_not_in_the_group_and_never_multiplied(data):
    assert not GROUP.in_group(data)
    with pytest.raises(ValueError, match="32 bytes"):
        GROUP.expon(data, [bytes(32)])
    with pytest.raises(ValueError, match="32 bytes"):
        GROUP.expon(GROUP.g, [data])
    with pytest.raises(ValueError, match="32 bytes"):
        GROUP.expon_base([data])


def test_rfc_7748_s_first_vector():
    scalar = bytes.fromhex("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4")
    point = bytes.fromhex("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c")
    result = "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552"
    assert GROUP.expon(point, [scalar]).hex() == result


@given(scalars, scalars)
def test_both_libraries_multiply_alike(secret, other):
    point = GROUP.expon_base([other])
    expected = openssl(secret, point)
    assert GROUP.expon(point, [secret]) == expected
    assert GROUP.expon(point, [X25519PrivateKey.from_private_bytes(secret)]) == expected


@settings(max_examples=200)
@given(scalars, scalars, scalars)
def test_a_product_of_scalars_multiplies_like_its_factors_in_turn(first, second, other):
    point = GROUP.expon_base([other])
    both = product(first, second)
    assert both[0] & 7 == 0
    assert both[31] & 0xC0 == 0x40, "clamped, so that no library changes it"
    in_turn = crypto_scalarmult(first, crypto_scalarmult(second, point))
    assert openssl(both, point) == crypto_scalarmult(both, point) == in_turn


@given(st.lists(scalars, min_size=1, max_size=6))
def test_exponents_compose_in_any_number(exponents):
    in_turn = GROUP.g
    for exponent in exponents:
        in_turn = crypto_scalarmult(exponent, in_turn)
    assert GROUP.expon_base(exponents) == GROUP.expon(GROUP.g, exponents) == in_turn
    loaded = X25519PrivateKey.from_private_bytes(exponents[0])
    assert GROUP.expon(GROUP.g, [loaded, *exponents[1:]]) == in_turn
    assert GROUP.expon(GROUP.g, [*exponents[1:], loaded]) == in_turn


def test_a_product_without_a_clamped_representative_is_an_error_and_never_a_wrong_key():
    first = (2**254 + 8 * 12345).to_bytes(32, "little")
    inverse = pow(int.from_bytes(first, "little"), -1, ORDER)
    found = 0
    for t in range(1, 200):
        eighth = t * inverse % ORDER  # a second factor with first * second = 8t (mod ORDER)
        if 2**251 <= eighth < 2**252:
            found += 1
            with pytest.raises(ArithmeticError):
                product(first, (8 * eighth).to_bytes(32, "little"))
    assert found > 50


def test_blinding_factors_are_not_small():
    """16 bytes of seed must not leave the logarithm in an interval of 2**128."""
    factors = [int.from_bytes(GROUP.makeexp(bytes([n]) * 16), "little") for n in range(64)]
    assert len({factor >> 128 for factor in factors}) == 64
    assert len({factor % 2**128 for factor in factors}) == 64
