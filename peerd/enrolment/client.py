"""A newcomer's side: `peerd join --token`. It says nothing before it knows whom it talks to."""

from __future__ import annotations

import asyncio
import hmac
import ssl

from cryptography import x509

from peerd.config import parse_address
from peerd.enrolment import wire
from peerd.enrolment.redeemer import public_key_der
from peerd.enrolment.tokens import Token, pin_of
from peerd.errors import DeniedError, InvalidInputError, UnavailableError
from peerd.membership import Bundle, Identity

TIMEOUT_SECONDS = 20.0


async def redeem(token: Token, identity: Identity, timeout: float = TIMEOUT_SECONDS) -> Bundle:  # noqa: ASYNC109
    """This peer's bundle, verified: made by the delegate that the token names, for this identity's keys.

    UnavailableError where nobody answers in time; DeniedError for another delegate than the token's, and
    for a token that is not taken; else what the delegate says.
    """
    where = token.address
    try:
        async with asyncio.timeout(timeout):
            answer = await _exchange(token, wire.encode_ask(wire.Ask(token.secret, identity.request())))
    except TimeoutError:
        raise UnavailableError(f"{where}: no answer within {timeout:g} s") from None
    except (OSError, EOFError) as error:  # OSError: also ssl.SSLError, and names that do not resolve
        why = getattr(error, "strerror", None) or "it closed the connection"
        raise UnavailableError(f"{where}: cannot ask to join: {why}") from None
    bundle = Bundle.decode(wire.decode_answer(answer, where), where)
    issuer = bundle.issuer
    if issuer is None or not _pinned(token, issuer):
        raise DeniedError(f"{where}: its answer is not signed by the delegate that made the token")
    bundle.check_belongs_to(identity, where)
    return bundle


async def _exchange(token: Token, request: bytes) -> bytes:
    host, port = parse_address(token.address)
    reader, writer = await asyncio.open_connection(host, port, ssl=_context())
    try:
        presented = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        if presented is None or not _pinned(token, _certificate(presented, token.address)):
            raise DeniedError(
                f"{token.address}: whoever answers there is not the peer that made the token; "
                "nothing was sent. Is the address right, and nobody in between?"
            )
        writer.write(request)
        await writer.drain()
        size = wire.length_of(await reader.readexactly(wire.LENGTH_BYTES))
        if size > wire.MAX_ANSWER_BYTES:
            raise InvalidInputError(f"{token.address}: its answer is not a peerd delegate's")
        return await reader.readexactly(size)
    finally:
        writer.transport.abort()


def _context() -> ssl.SSLContext:
    """A newcomer knows no CA yet. TLS proves that the other side has the key of the certificate that it
    shows, and the pin says which key that must be."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _certificate(der: bytes, where: str) -> x509.Certificate:
    try:
        return x509.load_der_x509_certificate(der)
    except ValueError:
        raise DeniedError(f"{where}: whoever answers there shows no certificate; nothing was sent") from None


def _pinned(token: Token, certificate: x509.Certificate) -> bool:
    return hmac.compare_digest(pin_of(public_key_der(certificate)), token.pin)
