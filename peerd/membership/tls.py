"""TLS of links: 1.3 only, both sides authenticated, by this network's CA and nobody else's."""

from __future__ import annotations

import os
import re
import ssl
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peerd.errors import InvalidInputError
from peerd.membership.state import PeerState
from peerd.types import PeerId

_PEER_URI = re.compile(r"peerd://peer/([0-9a-f]{32})", re.ASCII)


def server_ssl_context(state: PeerState) -> ssl.SSLContext:
    """For the link listener: asks for the dialler's certificate."""
    return _context(ssl.PROTOCOL_TLS_SERVER, state)


def client_ssl_context(state: PeerState) -> ssl.SSLContext:
    """For dialling. Names are not checked by TLS: the caller compares `peer_of` to whom it dialled."""
    context = _context(ssl.PROTOCOL_TLS_CLIENT, state)
    context.check_hostname = False
    return context


def peer_of(certificate: Mapping[str, Any] | None) -> PeerId | None:
    """The peer that a verified certificate (`SSLSocket.getpeercert()`) belongs to; None for others,
    such as operators'."""
    names = (certificate or {}).get("subjectAltName", ())
    for kind, value in names:
        match = _PEER_URI.fullmatch(value) if kind == "URI" else None
        if match:
            return PeerId(bytes.fromhex(match[1]))
    return None


def _context(protocol: int, state: PeerState) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.options |= ssl.OP_NO_TICKET
    if protocol == ssl.PROTOCOL_TLS_SERVER:
        context.num_tickets = 0  # a link lives long: resumption would only add linkable state
    try:
        context.load_verify_locations(cadata=state.ca_pem.decode("ascii"))
        # The ssl module reads keys from files only: one that exists for this call, in memory where
        # the system has such a folder, 0600 by mkstemp.
        folder = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108
        descriptor, name = tempfile.mkstemp(dir=folder)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(state.certificate_pem + state.link_key_pem)
            context.load_cert_chain(name)
        finally:
            Path(name).unlink()
    except (ssl.SSLError, ValueError) as error:
        raise InvalidInputError(f"bad CA or link certificate in the bundle: {error}") from None
    return context
