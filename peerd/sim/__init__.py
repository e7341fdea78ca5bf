"""A whole network in one process, on a virtual clock, from a seed: the very cores of the daemon, with real
Sphinx packets, and no socket, no thread and no other randomness.

The same seed gives the same world, to the last byte on every link (`World.digest`). Used by the tests for
delivery, mixing, epochs, members and rounds, and by `peerctl experiment`.

    World     peers that all know each other and whose links are up: cheap, for what concerns packets
    Network   peers that come and go, and find each other by gossip: for what concerns members and runs
"""

from peerd.sim.daemon import SimDaemon
from peerd.sim.ledger import Ledger
from peerd.sim.network import Network
from peerd.sim.peer import SimPeer
from peerd.sim.settings import Settings, Training
from peerd.sim.world import World

__all__ = ["Ledger", "Network", "Settings", "SimDaemon", "SimPeer", "Training", "World"]
