"""X25519 as a sphinxmix group: RFC 7748's function on 32-byte strings.

Elements are u-coordinates, exponents are 32-byte strings that are clamped where they are used
(RFC 7748, `decodeScalar25519`). Every string is an exponent, but not every string an element.

Two libraries multiply. OpenSSL is the faster one where the scalar stays (a node's own key). Where
it is new for every packet, `cryptography` would first derive its public key, a base-point
multiplication that nobody asked for; libsodium does not (29 us against 44). PyNaCl comes with
sphinxmix. It checks no lengths: we do.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any, Protocol

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from nacl.bindings import crypto_scalarmult, crypto_scalarmult_base

ELEMENT_BYTES = 32
SCALAR_BYTES = 32
RandomBytes = Callable[[int], bytes]
"""n -> n bytes of a CSPRNG: `os.urandom`, or a seeded generator in a simulation."""

FIELD_PRIME = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
"""Of the subgroup that the base point generates."""
_INVERSE_OF_8 = pow(8, -1, ORDER)
_ORDER_8 = (
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
)
LOW_ORDER = frozenset((0, 1, FIELD_PRIME - 1, *_ORDER_8))
"""u-coordinates of all points whose order divides 8, on the curve and on its twist.

A clamped scalar is a multiple of 8 below 2**255, so never a multiple of the large prime in either
group order: these points and no others give the all-zero shared secret (RFC 7748, 6.1)."""


class Group(Protocol):
    """What the packet format asks of a group: sphinxmix's `Group_ECC` has the same methods."""

    def gensecret(self) -> Any: ...
    def expon(self, base: Any, exp: Sequence[Any]) -> Any: ...
    def expon_base(self, exp: Sequence[Any]) -> Any: ...
    def makeexp(self, data: bytes) -> Any: ...
    def in_group(self, alpha: Any) -> bool: ...
    def printable(self, alpha: Any) -> bytes: ...


def product(first: bytes, second: bytes) -> bytes:
    """The clamped scalar c with c*P = first*(second*P) on u-coordinates, for P of prime order.

    A clamped scalar is 8t with 2**251 <= t < 2**252. Let t be first*second/8 modulo the group
    order l (just over 2**252). If t lies in that range, 8t serves; if not, 8(l - t) = -8t (mod l)
    does, and P and -P have the same u. Neither serves for fewer than 2**126 of the 2**252 values of
    t: to meet one by chance is as likely as to guess a key, and ends in ArithmeticError.
    """
    t = _clamped(first) * _clamped(second) * _INVERSE_OF_8 % ORDER
    if not 2**251 <= t < 2**252:
        t = ORDER - t
        if not 2**251 <= t < 2**252:
            raise ArithmeticError("a product of scalars without a clamped representative")
    return (8 * t).to_bytes(SCALAR_BYTES, "little")


def _clamped(scalar: bytes) -> int:
    number = int.from_bytes(scalar, "little")
    return (number & (2**254 - 8)) | 2**254


class X25519:
    """The group of the packets. Exponents are bytes, or an `X25519PrivateKey` for one used often.

    `expon` raises ValueError for a point or a scalar that is not 32 bytes long; whether a
    stranger's point may be used at all is for `in_group` to say.
    """

    g = (9).to_bytes(ELEMENT_BYTES, "little")

    def gensecret(self) -> bytes:
        return os.urandom(SCALAR_BYTES)

    def expon(self, base: bytes, exp: Sequence[bytes | X25519PrivateKey]) -> bytes:
        """The base multiplied by every exponent, at the price of one multiplication.

        The base must be of prime order, as honest keys and alphas are; of a crafted one the result
        depends on how many exponents there are, and no node will agree with it.
        """
        first = exp[0]
        if not isinstance(first, bytes):  # asked thus: X25519PrivateKey is an ABC, a microsecond a question
            shared = first.exchange(X25519PublicKey.from_public_bytes(base))
            return shared if len(exp) == 1 else self.expon(shared, exp[1:])
        scalar = self._fold(exp)
        if len(base) != ELEMENT_BYTES:
            raise ValueError("a point of X25519 is 32 bytes long")
        return crypto_scalarmult(scalar, base)

    def expon_base(self, exp: Sequence[bytes]) -> bytes:
        return crypto_scalarmult_base(self._fold(exp))

    def makeexp(self, data: bytes) -> bytes:
        """A blinding factor from 16 secret bytes, those that sphinxmix's `hb` derives.

        A node turns alpha into b*alpha. Whoever sees both must not find b. The 16 bytes are the
        output of AES under a key hashed from the shared secret, so to anyone without it they are
        uniform; but used as a number of 128 bits they would leave a discrete logarithm in a known
        interval of 2**128, which Pollard's kangaroo finds in 2**64 steps. Hashed, the 2**128
        candidates lie scattered over all clamped scalars without any structure, and what remains is
        to try them one by one: 2**128 multiplications, the strength of the curve itself. SHA-256
        taken as a random oracle, this is the h_b of the Sphinx paper (Danezis and Goldberg 2009,
        3.2), which needs no more than that b is unpredictable without s. The label keeps it apart
        from the hash that makes keys of shared secrets.
        """
        return sha256(b"blinding:" + data).digest()

    def in_group(self, alpha: bytes) -> bool:
        """Whether a point may be used: 32 bytes, reduced (one encoding a point), not of low order.

        X25519 itself ignores the top bit and reduces the rest: without this check, flipping that
        bit would leave the packet valid. Points of the twist are let in, as the curve was made for:
        its subgroup is as large, and clamping removes its cofactor too.
        """
        if len(alpha) != ELEMENT_BYTES:
            return False
        u = int.from_bytes(alpha, "little")
        return u < FIELD_PRIME and u not in LOW_ORDER

    def printable(self, alpha: bytes) -> bytes:
        return alpha

    @staticmethod
    def _fold(exp: Sequence[bytes | X25519PrivateKey]) -> bytes:
        scalar = _scalar(exp[0])
        for factor in exp[1:]:
            scalar = product(scalar, _scalar(factor))
        return scalar


def _scalar(exponent: bytes | X25519PrivateKey) -> bytes:
    if not isinstance(exponent, bytes):
        return exponent.private_bytes_raw()
    if len(exponent) != SCALAR_BYTES:
        raise ValueError("an exponent of X25519 is 32 bytes long")
    return exponent
