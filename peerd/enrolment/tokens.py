"""Join tokens: secrets, each of which signs one newcomer in. Sans-IO.

    peerd-join.<32 letters and digits: 10 bytes of secret, 10 bytes of pin, base32>.<host:port>

The pin is the head of the SHA-256 of the delegate's link public key: a newcomer knows whom it talks to
before it sends the secret. 80 bits each: nobody guesses the one or makes a key that matches the other.
The delegate keeps only a hash of the secret.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Annotated

import msgspec
from msgspec import Meta

from peerd.config import parse_address
from peerd.errors import ConflictError, InvalidInputError
from peerd.types import PeerId

PREFIX = "peerd-join"
SECRET_BYTES = 10
PIN_BYTES = 10
MAX_TEXT = 400
MAX_TOKENS = 256
"""That are neither used nor expired."""
MAX_EXPIRES_SECONDS = 30 * 86_400.0
REMEMBERED_SECONDS = 86_400.0
"""So long after its end a token is still known, so that its owner is told what is wrong with it."""
_DOMAIN = b"peerd join token v1\0"
_CODE = re.compile(r"[a-z2-7]{32}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Token:
    """What a newcomer is given. Its `repr` shows no secret."""

    secret: bytes = field(repr=False)
    pin: bytes
    """Of the delegate; see `pin_of`."""
    address: str
    """host:port of the delegate's enrolment listener."""

    @property
    def text(self) -> str:
        code = base64.b32encode(self.secret + self.pin).decode().lower()
        return f"{PREFIX}.{code}.{self.address}"


def parse_token(text: str) -> Token:
    """InvalidInputError, which does not repeat the text: it is secret."""
    prefix, _, rest = text.strip().partition(".")
    code, _, address = rest.partition(".")
    if len(text) > MAX_TEXT or prefix.lower() != PREFIX or not _CODE.fullmatch(code.lower()):
        raise InvalidInputError(
            f"not a join token: one begins with {PREFIX}. and has no blanks; "
            "`peerctl network invite` makes it, copy the whole of it"
        )
    try:
        _, port = parse_address(address)
    except InvalidInputError:
        port = 0
    if port == 0 or not address.isascii() or not address.isprintable() or " " in address:
        raise InvalidInputError("the join token does not end with the host:port to ask; copy the whole of it")
    try:
        raw = base64.b32decode(code.upper())
    except binascii.Error:
        raise InvalidInputError("the join token is damaged; copy the whole of it") from None
    return Token(raw[:SECRET_BYTES], raw[SECRET_BYTES:], address)


def pin_of(public: bytes) -> bytes:
    """Of a SubjectPublicKeyInfo in DER."""
    return hashlib.sha256(public).digest()[:PIN_BYTES]


class Fault(Enum):
    """Why a token is not taken, as its owner is told."""

    UNKNOWN = "this peer did not make that token, or does not remember it; ask for a new one"
    EXPIRED = "the token has expired; ask for a new one"
    USED = "the token was used already, by another peer; ask for a new one"
    WRONG_NAME = "the token is for a peer of another name"


Moment = Annotated[float, Meta(ge=0.0, le=1e12)]
Digest = Annotated[bytes, Meta(min_length=32, max_length=32)]


class _Known(msgspec.Struct, forbid_unknown_fields=True):
    digest: Digest
    name: str
    """The only name that the newcomer may have; empty: any."""
    expires: Moment
    used_by: str = ""
    """Hex peer id."""

    def is_open(self, now: float) -> bool:
        return not self.used_by and now < self.expires


class Tokens:
    """Those that a peer has made. All times are Unix time, since tokens outlive the daemon."""

    def __init__(self, draw: Callable[[int], bytes]) -> None:
        """`draw` gives so many bytes that nobody can guess."""
        self._draw = draw
        self._known: list[_Known] = []

    def dump(self) -> bytes:
        """For the disk: nothing in it redeems anything."""
        return msgspec.json.encode(self._known)

    def load(self, data: bytes) -> bool:
        """Take over what was dumped. False for broken bytes: there are no tokens then."""
        try:
            self._known = msgspec.json.decode(data, type=list[_Known])
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return False
        return True

    def make(self, name: str, expires_in: float, now: float) -> bytes:
        """A new secret, for a peer of this `name` (empty: of any). ConflictError when there are too many."""
        if not 0.0 < expires_in <= MAX_EXPIRES_SECONDS:
            raise InvalidInputError(
                f"a token is good for more than 0 and at most {MAX_EXPIRES_SECONDS / 86_400.0:.0f} days"
            )
        self._forget(now)
        if sum(known.is_open(now) for known in self._known) >= MAX_TOKENS:
            raise ConflictError(f"{MAX_TOKENS} join tokens are unused; let some expire, or give them shorter")
        secret = self._draw(SECRET_BYTES)
        self._known.append(_Known(_digest(secret), name, now + expires_in))
        return secret

    def redeem(self, secret: bytes, peer: PeerId, name: str, now: float) -> Fault | None:
        """Use a token up for `peer`; what `check` says."""
        fault = self.check(secret, peer, name, now)
        known = self._find(secret)
        if fault is None and known is not None:
            known.used_by = peer.hex()
        return fault

    def check(self, secret: bytes, peer: PeerId, name: str, now: float) -> Fault | None:
        """None: it is good for `peer`.

        Who has used it may do so again until it expires: the answer may have got lost on the way.
        """
        known = self._find(secret)
        if known is None:
            return Fault.UNKNOWN
        if known.used_by not in ("", peer.hex()):
            return Fault.USED
        if now >= known.expires:
            return Fault.EXPIRED
        if known.name not in ("", name):
            return Fault.WRONG_NAME
        return None

    def _find(self, secret: bytes) -> _Known | None:
        """Looks at all of them for the same time, whichever it is."""
        digest = _digest(secret)
        found = None
        for known in self._known:
            if hmac.compare_digest(known.digest, digest):
                found = known
        return found

    def _forget(self, now: float) -> None:
        """Those long over; and of those still remembered only so many, the latest."""
        kept = [known for known in self._known if now < known.expires + REMEMBERED_SECONDS]
        over = [known for known in kept if not known.is_open(now)]
        self._known = over[-MAX_TOKENS:] + [known for known in kept if known.is_open(now)]


def _digest(secret: bytes) -> bytes:
    return hashlib.sha256(_DOMAIN + secret).digest()
