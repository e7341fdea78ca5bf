"""Mixing: how long a packet stays at a mix node, in which order packets leave, and when cover is due.

One file for each strategy behind the port in `port.py`. Nothing here knows what a packet contains.
"""

from peerd.mix.cover import CoverSchedule
from peerd.mix.port import CoverWanted, Queued, Strategy
from peerd.mix.sampling import draw_exponential, draw_truncated_normal
from peerd.mix.strategies import make_strategy

__all__ = [
    "CoverSchedule",
    "CoverWanted",
    "Queued",
    "Strategy",
    "draw_exponential",
    "draw_truncated_normal",
    "make_strategy",
]
