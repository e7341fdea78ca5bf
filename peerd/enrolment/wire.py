"""What a newcomer and a delegate say to each other over TLS: one request, one answer.

Each is 4 bytes of length (big-endian) and JSON. Sans-IO.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import msgspec
from msgspec import Meta

from peerd.enrolment.tokens import SECRET_BYTES
from peerd.errors import (
    ConflictError,
    DeniedError,
    InvalidInputError,
    NotFoundError,
    PeerdError,
    UnavailableError,
)

LENGTH_BYTES = 4
MAX_REQUEST_BYTES = 64 * 1024
MAX_ANSWER_BYTES = 8 << 20
MAX_ERROR_LETTERS = 300
_ERRORS: dict[int, type[PeerdError]] = {
    kind.exit_code: kind
    for kind in (InvalidInputError, NotFoundError, ConflictError, UnavailableError, DeniedError)
}


@dataclass(frozen=True, slots=True)
class Ask:
    secret: bytes = field(repr=False)
    request: bytes
    """As `Identity.request()` makes it."""


class _Ask(msgspec.Struct, forbid_unknown_fields=True):
    secret: Annotated[bytes, Meta(min_length=SECRET_BYTES, max_length=SECRET_BYTES)]
    request: bytes


class _Answer(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    bundle: bytes = b""
    error: str = ""
    code: int = 0


def encode_ask(ask: Ask) -> bytes:
    """With its length before it."""
    return _framed(msgspec.json.encode(_Ask(ask.secret, ask.request)))


def decode_ask(data: bytes) -> Ask | None:
    """Without the length; None for any bytes that are no request."""
    try:
        raw = msgspec.json.decode(data, type=_Ask)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return Ask(raw.secret, raw.request)


def encode_bundle(bundle: bytes) -> bytes:
    """An answer with its length before it."""
    return _framed(msgspec.json.encode(_Answer(bundle=bundle)))


def encode_error(error: PeerdError) -> bytes:
    """An answer with its length before it."""
    return _framed(msgspec.json.encode(_Answer(error=str(error), code=error.exit_code)))


def decode_answer(data: bytes, where: str) -> bytes:
    """The bundle. Raises the error that the other side told; `where` names it."""
    try:
        answer = msgspec.json.decode(data, type=_Answer)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise InvalidInputError(f"{where}: its answer is not a peerd delegate's") from None
    if answer.bundle:
        return answer.bundle
    text = "".join(c if c.isprintable() else " " for c in answer.error[:MAX_ERROR_LETTERS])
    kind = _ERRORS.get(answer.code, PeerdError)
    raise kind(f"{where}: {' '.join(text.split()) or 'it refused, and did not say why'}")


def length_of(head: bytes) -> int:
    return int.from_bytes(head, "big")


def _framed(data: bytes) -> bytes:
    return len(data).to_bytes(LENGTH_BYTES, "big") + data
