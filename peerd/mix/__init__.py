"""Mixing: how long a packet stays at a mix node, in which order packets leave, and when cover is due.

One file for each strategy behind the port in `port.py`; `entropy.py` says how well they hide packets.
Nothing here knows what a packet contains.
"""

from peerd.mix.cover import CoverRates, CoverSchedule, Slot, cover_rates
from peerd.mix.entropy import PoolEntropy, end_to_end_bits
from peerd.mix.port import CoverWanted, Departure, Queued, Strategy
from peerd.mix.sampling import draw_exponential, draw_truncated_normal
from peerd.mix.strategies import make_strategy

__all__ = [
    "CoverRates",
    "CoverSchedule",
    "CoverWanted",
    "Departure",
    "PoolEntropy",
    "Queued",
    "Slot",
    "Strategy",
    "cover_rates",
    "draw_exponential",
    "draw_truncated_normal",
    "end_to_end_bits",
    "make_strategy",
]
