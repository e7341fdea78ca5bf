"""A whole network in one process, on a virtual clock, from a seed: the very cores of the daemon, with real
Sphinx packets, and no socket, no thread and no other randomness.

The same seed gives the same world, to the last byte on every link (`World.digest`). Used by the tests for
delivery, mixing, epochs and rounds, and by `peerctl experiment`.
"""

from peerd.sim.peer import SimPeer
from peerd.sim.world import World

__all__ = ["SimPeer", "World"]
