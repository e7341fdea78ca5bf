"""The generic core against stock sphinxmix, and against an independent implementation's packets."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from petlib.bn import Bn
from petlib.ec import POINT_CONVERSION_COMPRESSED, EcPt
from sphinxmix import SphinxClient, SphinxException
from sphinxmix.SphinxNode import sphinx_process
from sphinxmix.SphinxParams import Group_ECC

from peerd.sphinx.core import create_header, process
from peerd.sphinx.group import X25519
from peerd.sphinx.params import Params

VECTORS = Path(__file__).parents[2] / "vectors" / "sphinxmix_p256.json"
P256 = 415


class GroupP256(Group_ECC):
    """sphinxmix's, without its fault of taking the point at infinity."""

    def __init__(self) -> None:
        super().__init__(P256)

    def in_group(self, alpha):
        return super().in_group(alpha) and not alpha.is_infinite()

    def decode(self, data: str) -> EcPt:
        return EcPt.from_binary(bytes.fromhex(data), self.G)


def load_vectors():
    return json.loads(VECTORS.read_text())["vectors"]


@st.composite
def routes(draw):
    """Commands of any length for any number of hops, and spare room in the header."""
    commands = draw(st.lists(st.binary(max_size=127), max_size=7))
    final = draw(st.binary(max_size=127))
    spare = draw(st.integers(0, 100))
    needed = sum(len(command) + 17 for command in commands) + len(final) + 1
    return commands, final, max(needed + spare, 1)


def secrets_and_points(group, count, rng):
    if isinstance(group, X25519):
        secrets = [rng.randbytes(32) for _ in range(count)]
    else:
        secrets = [group.makeexp(rng.randbytes(32)) for _ in range(count)]
    return secrets, [group.expon_base([secret]) for secret in secrets]


@settings(max_examples=60, deadline=None)
@example(([bytes(127)] * 3, bytes(127), 700), 1024, 0, False)
@example(([b""] * 7, b"", 7 * 17 + 1), 32, 0, True)
@given(routes(), st.integers(32, 4096), st.integers(0, 2**32), st.booleans())
def test_every_hop_gives_what_stock_sphinxmix_gives(stock_params, route, body_bytes, seed, stock):
    """Any hop count, commands and body size; headers of both makers; stock with both parameters."""
    commands, final, beta_bytes = route
    rng = random.Random(seed)
    ours = Params(beta_bytes, body_bytes)
    theirs = stock_params(beta_bytes, body_bytes)
    secrets, points = secrets_and_points(ours.group, len(commands) + 1, rng)
    if stock:
        header, _ = SphinxClient.create_header(theirs, [b"", *commands], points, final)
    else:
        header, _ = create_header(ours, commands, points, final, rng.randbytes(32), rng.randbytes)
    delta = rng.randbytes(body_bytes)
    for secret, command in zip(secrets, [*commands, final], strict=True):
        stepped = process(ours, secret, header, delta)
        assert stepped == sphinx_process(theirs, secret, header, delta)
        assert stepped == sphinx_process(ours, secret, header, delta)
        _, routing, (header, delta), _ = stepped
        assert routing == command


@pytest.mark.parametrize("length", [128, 200, 255])
@pytest.mark.parametrize("beta_bytes", [56, 208])
def test_a_length_byte_that_no_honest_sender_writes_is_read_as_stock_reads_it(
    stock_params, beta_bytes, length
):
    """The MAC is right: the sender itself wrote it."""
    params = Params(beta_bytes, 1024)
    secret, sender = params.group.gensecret(), params.group.gensecret()
    keys = params.hop_keys(params.group.expon(params.group.expon_base([secret]), [sender]))
    beta = params.xor_rho(keys.rho, bytes([length]).ljust(beta_bytes, b"\1"))
    header = (params.group.expon_base([sender]), beta, params.mu(keys.mu, beta))
    stock = sphinx_process(stock_params(beta_bytes, 1024), secret, header, bytes(1024))
    assert process(params, secret, header, bytes(1024)) == stock


@settings(max_examples=60, deadline=None)
@given(routes(), st.integers(0, 2**32), st.sampled_from([X25519, GroupP256]))
def test_headers_are_those_of_stock_sphinxmix(route, seed, make_group):
    """The same secrets and random bytes; the P-256 group too, since the core knows no group."""
    commands, final, beta_bytes = route
    rng = random.Random(seed)
    params = Params(beta_bytes, 1024, make_group())
    _, points = secrets_and_points(params.group, len(commands) + 1, rng)
    (secret,), _ = secrets_and_points(params.group, 1, rng)
    padding = rng.randbytes(beta_bytes)
    ours, body_keys = create_header(params, commands, points, final, secret, lambda size: padding[:size])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(params.group, "gensecret", lambda: secret)
        patch.setattr(SphinxClient, "urandom", lambda size: padding[:size])
        theirs, hop_secrets = SphinxClient.create_header(params, [b"", *commands], points, final)
    assert ours == theirs
    assert body_keys == [params.hpi(hop_secret) for hop_secret in hop_secrets]


def test_vectors_are_all_there():
    vectors = load_vectors()
    assert len(vectors) == 6
    assert sum(len(vector["hops"]) for vector in vectors) >= 6
    assert {vector["openssl_nid"] for vector in vectors} == {P256}


@pytest.mark.parametrize("vector", load_vectors(), ids=lambda v: f"{len(v['hops'])}-hops")
def test_an_independent_implementation_s_packets_hop_by_hop(vector):
    group = GroupP256()
    params = Params(vector["header_len"] - 32, vector["body_len"], group)
    header = (
        group.decode(vector["alpha_compressed"]),
        bytes.fromhex(vector["beta"]),
        bytes.fromhex(vector["gamma"]),
    )
    delta = bytes.fromhex(vector["delta"])
    for hop in vector["hops"]:
        secret = Bn.from_binary(bytes.fromhex(hop["private_key"].zfill(64)))
        tag, routing, (header, delta), mac_key = process(params, secret, header, delta)
        alpha, beta, gamma = header
        assert tag.hex() == hop["replay_tag"]
        assert routing.hex() == hop["routing"]
        assert alpha.export(POINT_CONVERSION_COMPRESSED).hex() == hop["next_alpha_compressed"]
        assert (beta.hex(), gamma.hex()) == (hop["next_beta"], hop["next_gamma"])
        assert delta.hex() == hop["next_delta"]
    dest, message = SphinxClient.receive_forward(params, mac_key, delta)
    assert (bytes(dest).decode(), bytes(message).decode()) == (vector["dest"], vector["message"])


@pytest.mark.parametrize("vector", load_vectors()[:1], ids=["first"])
def test_every_flipped_bit_of_a_vector_s_header_is_refused(vector):
    group = GroupP256()
    params = Params(vector["header_len"] - 32, vector["body_len"], group)
    alpha = group.decode(vector["alpha_compressed"])
    beta, gamma = bytes.fromhex(vector["beta"]), bytes.fromhex(vector["gamma"])
    delta = bytes.fromhex(vector["delta"])
    secret = Bn.from_binary(bytes.fromhex(vector["hops"][0]["private_key"].zfill(64)))
    for bit in range(8 * (len(beta) + len(gamma))):
        flipped = bytearray(beta + gamma)
        flipped[bit // 8] ^= 1 << bit % 8
        header = (alpha, bytes(flipped[: len(beta)]), bytes(flipped[len(beta) :]))
        with pytest.raises(SphinxException, match="bad_mac"):
            process(params, secret, header, delta)


def test_the_point_at_infinity_is_refused_where_stock_takes_it():
    group = GroupP256()
    params = Params(160, 1024, group)
    infinity = group.G.infinite()
    keys = params.hop_keys(infinity)
    beta = params.xor_rho(keys.rho, b"\x01\xf1" + bytes(158))
    forged = (infinity, beta, params.mu(keys.mu, beta))
    with pytest.raises(SphinxException, match="low_order"):
        process(params, group.gensecret(), forged, bytes(1024))


@pytest.mark.parametrize(
    ("beta", "gamma", "delta"),
    [(207, 16, 1024), (209, 16, 1024), (0, 16, 1024), (208, 15, 1024), (208, 0, 1024),
     (208, 17, 1024), (208, 16, 0), (208, 16, 1023), (208, 16, 1025)],
)  # fmt: skip
def test_wrong_sizes_are_refused(beta, gamma, delta):
    params = Params(208, 1024)
    header = (params.group.expon_base([bytes(32)]), bytes(beta), bytes(gamma))
    with pytest.raises(SphinxException, match="wrong size"):
        process(params, bytes(32), header, bytes(delta))


def test_a_header_s_maker_is_told_what_does_not_fit():
    params = Params(100, 1024)
    points = [params.group.expon_base([params.group.gensecret()]) for _ in range(2)]
    draw = random.Random(0).randbytes
    with pytest.raises(ValueError, match="do not fit"):
        create_header(params, [bytes(90)], points, b"", draw(32), draw)
    with pytest.raises(ValueError, match="do not fit"):
        create_header(params, [], points, b"", draw(32), draw)
    with pytest.raises(ValueError, match="at most 127"):
        create_header(params, [bytes(128)], points, b"", draw(32), draw)
    with pytest.raises(ValueError, match="usable point"):
        create_header(params, [b""], [points[0], bytes(32)], b"", draw(32), draw)
