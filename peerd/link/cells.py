"""The cell: all that ever crosses a link, in one size, so that a cell's length says nothing of its kind.

    kind (1) | zeros (3) | body: a packet, or a ping's number (8) and zeros

The body is as long as the network's Sphinx packet. Inside TLS, so padding needs no randomness.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

HEAD_BYTES = 4
NUMBER_BYTES = 8


class CellKind(IntEnum):
    PACKET = 1
    PING = 2
    PONG = 3


class Cell(NamedTuple):
    kind: CellKind
    body: bytes
    """A packet; or, of a ping and a pong, the number as 8 bytes."""


_HEADS = {bytes((kind, 0, 0, 0)): kind for kind in CellKind}
_HEAD_OF = {kind: head for head, kind in _HEADS.items()}


def cell_bytes(packet_bytes: int) -> int:
    """The size of every cell of a network whose Sphinx packets are so long."""
    return HEAD_BYTES + packet_bytes


def encode_cell(kind: CellKind, body: bytes, packet_bytes: int) -> bytes:
    """A whole cell; a short body is padded. ValueError for a longer one (our bug)."""
    if len(body) > packet_bytes:
        raise ValueError(f"a cell's body has at most {packet_bytes} bytes")
    return _HEAD_OF[kind] + body + bytes(packet_bytes - len(body))


class CellReader:
    """Cuts a stream of bytes into cells. Holds at most one cell's worth between calls.

    `feed` gives the cells that are complete; None when the stream is not ours: nothing that comes
    after it can be trusted, so the connection has to go.
    """

    def __init__(self, packet_bytes: int) -> None:
        self._size = cell_bytes(packet_bytes)
        self._buffer = b""
        self._broken = False

    def feed(self, data: bytes) -> list[Cell] | None:
        if self._broken:
            return None
        buffer = self._buffer + data if self._buffer else data
        size, end = self._size, len(buffer)
        cells: list[Cell] = []
        start = 0
        while end - start >= size:
            cell = self._parse(buffer, start)
            if cell is None:
                self._broken = True
                self._buffer = b""
                return None
            cells.append(cell)
            start += size
        self._buffer = buffer[start:]
        return cells

    def _parse(self, buffer: bytes, start: int) -> Cell | None:
        kind = _HEADS.get(buffer[start : start + HEAD_BYTES])
        body = buffer[start + HEAD_BYTES : start + self._size]
        if kind is CellKind.PACKET:
            return Cell(kind, body)
        if kind is None or body.count(0, NUMBER_BYTES) != len(body) - NUMBER_BYTES:
            return None
        return Cell(kind, body[:NUMBER_BYTES])
