"""The gRPC server: Unix socket always, TCP with mutual TLS when asked for; health and reflection."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from peerd.commands import Commands
from peerd.config import ControlConfig, parse_address
from peerd.control.config_servicers import ConfigServicer, LogsServicer
from peerd.control.guard import Guard, by_roster
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

MAX_REQUEST_BYTES = 2 << 20
"""Records that the authority has signed come a mebibyte at a time."""
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
    ) -> None:
        """`tls` is asked again for every handshake: certificates are renewed while the daemon runs."""
        self._config = config
        self._tls = tls
        self._shown = tls()
        self.unix_path = Path(config.unix) if config.unix else state_dir / "control.sock"
        self._server = grpc.aio.server(
            interceptors=(Guard(by_roster(commands.roster)),),
            options=[
                ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
                ("grpc.so_reuseport", 0),
            ],
            maximum_concurrent_rpcs=512,
        )
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        node_pb2_grpc.add_NodeServicer_to_server(NodeServicer(commands), self._server)
        mixing_pb2_grpc.add_MixingServicer_to_server(MixingServicer(commands), self._server)
        peers_pb2_grpc.add_PeersServicer_to_server(PeersServicer(commands), self._server)
        runs_pb2_grpc.add_RunsServicer_to_server(RunsServicer(commands), self._server)
        config_pb2_grpc.add_ConfigServicer_to_server(ConfigServicer(commands), self._server)
        ring = LogRing() if log_ring is None else log_ring  # one that is empty is false
        logs_pb2_grpc.add_LogsServicer_to_server(LogsServicer(ring), self._server)
        services = [
            pb.DESCRIPTOR.services_by_name[name].full_name
            for pb, name in (
                (node_pb2, "Node"),
                (mixing_pb2, "Mixing"),
                (peers_pb2, "Peers"),
                (runs_pb2, "Runs"),
                (config_pb2, "Config"),
                (logs_pb2, "Logs"),
            )
        ]
        reflection.enable_server_reflection(
            [*services, health.SERVICE_NAME, reflection.SERVICE_NAME], self._server
        )
        self._services = ["", *services]
        self.tcp_port: int | None = None
        self._bound_inode: int | None = None

    @property
    def addresses(self) -> str:
        """Where it listens, for the log."""
        host, _, _ = self._config.listen.rpartition(":")
        tcp = [] if self.tcp_port is None else [f"{host}:{self.tcp_port}"]
        return " ".join([f"unix:{self.unix_path}", *tcp])

    async def start(self) -> None:
        """Bind and serve; health says SERVING when this returns."""
        self._bind_unix()
        if self._config.listen:
            self._bind_tcp()
        await self._server.start()
        for service in self._services:
            await self._health.set(service, health_pb2.HealthCheckResponse.SERVING)

    async def stop(self, grace: float = 1.0) -> None:
        """Say NOT_SERVING, let calls end for `grace` seconds, then close."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace)
        with contextlib.suppress(FileNotFoundError):
            if self.unix_path.lstat().st_ino == self._bound_inode:
                self.unix_path.unlink()

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
            self._server.add_insecure_port(f"unix:{path}")
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

    def _bind_tcp(self) -> None:
        host, port = parse_address(self._config.listen, "[control] listen")
        fetch: Any = self._renewed  # None is allowed, though the stubs do not know
        credentials = grpc.dynamic_ssl_server_credentials(
            _certificates(self._tls()), fetch, require_client_authentication=True
        )
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            self.tcp_port = self._server.add_secure_port(address, credentials)
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
