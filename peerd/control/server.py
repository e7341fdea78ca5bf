"""The gRPC server: Unix socket always, TCP with mutual TLS when asked for; health and reflection."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from peerd.commands import Commands
from peerd.config import ControlConfig, parse_address
from peerd.control.bounds import CALLS, IN_ALL, STREAMS, Bounds
from peerd.control.config_servicers import ConfigServicer, LogsServicer
from peerd.control.core import Server
from peerd.control.guard import LARGE_BYTES, Guard, by_roster
from peerd.control.health import Health
from peerd.control.refusals import Refusals
from peerd.control.servicers import MixingServicer, NodeServicer, PeersServicer, RunsServicer
from peerd.errors import ConflictError, InvalidInputError
from peerd.observe import LogRing
from peerd.pb import (
    config_pb2,
    config_pb2_grpc,
    logs_pb2,
    logs_pb2_grpc,
    mixing_pb2,
    mixing_pb2_grpc,
    node_pb2,
    node_pb2_grpc,
    peers_pb2,
    peers_pb2_grpc,
    runs_pb2,
    runs_pb2_grpc,
)

OPTIONS = (
    ("grpc.max_receive_message_length", LARGE_BYTES),
    ("grpc.so_reuseport", 0),
    ("grpc.max_concurrent_streams", STREAMS + CALLS),  # of one connection: what its caller may have at most
)
MAX_CONNECTIONS = 512
"""Over TCP, whoever made them: file descriptors are the links', too."""
HANDSHAKE_SECONDS = 10.0
TCP_OPTIONS = (
    *OPTIONS,
    ("grpc.max_allowed_incoming_connections", MAX_CONNECTIONS),
    ("grpc.server_handshake_timeout_ms", int(1000 * HANDSHAKE_SECONDS)),
    ("grpc.max_connection_idle_ms", 60_000),  # one without a call makes room
    ("grpc.keepalive_time_ms", 60_000),  # a watcher whose host is gone makes room, too
    ("grpc.keepalive_timeout_ms", 20_000),
)
SERVICES = tuple(
    pb.DESCRIPTOR.services_by_name[name].full_name
    for pb, name in (
        (node_pb2, "Node"),
        (mixing_pb2, "Mixing"),
        (peers_pb2, "Peers"),
        (runs_pb2, "Runs"),
        (config_pb2, "Config"),
        (logs_pb2, "Logs"),
    )
)
UNIX_PATH_BYTES = 100
"""Somewhat under the kernel's 108."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM bytes for the TCP endpoint: the peer's link certificate serves as server certificate."""

    ca: bytes
    certificate: bytes
    key: bytes


class ControlServer:
    """Serves one node. `start` raises ConflictError or InvalidInputError with one clear line."""

    def __init__(
        self,
        commands: Commands,
        config: ControlConfig,
        state_dir: Path,
        tls: Callable[[], TlsFiles],
        log_ring: LogRing | None = None,
        refusals: Refusals | None = None,
    ) -> None:
        """`tls` is asked again for every handshake: certificates are renewed while the daemon runs.
        `refusals` counts and logs who was turned away."""
        self._config = config
        self._tls = tls
        self._shown = tls()
        self.unix_path = Path(config.unix) if config.unix else state_dir / "control.sock"
        self._refusals = refusals or Refusals()
        self._is_good = by_roster(commands.roster)
        self._health = Health(SERVICES)
        ring = LogRing() if log_ring is None else log_ring  # one that is empty is false
        self._servicers = (
            (health_pb2_grpc.add_HealthServicer_to_server, self._health),
            (node_pb2_grpc.add_NodeServicer_to_server, NodeServicer(commands)),
            (mixing_pb2_grpc.add_MixingServicer_to_server, MixingServicer(commands)),
            (peers_pb2_grpc.add_PeersServicer_to_server, PeersServicer(commands)),
            (runs_pb2_grpc.add_RunsServicer_to_server, RunsServicer(commands)),
            (config_pb2_grpc.add_ConfigServicer_to_server, ConfigServicer(commands)),
            (logs_pb2_grpc.add_LogsServicer_to_server, LogsServicer(ring)),
        )
        # Two servers: gRPC bounds what waits to be looked at for each, and who floods TCP must not be in the
        # way of the host's own operator and of whatever asks for its health.
        self._local = self._server(OPTIONS, Bounds(streams=IN_ALL // 2, calls=IN_ALL // 2))
        self._remote = self._server(TCP_OPTIONS, Bounds()) if config.listen else None
        self.tcp_port: int | None = None
        self._bound_inode: int | None = None

    def _server(self, options: tuple[tuple[str, int], ...], bounds: Bounds) -> grpc.aio.Server:
        guard = Guard(self._is_good, bounds, self._refusals)
        server: grpc.aio.Server = cast(Any, Server(guard, options))  # its base has no types
        for add, servicer in self._servicers:
            add(servicer, server)
        shown = [*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME]
        reflection.enable_server_reflection(shown, server)
        return server

    @property
    def addresses(self) -> str:
        """Where it listens, for the log."""
        host, _, _ = self._config.listen.rpartition(":")
        tcp = [] if self.tcp_port is None else [f"{host}:{self.tcp_port}"]
        return " ".join([f"unix:{self.unix_path}", *tcp])

    async def start(self) -> None:
        """Bind and serve; health says SERVING when this returns."""
        self._bind_unix()
        if self._remote is not None:
            self._bind_tcp(self._remote)
        for server in self._servers:
            await server.start()
        self._health.set(serving=True)

    async def stop(self, grace: float = 1.0) -> None:
        """Say NOT_SERVING, let calls end for `grace` seconds, then close."""
        self._health.set(serving=False)
        await asyncio.gather(*(server.stop(grace) for server in self._servers))
        with contextlib.suppress(FileNotFoundError):
            if self.unix_path.lstat().st_ino == self._bound_inode:
                self.unix_path.unlink()

    @property
    def _servers(self) -> list[grpc.aio.Server]:
        return [self._local] if self._remote is None else [self._local, self._remote]

    def _bind_unix(self) -> None:
        path = self.unix_path
        if len(os.fsencode(path)) > UNIX_PATH_BYTES:
            raise InvalidInputError(
                f"control socket {path}: a Unix socket path has at most {UNIX_PATH_BYTES} bytes; "
                "set [control] unix to a shorter one"
            )
        self._check_free(path)
        if not path.parent.is_dir():
            raise InvalidInputError(f"control socket {path}: {path.parent} is not a folder")
        mask = os.umask(0o177)  # the socket is the guard: it is never open to others, not for a moment
        try:
            self._local.add_insecure_port(f"unix:{path}")
        except RuntimeError:
            raise ConflictError(f"control socket {path} cannot be bound; is it in use?") from None
        finally:
            os.umask(mask)
        self._bound_inode = path.lstat().st_ino

    @staticmethod
    def _check_free(path: Path) -> None:
        """gRPC unlinks whatever lies at the path before it binds: it must be a dead daemon's socket."""
        if path.is_symlink() or (path.exists() and not path.is_socket()):
            raise ConflictError(f"control socket {path}: there is a file here that is no socket")
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(path))
            except OSError:
                return  # nobody listens
        raise ConflictError(f"control socket {path}: another process listens here")

    def _bind_tcp(self, server: grpc.aio.Server) -> None:
        host, port = parse_address(self._config.listen, "[control] listen")
        fetch: Any = self._renewed  # None is allowed, though the stubs do not know
        credentials = grpc.dynamic_ssl_server_credentials(
            _certificates(self._tls()), fetch, require_client_authentication=True
        )
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            self.tcp_port = server.add_secure_port(address, credentials)
        except RuntimeError:
            raise ConflictError(
                f"[control] listen: {self._config.listen} cannot be bound; is the port in use?"
            ) from None

    def _renewed(self) -> grpc.ServerCertificateConfiguration | None:
        """Called by gRPC before each handshake; None: nothing has changed."""
        now = self._tls()
        if now == self._shown:
            return None
        self._shown = now
        return _certificates(now)


def _certificates(tls: TlsFiles) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(tls.key, tls.certificate)], root_certificates=tls.ca)
