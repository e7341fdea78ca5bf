"""The generic Sphinx core: one hop's work and a sender's header, whatever the group.

`process` gives what stock `sphinxmix.SphinxNode.sphinx_process` gives, and `create_header` what
`sphinxmix.SphinxClient.create_header` gives, byte for byte. They differ in what they cost:
`peel` leaves the re-blinding to those who forward, and a sender needs one base-point multiplication
for the whole header (no hop is told its alpha, each makes the next one's) and one for each hop.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from typing import Any, NamedTuple

from sphinxmix import SphinxException

from peerd.sphinx.group import RandomBytes
from peerd.sphinx.params import (
    HEADER_EXTRA_BYTES,
    KEY_BYTES,
    HopKeys,
    Params,
    lioness_decrypt,
)
from peerd.types import DropReason

Header = tuple[Any, bytes, bytes]
"""alpha (a group element), beta, gamma."""
MAX_COMMAND_BYTES = 127
"""sphinxmix packs the length as a signed byte."""


class Layer(NamedTuple):
    """A header with one layer off."""

    keys: HopKeys
    routing: bytes
    """The command to this hop."""
    beta: bytes
    """For the next hop, like gamma; noise at the last."""
    gamma: bytes


def peel(params: Params, secret: Any, alpha: Any, beta: bytes, gamma: bytes) -> Layer | DropReason:
    """Check a header and take one layer off. LOW_ORDER or BAD_MAC where it is none for us.

    The caller has checked the sizes of beta and gamma. The MAC is compared in constant time.
    """
    group = params.group
    if not group.in_group(alpha):
        return DropReason.LOW_ORDER
    keys = params.hop_keys(group.expon(alpha, (secret,)))
    if not hmac.compare_digest(gamma, params.mu(keys.mu, beta)):
        return DropReason.BAD_MAC
    plain = params.xor_rho(keys.rho, beta + params.zero_pad)
    command_end = 1 + plain[0]
    beta_start = command_end + KEY_BYTES
    return Layer(
        keys,
        plain[1:command_end],
        plain[beta_start : beta_start + len(beta)],
        plain[command_end:beta_start],
    )


def reblind(params: Params, alpha: Any, layer: Layer) -> Any:
    """The next hop's alpha."""
    group = params.group
    return group.expon(alpha, (group.makeexp(layer.keys.blind),))


def process(
    params: Params, secret: Any, header: Header, delta: bytes
) -> tuple[bytes, bytes, tuple[Header, bytes], bytes]:
    """Stock `sphinx_process`: (replay tag, routing, (next header, next body), MAC key).

    Raises SphinxException for sizes, points and MACs that are wrong, also under `python -O`.
    """
    alpha, beta, gamma = header
    if len(beta) != params.max_len - HEADER_EXTRA_BYTES or len(gamma) != KEY_BYTES:
        raise SphinxException("beta or gamma of a wrong size")
    if len(delta) != params.m:
        raise SphinxException("body of a wrong size")
    layer = peel(params, secret, alpha, beta, gamma)
    if isinstance(layer, DropReason):
        raise SphinxException(f"header refused: {layer}")
    body = b"".join(lioness_decrypt(layer.keys.pi, delta[:KEY_BYTES], delta[KEY_BYTES:]))
    next_header = (reblind(params, alpha, layer), layer.beta, layer.gamma)
    return layer.keys.tau, layer.routing, (next_header, body), layer.keys.pi


def create_header(
    params: Params,
    commands: Sequence[bytes],
    keys: Sequence[Any],
    final: bytes,
    secret: Any,
    randbytes: RandomBytes,
) -> tuple[Header, list[bytes]]:
    """A header for hops with these public keys, and the body key of every hop.

    `secret` is an exponent drawn for this header alone (`Group.gensecret`). `commands[i]` is read
    by hop i, `final` by the last one: one command fewer than keys. Space that the path does not use
    is filled with random bytes: zeros there would tell the last hop how long the path was (Kuhn,
    Beck, Strufe 2019). Raises ValueError for a key that is no group element and for commands that
    do not fit: the caller's mistakes.
    """
    beta_bytes = params.max_len - HEADER_EXTRA_BYTES
    steps = [_packed(command) for command in commands]
    last = _packed(final)
    free = beta_bytes - sum(len(step) + KEY_BYTES for step in steps) - len(last)
    if len(commands) != len(keys) - 1 or free < 0:
        raise ValueError("the commands do not fit the header or the keys")
    alpha, hops = _shared_keys(params, keys, secret)
    streams = [params.xor_rho(hop.rho, params.zero_pad) for hop in hops]

    filler = _filler(steps, streams, beta_bytes)
    beta = _xor(last + randbytes(free), streams[-1]) + filler
    gamma = params.mu(hops[-1].mu, beta)
    for step, stream, hop in zip(reversed(steps), streams[-2::-1], hops[-2::-1], strict=True):
        beta = _xor((step + gamma + beta)[:beta_bytes], stream)
        gamma = params.mu(hop.mu, beta)
    return (alpha, beta, gamma), [hop.pi for hop in hops]


def _shared_keys(params: Params, keys: Sequence[Any], secret: Any) -> tuple[Any, list[HopKeys]]:
    """The first alpha, and each hop's keys from its public key and all blinding before it."""
    group = params.group
    exponents = [secret]
    alpha = group.expon_base(exponents)
    hops = []
    for key in keys:
        if not group.in_group(key):
            raise ValueError("a mix key that is not a usable point")
        hop = params.hop_keys(group.expon(key, exponents))
        hops.append(hop)
        exponents.append(group.makeexp(hop.blind))
    return alpha, hops


def _filler(steps: list[bytes], streams: list[bytes], beta_bytes: int) -> bytes:
    """What the hops before will have shifted into beta's end (Sphinx paper, 3.2: phi)."""
    filler = b""
    start = beta_bytes
    for step, stream in zip(steps, streams, strict=False):
        plain = filler + bytes(len(step) + KEY_BYTES)
        filler = _xor(plain, stream[start:])
        start -= len(step) + KEY_BYTES
    return filler


def _packed(command: bytes) -> bytes:
    if len(command) > MAX_COMMAND_BYTES:
        raise ValueError(f"a command of {len(command)} bytes; at most {MAX_COMMAND_BYTES}")
    return bytes((len(command),)) + command


def _xor(data: bytes, stream: bytes) -> bytes:
    """`data` with as much of the longer stream; as numbers: quicker than another AES context."""
    size = len(data)
    mixed = int.from_bytes(data, "big") ^ int.from_bytes(stream[:size], "big")
    return mixed.to_bytes(size, "big")
