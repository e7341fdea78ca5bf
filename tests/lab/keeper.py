"""The process that keeps a network: makes the hosts, switches their frames, takes them down.

    python -m lab.keeper NAME HOST...        (in tests/)

It is started by `Wan`, answers each line of JSON on its standard input with one on its standard output, and
ends at the end of its input. That comes when the test closes the network and also when the test's process is
gone in any other way, which no code in that process could notice: so nothing is left behind.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import ipaddress
import json
import os
import select
import signal
import struct
import sys
from pathlib import Path
from typing import Any

from lab import netns
from lab.switch import MTU, Port, Switch

# Long enough for another run of the same test, in another checkout, to finish; seconds.
LOCK_SECONDS = 30.0
# For benchmarks of networks (RFC 2544): no real host has such an address.
SUBNET = ipaddress.ip_network("198.18.0.0/24")
_QUEUE_FRAMES = 1000
# A delay is only as exact as the switch is quick to get the processor, for which programs compete.
_NICE = -15
_TUNSETIFF, _IFF_TAP, _IFF_NO_PI = 0x400454CA, 0x0002, 0x1000


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a host is."""

    host: str
    space: str
    address: str
    mac: bytes

    @property
    def mac_text(self) -> str:
        return self.mac.hex(":")


def places(name: str, hosts: list[str]) -> list[Place]:
    return [
        Place(host, netns.space_of(name, host), str(address), b"\x02lab" + number.to_bytes(2))
        for number, (host, address) in enumerate(zip(hosts, SUBNET.hosts(), strict=False))
    ]


def make_host(place: Place, others: list[Place]) -> Port:
    """Make the namespace with `lo` and `eth0`. Raises LabError or OSError."""
    netns.ip("netns", "add", place.space)
    with netns.entered(place.space):
        tap = os.open(netns.TUN, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.ioctl(tap, _TUNSETIFF, struct.pack("16sH22x", b"eth0", _IFF_TAP | _IFF_NO_PI))
        with contextlib.suppress(OSError):  # a kernel without IPv6
            Path("/proc/sys/net/ipv6/conf/eth0/disable_ipv6").write_text("1")
    lines = [
        "link set lo up",
        f"link set eth0 address {place.mac_text} mtu {MTU} txqueuelen {_QUEUE_FRAMES}",
        f"addr add {place.address}/{SUBNET.prefixlen} dev eth0",
        "link set eth0 up",
        # Known for good, since ARP would be delayed and lost like all else, for seconds at a time.
        *(f"neigh replace {o.address} lladdr {o.mac_text} dev eth0 nud permanent" for o in others),
    ]
    netns.ip("-n", place.space, "-batch", "-", batch="\n".join(lines) + "\n")
    return Port(place.host, place.mac, tap)


def overrun(space: str) -> int:
    """Frames of the host that its full queue dropped."""
    with netns.entered(space):
        table = Path("/proc/thread-self/net/dev").read_text()
    row = next(line for line in table.splitlines() if line.strip().startswith("eth0:"))
    return int(row.partition(":")[2].split()[11])


class Keeper:
    """Serves one network that has been made, until its input ends."""

    def __init__(self, hosts: list[Place], ports: list[Port]) -> None:
        self._spaces = [place.space for place in hosts]
        self._taps = [port.fd for port in ports]
        self._switch = Switch(ports)
        self._input = b""
        self._ended = False

    def run(self) -> None:
        poll = select.epoll()
        for fd in (*self._taps, sys.stdin.fileno()):
            poll.register(fd, select.EPOLLIN)
        while not self._ended:
            # The timeout is rounded up to 1 ms: no frame is early, and none later than that by rounding.
            for fd, _ in poll.poll(self._switch.next_in()):
                if fd == sys.stdin.fileno():
                    self._listen()
                else:
                    self._switch.take(fd)
            self._switch.deliver()

    def _listen(self) -> None:
        data = os.read(sys.stdin.fileno(), 65536)
        self._ended = not data
        *lines, self._input = (self._input + data).split(b"\n")
        for line in lines:
            answer(self._do(**json.loads(line)))

    def _do(self, what: str, **options: Any) -> Any:
        links = self._switch.links
        if what == "set":
            for link in links.values():
                link.set(**options)
        elif what == "partition":
            side = {host: number for number, group in enumerate(options["groups"]) for host in group}
            for (source, target), link in links.items():
                if source in side and target in side and side[source] != side[target]:
                    link.up = False
        elif what == "heal":
            for link in links.values():
                link.up = True
        elif what == "status":
            return {
                "links": [[*ends, dataclasses.asdict(link.status())] for ends, link in links.items()],
                "in_flight": self._switch.in_flight,
                "late": self._switch.late,
                "latest": self._switch.latest,
                "overrun": sum(map(overrun, self._spaces)),
            }
        else:
            raise ValueError(what)
        return None


def answer(value: Any) -> None:
    with contextlib.suppress(BrokenPipeError):  # the end of the input says the same
        print(json.dumps(value), flush=True)


def keep(name: str, hosts: list[str]) -> None:
    """Raises LabError when the network cannot be made."""
    with netns.locked(name, LOCK_SECONDS):
        netns.remove(name)  # of an earlier run whose keeper was killed too
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, _NICE)
        try:
            made = places(name, hosts)
            ports = [make_host(place, [o for o in made if o is not place]) for place in made]
            answer({place.host: place.address for place in made})
            Keeper(made, ports).run()
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it is what is being done
            netns.remove(name)


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("the keeper got SIGTERM"))
    _, name, *hosts = sys.argv
    try:
        keep(name, hosts)
    except netns.LabError as error:
        sys.exit(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())
