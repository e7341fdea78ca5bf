"""What a testbed is made from: how many peers, which mixing, and the daemons' configuration."""

from __future__ import annotations

import socket
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from peerd.config import MetricsConfig, MixingConfig, NetworkConfig, PeerdConfig, convert
from peerd.errors import InvalidInputError
from peerd.presets import preset_fields

NAMES = (
    "alice", "bob", "carol", "dora", "erin", "frank", "grace", "heidi", "ivan", "judy", "karl",
    "lena", "mallory", "nick", "olivia", "peggy", "quentin", "rupert", "sybil", "trent", "ursula",
    "victor", "wendy", "xaver", "yvonne", "zoe",
)  # fmt: skip
NETWORK = "testbed"
MIN_PEERS, MAX_PEERS = 3, 256
PEERD = (sys.executable, "-m", "peerd")
BASE = PeerdConfig(metrics=MetricsConfig(detail="full"))
"""All on one machine, whose owner sees everything anyway."""


def peer_names(peers: int) -> tuple[str, ...]:
    """alice, bob, ... and, when these are used up, peer27, peer28, ..."""
    return (*NAMES[:peers], *(f"peer{number}" for number in range(len(NAMES) + 1, peers + 1)))


@dataclass(frozen=True, slots=True)
class Plan:
    """Validated by `make`: what cannot work is refused before anything is started."""

    peers: int
    config: PeerdConfig = field(default_factory=PeerdConfig)
    """For every peer; addresses and sockets are filled in for each."""
    command: tuple[str, ...] = PEERD
    network: NetworkConfig = field(default_factory=lambda: NetworkConfig(name=NETWORK))
    late: tuple[str, ...] = ()
    """Enrolled with the others, but not started with them."""

    @classmethod
    def make(
        cls, peers: int, base: PeerdConfig | None = None, command: tuple[str, ...] = PEERD, *,
        epoch_seconds: float | None = None, preset: str | None = None, late: tuple[str, ...] = (),
        **mixing: Any,
    ) -> Plan:  # fmt: skip
        """`mixing`: fields of MixingConfig, None for the default, over those of the preset.
        InvalidInputError."""
        if not MIN_PEERS <= peers <= MAX_PEERS:
            raise InvalidInputError(f"peers: between {MIN_PEERS} and {MAX_PEERS}, not {peers}")
        config = base or BASE
        given = {key: value for key, value in mixing.items() if value is not None}
        merged = msgspec.to_builtins(config.mixing) | preset_fields(preset or "") | given
        config = msgspec.structs.replace(config, mixing=convert(merged, MixingConfig, "mixing"))
        unknown = sorted(set(late) - set(peer_names(peers)))
        if unknown:
            raise InvalidInputError(f"late: {', '.join(unknown)} is none of the {peers} peers")
        hops, started = config.mixing.hops, peers - len(set(late))
        if hops > started - 2:
            raise InvalidInputError(
                f"hops: {hops} mix nodes between two peers need at least {hops + 2} peers, "
                f"not {started}; fewer hops or more peers"
            )
        return cls(peers, config, command, _network(epoch_seconds), tuple(late))

    def peer_config(self, address: str, control_socket: Path, trace: Path) -> PeerdConfig:
        """One peer's: its own link address, socket and, where tracing is on, `trace` file: nothing that
        could collide. A signal ends it at once: nobody is left to take leave of when all go."""
        replace, config = msgspec.structs.replace, self.config
        return replace(
            config,
            state_dir="",
            link=replace(config.link, listen=address),
            control=replace(config.control, unix=str(control_socket), listen=""),
            metrics=replace(config.metrics, listen="127.0.0.1:0"),
            shutdown=replace(config.shutdown, drain_seconds=0.0),
            trace=replace(config.trace, file=str(trace) if config.trace.file else ""),
        )


def _network(epoch_seconds: float | None) -> NetworkConfig:
    default = NetworkConfig(name=NETWORK)
    if epoch_seconds is None:
        return default
    grace = min(default.epoch_grace_seconds, epoch_seconds)
    given = {"name": NETWORK, "epoch_seconds": epoch_seconds, "epoch_grace_seconds": grace}
    return convert(given, NetworkConfig, "network")


class ReservedPorts:
    """Free loopback ports, held bound until each is let go just before its daemon binds it."""

    def __init__(self, count: int) -> None:
        self._sockets: dict[str, socket.socket] = {}
        try:
            for _ in range(count):
                bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
                self._sockets[f"reserving {len(self._sockets)}"] = bound
                bound.bind(("127.0.0.1", 0))
        except OSError:
            self.close()
            raise
        self._sockets = {f"127.0.0.1:{bound.getsockname()[1]}": bound for bound in self._sockets.values()}

    @property
    def addresses(self) -> tuple[str, ...]:
        return tuple(self._sockets)

    def release(self, address: str) -> None:
        if (bound := self._sockets.pop(address, None)) is not None:
            bound.close()

    def close(self) -> None:
        for bound in self._sockets.values():
            bound.close()
        self._sockets.clear()
