"""The trace on disk, for experiments: what `Mixnet` and the links tell, one JSON object a line.

It tells everything that this software exists to hide. It is off unless `[trace] file` names a file, and
then says so in the log, in `peerctl status` and in a metric, for as long as the daemon runs.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec

from peerd.clock import monotonic
from peerd.config import TraceConfig
from peerd.errors import InvalidInputError
from peerd.link import CellKind
from peerd.relay.trace import Came, Left, Opened, Record, packet_id
from peerd.types import PeerId


class TraceFile:
    """A `Tracer`, and the tap of the links. Times are seconds of the host's monotonic clock."""

    def __init__(self, path: Path, me: PeerId) -> None:
        self._me = me.hex()
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._file = os.fdopen(os.open(path, flags, 0o600), "ab")  # for its owner alone
        self._encoder = msgspec.json.Encoder()

    @classmethod
    def open(cls, config: TraceConfig, me: PeerId, log: Any) -> TraceFile | None:
        """None where tracing is off. InvalidInputError where the file cannot be written."""
        if not config.file:
            return None
        path = Path(config.file)
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            trace = cls(path, me)
        except OSError as error:
            raise InvalidInputError(f"[trace] file: {path}: {error.strerror}") from None
        log.warning("TRACING: every packet's way is written down: NO ANONYMITY", file=str(path))
        return trace

    def __call__(self, record: Record) -> None:
        match record:
            case Left(at=at, to=to, packet=packet, kind=kind):
                self._write(event="left", at=at, to=to.hex(), packet=packet.hex(), kind=kind.value)
            case Came(at=at, packet=packet):
                self._write(event="came", at=at, packet=packet.hex())
            case Opened(at=at, packet=packet, fate=fate, next_packet=after):
                self._write(event="opened", at=at, packet=packet.hex(), fate=fate, next_packet=after.hex())

    def wrote(self, to: PeerId, kind: CellKind, body: bytes) -> None:
        """A cell was written to a link: in the order of the wire, pings and gossip too."""
        packet = packet_id(body).hex() if kind is CellKind.PACKET else ""
        self._write(event="wrote", at=monotonic(), to=to.hex(), cell=kind.name.lower(), packet=packet)

    def close(self) -> None:
        self._file.close()

    def _write(self, **fields: Any) -> None:
        self._file.write(self._encoder.encode({"peer": self._me, **fields}) + b"\n")
