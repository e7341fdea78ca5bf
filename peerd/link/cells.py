"""The cell: all that ever crosses a link, in one size, so that a cell's length says nothing of its kind.

    kind (1) | zeros (3) | body: a packet
                         |       or a ping's number (8) and zeros
                         |       or the length (2, big-endian) of a piece of gossip, the gossip, and zeros

The body is as long as the network's Sphinx packet. Inside TLS, so padding needs no randomness.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

HEAD_BYTES = 4
NUMBER_BYTES = 8
LENGTH_BYTES = 2
READ_BYTES = 64 * 1024
"""Taken from one connection at a time, or one cell where that is longer; then others have their turn."""


class CellKind(IntEnum):
    PACKET = 1
    PING = 2
    PONG = 3
    GOSSIP = 4


class Cell(NamedTuple):
    kind: CellKind
    body: bytes
    """A packet; of a ping and a pong the number as 8 bytes; the gossip itself."""


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


def gossip_bytes(packet_bytes: int) -> int:
    """The longest piece of gossip that a cell holds."""
    return int(min(packet_bytes - LENGTH_BYTES, 2 ** (8 * LENGTH_BYTES) - 1))


def encode_gossip(data: bytes, packet_bytes: int) -> bytes:
    """A whole cell. ValueError for more than `gossip_bytes` (our bug)."""
    if not 0 < len(data) <= gossip_bytes(packet_bytes):
        raise ValueError(f"gossip of {len(data)} bytes does not fit a cell")
    return encode_cell(CellKind.GOSSIP, len(data).to_bytes(LENGTH_BYTES, "big") + data, packet_bytes)


class CellReader:
    """Cuts a stream of bytes into cells, in one buffer of a few cells that is used again and again.

    Write into `space`, then say by `wrote` how much that was: it gives the cells that are complete; None
    when the stream is not ours: nothing that comes after it can be trusted, so the connection has to go.
    """

    def __init__(self, packet_bytes: int) -> None:
        self._size = cell_bytes(packet_bytes)
        # Whole cells: when much has come, and the buffer is full, nothing is left over to be moved.
        self._buffer = bytearray(self._size * max(READ_BYTES // self._size, 1))
        self._view = memoryview(self._buffer)
        self._filled = 0
        self._broken = False

    @property
    def space(self) -> memoryview:
        """Never empty."""
        return self._view[self._filled :]

    def wrote(self, count: int) -> list[Cell] | None:
        if self._broken:
            return None
        end = self._filled + count
        size = self._size
        left = end % size
        cells: list[Cell] = []
        for start in range(0, end - left, size):
            cell = self._parse(start)
            if cell is None:
                self._broken = True
                self._filled = 0
                return None
            cells.append(cell)
        if left and cells:
            self._buffer[:left] = self._view[end - left : end]
        self._filled = left
        return cells

    def _parse(self, start: int) -> Cell | None:
        body_start = start + HEAD_BYTES
        kind = _HEADS.get(bytes(self._view[start:body_start]))
        body = bytes(self._view[body_start : start + self._size])
        if kind is CellKind.PACKET:
            return Cell(kind, body)
        if kind is None:
            return None
        start, end = 0, NUMBER_BYTES
        if kind is CellKind.GOSSIP:
            start = LENGTH_BYTES
            end = start + int.from_bytes(body[:start], "big")
        if not start < end <= len(body) or body.count(0, end) != len(body) - end:
            return None
        return Cell(kind, body[start:end])
