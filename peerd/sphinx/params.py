"""sphinxmix's parameters with X25519 and OpenSSL's primitives: the format, and its one definition.

`Params` may be handed to stock sphinxmix (`sphinx_process`, `create_header`, ...) and gives the
same bytes as sphinxmix's own primitives, only sooner:

- AES in counter mode over a block of zeros, with the flavour as its start, is AES of the flavour:
  the five keys of a hop are one ECB call;
- all four rounds of LIONESS use one AES key: one cipher context, its counter set anew;
- what stock sphinxmix asserts about sizes is raised here, since `python -O` removes asserts.
"""

from __future__ import annotations

import hmac
from hashlib import sha256
from typing import NamedTuple

from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR, ECB
from sphinxmix import SphinxException
from sphinxmix.SphinxParams import SphinxParams

from peerd.sphinx.group import X25519, Group

KEY_BYTES = 16
"""sphinxmix's k: keys, MACs, replay tags and SURB ids."""
HEADER_EXTRA_BYTES = 32
"""What sphinxmix's `header_len` counts beside beta."""

_ZERO_COUNTER = CTR(bytes(16))
_ECB = ECB()  # noqa: S305  one block each of five distinct constants: a PRF, not a cipher
_FLAVOURS = b"hrhohrhohrhohrhohmu:hmu:hmu:hmu:htauhtauhtauhtauhbhbhbhbhbhbhbhbhpi:hpi:hpi:hpi:"


class HopKeys(NamedTuple):
    """What one hop's shared secret gives: 16 bytes each."""

    rho: bytes
    """Keystream of the header."""
    mu: bytes
    """MAC of the header."""
    tau: bytes
    """Replay tag."""
    blind: bytes
    """Seed of the blinding factor, for `Group.makeexp`."""
    pi: bytes
    """LIONESS key of the body, and at the last hop the key of its MAC."""


class Params(SphinxParams):  # type: ignore[misc]  # sphinxmix is untyped
    """Parameters for stock sphinxmix and for `core`. Sizes in bytes; no associated data."""

    group: Group
    k: int
    m: int
    max_len: int
    zero_pad: bytes

    def __init__(self, beta_bytes: int, body_bytes: int, group: Group | None = None) -> None:
        super().__init__(
            group=group or X25519(),
            header_len=beta_bytes + HEADER_EXTRA_BYTES,
            body_len=body_bytes,
            k=KEY_BYTES,
        )

    def hop_keys(self, shared: object) -> HopKeys:
        """All keys of a hop from the shared group element."""
        material = Cipher(AES(self.get_aes_key(shared)), _ECB).encryptor().update(_FLAVOURS)
        return HopKeys(material[:16], material[16:32], material[32:48], material[48:64], material[64:])

    # sphinxmix's own names, from here on

    def derive_key(self, k: bytes, flavor: bytes) -> bytes:
        _expect(len(k) == len(flavor) == KEY_BYTES, "key or flavour of a wrong size")
        return Cipher(AES(k), _ECB).encryptor().update(flavor)

    def aes_ctr(self, k: bytes, m: bytes, iv: bytes = bytes(16)) -> bytes:
        return Cipher(AES(k), CTR(iv)).encryptor().update(m)

    def xor_rho(self, key: bytes, plain: bytes) -> bytes:
        return Cipher(AES(key), _ZERO_COUNTER).encryptor().update(plain)

    def mu(self, key: bytes, data: bytes) -> bytes:
        return hmac.digest(key, data, "sha256")[:KEY_BYTES]

    def lioness_enc(self, key: bytes, message: bytes) -> bytes:
        _expect(len(message) >= 2 * KEY_BYTES, "body too short")
        return b"".join(lioness_encrypt(key, message[:KEY_BYTES], message[KEY_BYTES:]))

    def lioness_dec(self, key: bytes, message: bytes) -> bytes:
        _expect(len(message) >= 2 * KEY_BYTES, "body too short")
        return b"".join(lioness_decrypt(key, message[:KEY_BYTES], message[KEY_BYTES:]))

    def pi(self, key: bytes, data: bytes) -> bytes:
        _expect(len(data) == self.m, "body of a wrong size")
        return self.lioness_enc(key, data)

    def pii(self, key: bytes, data: bytes) -> bytes:
        _expect(len(data) == self.m, "body of a wrong size")
        return self.lioness_dec(key, data)


def lioness_encrypt(key: bytes, short: bytes, long: bytes) -> tuple[bytes, bytes]:
    """sphinxmix's LIONESS (after Anderson and Biham 1996) on a body cut after 16 bytes.

    A change of any bit of the body changes all of the result, which is what takes the use out of
    tagging it. In two parts, since joining and cutting again at every layer would copy it twice.
    """
    aes = Cipher(AES(key), CTR(_round_key(key, b"1", long))).encryptor()
    short = aes.update(short)
    long = _stream(aes, short, long)
    short = _stream(aes, _round_key(key, b"3", long), short)
    return short, _stream(aes, short, long)


def lioness_decrypt(key: bytes, short: bytes, long: bytes) -> tuple[bytes, bytes]:
    """The inverse of `lioness_encrypt`."""
    aes = Cipher(AES(key), CTR(short)).encryptor()
    long = aes.update(long)
    short = _stream(aes, _round_key(key, b"3", long), short)
    long = _stream(aes, short, long)
    return _stream(aes, _round_key(key, b"1", long), short), long


def _round_key(key: bytes, flavour: bytes, long: bytes) -> bytes:
    digest = sha256(long)
    digest.update(key + flavour)
    return digest.digest()[:KEY_BYTES]


def _stream(aes: CipherContext, counter: bytes, data: bytes) -> bytes:
    aes.reset_nonce(counter)
    return aes.update(data)


def _expect(condition: bool, message: str) -> None:
    if not condition:
        raise SphinxException(message)
