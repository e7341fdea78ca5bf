"""TLS of links: 1.3 only, both sides authenticated, by this network's CAs and nobody else's.

While the authority changes its key there are two CAs in force, and both are trusted. A peer whom a delegate
has signed in presents the delegate's certificate with its own.
"""

from __future__ import annotations

import contextlib
import os
import re
import ssl
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from peerd.errors import InvalidInputError
from peerd.membership.state import PeerState
from peerd.types import PeerId

_PEER_URI = re.compile(r"peerd://peer/([0-9a-f]{32})", re.ASCII)
_PEER_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)


def server_ssl_context(state: PeerState) -> ssl.SSLContext:
    """For the link listener: asks for the dialler's certificate."""
    return _context(ssl.PROTOCOL_TLS_SERVER, state)


def client_ssl_context(state: PeerState) -> ssl.SSLContext:
    """For dialling. Names are not checked by TLS: the caller compares `peer_of` to whom it dialled."""
    return _context(ssl.PROTOCOL_TLS_CLIENT, state)


def enrolment_ssl_context(state: PeerState) -> ssl.SSLContext:
    """For the listener where newcomers redeem tokens: they have no certificate yet, and are not asked."""
    return _context(ssl.PROTOCOL_TLS_SERVER, state, ssl.CERT_NONE)


def peer_of(certificate: Mapping[str, Any] | None) -> PeerId | None:
    """The peer that a verified certificate (`SSLSocket.getpeercert()`) belongs to; None for others,
    such as operators'."""
    names = (certificate or {}).get("subjectAltName", ())
    for kind, value in names:
        match = _PEER_URI.fullmatch(value) if kind == "URI" else None
        if match:
            return PeerId(bytes.fromhex(match[1]))
    return None


def issuing_delegate_of(certificate: Mapping[str, Any] | None) -> PeerId | None:
    """The delegate that has issued a verified certificate; None: a CA has."""
    for part in (certificate or {}).get("issuer", ()):
        for key, value in part:
            if key == "userId" and _PEER_ID.fullmatch(value):
                return PeerId(bytes.fromhex(value))
    return None


def _context(protocol: int, state: PeerState, verify: ssl.VerifyMode = ssl.CERT_REQUIRED) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    if protocol == ssl.PROTOCOL_TLS_CLIENT:
        context.check_hostname = False
    context.verify_mode = verify
    context.options |= ssl.OP_NO_TICKET
    if protocol == ssl.PROTOCOL_TLS_SERVER:
        context.num_tickets = 0  # a link lives long: resumption would only add linkable state
    try:
        context.load_verify_locations(cadata=state.ca_pem.decode("ascii"))
        with _as_file(state.certificate_pem + state.link_key_pem) as name:
            context.load_cert_chain(name)
    except (ssl.SSLError, ValueError) as error:
        raise InvalidInputError(f"bad CA or link certificate of this peer: {error}") from None
    return context


@contextlib.contextmanager
def _as_file(secret: bytes) -> Iterator[str]:
    """A file name for the ssl module, which reads keys from files only.

    On Linux it lies in anonymous memory, of which nothing can be left behind; elsewhere it is a
    temporary file (0600 by mkstemp) that exists for the one call.
    """
    if hasattr(os, "memfd_create"):
        with os.fdopen(os.memfd_create("peerd-link-key"), "wb") as file:
            file.write(secret)
            file.flush()
            yield f"/proc/self/fd/{file.fileno()}"
        return
    descriptor, name = tempfile.mkstemp()
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secret)
        yield name
    finally:
        Path(name).unlink()
