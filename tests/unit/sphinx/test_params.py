from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sphinxmix import SphinxException

from peerd.sphinx.params import Params, lioness_decrypt, lioness_encrypt

keys = st.binary(min_size=16, max_size=16)
bodies = st.binary(min_size=32, max_size=3000)


@given(keys, st.binary(max_size=500), keys)
def test_primitives_give_the_bytes_of_petlib_s(stock_params, key, data, iv):
    ours, stock = Params(208, 1024), stock_params(208, 1024)
    assert ours.aes_ctr(key, data, iv) == stock.aes_ctr(key, data, iv)
    assert ours.xor_rho(key, data) == stock.xor_rho(key, data)
    assert ours.mu(key, data) == stock.mu(key, data)
    assert ours.derive_key(key, iv) == stock.derive_key(key, iv)


@given(keys, bodies)
def test_lioness_gives_the_bytes_of_petlib_s_and_inverts(stock_params, key, body):
    ours, stock = Params(208, len(body)), stock_params(208, len(body))
    sealed = stock.pi(key, body)
    assert ours.pi(key, body) == sealed
    assert ours.pii(key, sealed) == stock.pii(key, sealed) == body
    assert ours.pii(key, body) == stock.pii(key, body)
    assert b"".join(lioness_encrypt(key, body[:16], body[16:])) == sealed
    assert b"".join(lioness_decrypt(key, sealed[:16], sealed[16:])) == body


@given(st.binary(min_size=32, max_size=32))
def test_one_call_gives_the_keys_of_five(stock_params, shared):
    ours, stock = Params(208, 1024), stock_params(208, 1024)
    secret = stock.get_aes_key(shared)
    derived = ours.hop_keys(shared)
    assert (derived.rho, derived.mu, derived.tau, derived.pi) == tuple(
        getattr(stock, name)(secret) for name in ("hrho", "hmu", "htau", "hpi")
    )
    assert ours.group.makeexp(derived.blind) == stock.hb(secret) == ours.hb(secret)


@pytest.mark.parametrize("size", [0, 31, 1023, 1025])
def test_a_body_of_a_wrong_size_is_refused_without_asserts(size):
    params = Params(208, 1024)
    for operation in (params.pi, params.pii):
        with pytest.raises(SphinxException):
            operation(bytes(16), bytes(size))
    if size < 32:
        for operation in (params.lioness_enc, params.lioness_dec):
            with pytest.raises(SphinxException):
                operation(bytes(16), bytes(size))


def test_a_flavour_of_a_wrong_size_is_refused():
    with pytest.raises(SphinxException):
        Params(208, 1024).derive_key(bytes(16), bytes(15))
