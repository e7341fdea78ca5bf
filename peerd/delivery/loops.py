"""What loop cover tells of the mixnet: how many loops come home, how long they take, by which mix nodes.

Loops are the canaries of a mix node (Danezis and Sassaman, "Heartbeat Traffic to Counter (n-1) Attacks",
2003; Loopix, 2017, 4.1 and 5.2): who blends a mix by holding back everything but one target's packets holds
back loops too, which look like anything else. So when the links are up and loops stay away, somebody drops
packets: that is the alarm. Loops by a mix node that has died meanwhile prove nothing and are not counted.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

from peerd.delivery.events import Event, LoopLost, LoopReturned
from peerd.delivery.rtt import RttEstimator
from peerd.types import PeerId

WINDOW = 32
"""Settled loops that the loss is taken from."""
FEWEST = 16
"""Before so many are settled there is no verdict."""
CLEAR_SHARE = 0.5
"""The alarm ends below this share of the loss that raised it."""
OUTSTANDING = 4096
"""Loops that are waited for; the oldest are forgotten first."""
INITIAL_SECONDS, SHORTEST_SECONDS, LONGEST_SECONDS = 15.0, 5.0, 60.0
"""Patience beyond the known delays: before anything was measured, at least, at most."""
SMOOTHING = 1 / 16
"""Weight of a new loop in the quality and the excess of a mix node."""


@dataclass(slots=True)
class _Loop:
    via: frozenset[PeerId]
    known_delay: float
    departed: float | None = None
    deadline: float | None = None


class LoopMonitor:
    """Sans-IO. A loop is `made`, `departed` (or `unsent`), then `returned` or lost at its deadline."""

    def __init__(self, alarm_loss: float) -> None:
        self.alarm_loss = alarm_loss
        self._patience = RttEstimator(INITIAL_SECONDS, SHORTEST_SECONDS, LONGEST_SECONDS)
        self._loops: OrderedDict[bytes, _Loop] = OrderedDict()
        self._deadlines: list[tuple[float, bytes]] = []
        """A heap; with those of loops that are settled already, until they come to its top."""
        self._settled: deque[bool] = deque(maxlen=WINDOW)
        self._quality: dict[PeerId, float] = {}
        self._excess: dict[PeerId, float] = {}
        self._given_up: OrderedDict[bytes, None] = OrderedDict()
        self.alarm = False
        """Loops do not come back while the links that they go by are up."""

    @property
    def loss(self) -> float | None:
        """Share of the latest loops that were lost, 0 to 1; None while too few are settled."""
        if len(self._settled) < FEWEST:
            return None
        return self._settled.count(False) / len(self._settled)

    def quality(self, peer: PeerId) -> float | None:
        """Smoothed share of the loops by this mix node that came home; None without any."""
        return self._quality.get(peer)

    def excess(self, peer: PeerId) -> float | None:
        """Smoothed seconds that loops by this mix node took beyond the delays that we chose for them: queues,
        links, and whatever the mix nodes add. Shared by all on the way; a slow one stands out of the others
        by and by. None where none came home."""
        return self._excess.get(peer)

    def made(self, loop_id: bytes, via: frozenset[PeerId], known_delay: float) -> None:
        """`known_delay`: seconds that the loop waits at mix nodes because we said so."""
        self._loops[loop_id] = _Loop(via, known_delay)
        if len(self._loops) > OUTSTANDING:
            self._loops.popitem(last=False)

    def departed(self, loop_id: bytes, now: float) -> None:
        """It is on its way: the clock starts. Other packets' ids are ignored."""
        loop = self._loops.get(loop_id)
        if loop is not None and loop.departed is None:
            loop.departed = now
            loop.deadline = now + loop.known_delay + self._patience.timeout(1)
            heappush(self._deadlines, (loop.deadline, loop_id))
            if len(self._deadlines) > 2 * OUTSTANDING:
                self._deadlines = [entry for entry in self._deadlines if self._is_due_at(*entry)]
                heapify(self._deadlines)

    def unsent(self, loop_id: bytes) -> None:
        """It never left this host: that says nothing of the mixnet."""
        self._loops.pop(loop_id, None)

    def reset(self) -> None:
        """No more loops are sent: the verdict on earlier ones is not kept up for ever."""
        self._settled.clear()
        self.alarm = False

    def was_given_up(self, loop_id: bytes) -> bool:
        """Whether it is a loop that comes home after all, too late to count; asked once."""
        return self._given_up.pop(loop_id, self) is None

    def returned(self, loop_id: bytes, now: float) -> LoopReturned | None:
        """None for a message that is no loop of ours, or one that was given up already."""
        loop = self._loops.pop(loop_id, None)
        if loop is None or loop.departed is None:
            return None
        rtt = now - loop.departed
        excess = max(rtt - loop.known_delay, 0.0)
        self._patience.sample(excess)
        self._settle(loop, excess)
        return LoopReturned(rtt)

    def expire(self, now: float) -> list[Event]:
        """Loops that are lost by now."""
        lost: list[Event] = []
        while (deadline := self.next_deadline()) is not None and deadline <= now:
            _, loop_id = heappop(self._deadlines)
            self._settle(self._loops.pop(loop_id), None)
            self._give_up(loop_id)
            lost.append(LoopLost())
        return lost

    def next_deadline(self) -> float | None:
        while self._deadlines and not self._is_due_at(*self._deadlines[0]):
            heappop(self._deadlines)
        return self._deadlines[0][0] if self._deadlines else None

    def _is_due_at(self, deadline: float, loop_id: bytes) -> bool:
        """Whether that loop is still waited for until then."""
        loop = self._loops.get(loop_id)
        return loop is not None and loop.deadline == deadline

    def peer_died(self, peer: PeerId) -> None:
        for key in [key for key, loop in self._loops.items() if peer in loop.via]:
            del self._loops[key]
            self._give_up(key)
        self._quality.pop(peer, None)
        self._excess.pop(peer, None)

    def _give_up(self, loop_id: bytes) -> None:
        self._given_up[loop_id] = None
        if len(self._given_up) > OUTSTANDING:
            self._given_up.popitem(last=False)

    def _settle(self, loop: _Loop, excess: float | None) -> None:
        """`excess` of one that came home; None: it is lost."""
        home = excess is not None
        self._settled.append(home)
        for peer in loop.via:
            before = self._quality.get(peer, 1.0)
            self._quality[peer] = before + SMOOTHING * (float(home) - before)
            if excess is not None:
                known = self._excess.get(peer, excess)
                self._excess[peer] = known + SMOOTHING * (excess - known)
        loss = self.loss
        if loss is not None:
            limit = self.alarm_loss * (CLEAR_SHARE if self.alarm else 1.0)
            self.alarm = loss >= limit
