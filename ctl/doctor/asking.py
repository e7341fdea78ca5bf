"""What doctor asks of the peers, and of the network between them and this host."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509

from ctl.aio import together
from ctl.client import Client
from ctl.contexts import Endpoint
from peerd.config import parse_address
from peerd.errors import PeerdError
from peerd.pb import node_pb2, peers_pb2


@dataclass(frozen=True, slots=True)
class Told:
    """By one peer, or about it."""

    name: str
    local: bool
    """On this host, by a Unix socket."""
    error: PeerdError | None = None
    seconds: float = 0.0
    """That its answers took."""
    status: node_pb2.NodeStatus | None = None
    peers: tuple[peers_pb2.Peer, ...] = ()
    certificate: x509.Certificate | None = None
    """Of its control API over TCP: that of its links."""


async def ask_peers(endpoints: Sequence[Endpoint], patience: float) -> list[Told]:
    """All at once; `patience`, in seconds, is for each call."""
    return await together(*(_ask(endpoint, patience) for endpoint in endpoints))


async def _ask(endpoint: Endpoint, patience: float) -> Told:
    began = time.monotonic()
    try:
        async with Client(endpoint, patience) as client:
            status, peers = await client.status(), await client.peers()
    except PeerdError as error:
        return Told(endpoint.name, endpoint.local, error)
    took = time.monotonic() - began
    certificate = await _certificate(endpoint, patience)
    return Told(endpoint.name, endpoint.local, None, took, status, tuple(peers), certificate)


async def _certificate(endpoint: Endpoint, patience: float) -> x509.Certificate | None:
    """That the control API presents; None over a Unix socket, or if it cannot be had."""
    if endpoint.tls is None:
        return None
    host, port = parse_address(endpoint.address)
    with contextlib.suppress(OSError, ssl.SSLError, ValueError, TimeoutError):
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=str(endpoint.tls.ca))
        context.load_cert_chain(endpoint.tls.cert, endpoint.tls.key)
        context.set_alpn_protocols(["h2"])
        async with asyncio.timeout(patience):
            name = endpoint.tls.server_name
            _, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=name)
        try:
            der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            return x509.load_der_x509_certificate(der)
        finally:
            writer.transport.abort()
    return None


async def reachable(addresses: Sequence[str], patience: float) -> dict[str, str]:
    """Which of these HOST:PORT take a TCP connection from here: '' or why not. It is closed at once; a link
    listener counts it as a handshake that failed."""
    reasons = await together(*(_connect(address, patience) for address in addresses))
    return dict(zip(addresses, reasons, strict=True))


async def _connect(address: str, patience: float) -> str:
    host, port = parse_address(address)
    try:
        async with asyncio.timeout(patience):
            _, writer = await asyncio.open_connection(host, port)
    except TimeoutError:
        return f"no answer in {patience:g} s"
    except OSError as error:
        return error.strerror or str(error)
    writer.transport.abort()
    return ""
