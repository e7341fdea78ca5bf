"""Real `peerd` processes on this machine: a throw-away network, its daemons, and their end.

What belongs here: files, ports, processes and readiness. What is asked of the daemons once they are
up goes through `ctl.client` like for any other peer.
"""

from ctl.testbed.plan import Plan, peer_names
from ctl.testbed.processes import PeerExitedError
from ctl.testbed.testbed import Testbed
from ctl.testbed.up import bring_up

__all__ = ["PeerExitedError", "Plan", "Testbed", "bring_up", "peer_names"]
