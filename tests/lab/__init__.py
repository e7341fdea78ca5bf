"""A test lab: hosts in network namespaces of their own, joined by an emulated wide-area network.

    with Wan(hosts=("a", "b", "c"), name="churn", delay=0.04, jitter=0.01, loss=0.01) as wan:
        peer = wan.popen("a", ["peerd", "run", "--config", config])    # listens on wan.address("a")
        wan.partition(("a",), ("b", "c"))
        wan.heal()

All times are in seconds, all losses probabilities. It needs Linux, root, iproute2 and /dev/net/tun, and
nothing that is not in the standard library; `why_not()` is the reason to skip a test where it cannot work.
The kernel's own emulation (tc netem) is not asked for: many kernels are built without it.

Who does what:

    wan      what a test holds: starts the keeper, talks to it, starts programs in the hosts
    keeper   a process beside the test that makes the hosts and takes them down, also when the test is killed
    switch   carries the frames between the hosts
    link     what one direction between two hosts does to a frame
    netns    namespaces, what runs in them, and the lock of a network's name
    report   what `Wan.status()` returns
"""

from lab.netns import LabError, why_not
from lab.report import LinkStatus, Status
from lab.wan import Wan

__all__ = ["LabError", "LinkStatus", "Status", "Wan", "why_not"]
