"""Delivery: messages between participants, over anonymous paths, at least once, handed on once.

Path selection, message codec and padding, the sender's ARQ, the receiver's dedup and acknowledgement,
cover packets and what loops tell. Everything here is sans-IO; `Delivery` joins the parts and the relay
drives it.
"""

from peerd.delivery.delivery import Delivery
from peerd.delivery.events import Acked, Dropped, Event, GaveUp, Inject, LoopLost, LoopReturned, Received
from peerd.delivery.message import Message, MessageCodec
from peerd.delivery.path import Directory, PathSelector
from peerd.delivery.sender import Payload

__all__ = [
    "Acked",
    "Delivery",
    "Directory",
    "Dropped",
    "Event",
    "GaveUp",
    "Inject",
    "LoopLost",
    "LoopReturned",
    "Message",
    "MessageCodec",
    "PathSelector",
    "Payload",
    "Received",
]
