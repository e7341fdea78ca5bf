"""Links: one persistent TLS 1.3 connection for each ordered pair of peers, in fixed-size cells.

The dialler sends packets and gossip on it, the listener only answers pings. Two connections for a pair cost a
second handshake and some memory, and buy a simple protocol: when two peers dial each other at once
there is no tie to break and nothing to lose; each side learns from its own connection whether it can
send; and an inbound connection is a source of packets that needs no queue.
"""

from peerd.link.cells import Cell, CellKind, CellReader, cell_bytes, encode_cell, encode_gossip, gossip_bytes
from peerd.link.keepalive import Backoff, Keepalive
from peerd.link.table import LinkSnapshot, LinkTable

__all__ = [
    "Backoff",
    "Cell",
    "CellKind",
    "CellReader",
    "Keepalive",
    "LinkSnapshot",
    "LinkTable",
    "cell_bytes",
    "encode_cell",
    "encode_gossip",
    "gossip_bytes",
]
