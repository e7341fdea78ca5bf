"""The sending half of delivery: automatic repeat request over anonymous paths.

Theory of operation. A message waits in the queue until the window has room. Each attempt is a new
packet: a path there, a path back, a SURB, all drawn anew, so that two attempts cannot be linked. The
resend timer starts when the packet has *departed* from this host (the mixing strategy says when), not
when it was queued. An acknowledgement of any attempt settles the message. After `max_attempts` it is
given up and reported.

          send          window open            departed               timer
    ----> queued -----> awaiting departure --> awaiting ack --------> (next attempt)
                                                    | ack                | attempts exhausted
                                                    v                    v
                                                  Acked                GaveUp

With sender shaping (`send_rate_per_second`), attempts are not opened when there is something to send but
when a sending slot comes: the driver then asks `next_attempt`, and sends drop cover where that has none.
"""

from __future__ import annotations

import heapq
import random
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from peerd.config import DeliveryConfig, MixingConfig
from peerd.delivery.events import Acked, Dropped, Event, GaveUp, Inject
from peerd.delivery.message import MESSAGE_ID_BYTES, Message, MessageCodec
from peerd.delivery.path import PathSelector, known_delay, mix_nodes
from peerd.delivery.rtt import RttEstimator
from peerd.delivery.window import Window
from peerd.mix import draw_exponential
from peerd.sphinx import Geometry, SurbKeys, make_surb, wrap
from peerd.types import DropReason, PacketKind, PeerId

WRAPS_PER_TURN = 4
"""A wrap costs most of a millisecond: more in one turn would hold up the packets of others."""
NO_PATH_RETRY_SECONDS = 0.5
REMEMBERED = 4096
"""SURBs of settled messages: a late second acknowledgement is a duplicate, not a stranger's."""
RESEND_JITTER = 0.25
"""A timeout is lengthened by up to this share, so that resends do not come in step."""


Payload = bytes | Callable[[], bytes]
"""What a message carries, or how to make it when it leaves: the same bytes for each attempt."""


@dataclass(slots=True, eq=False)
class _Attempt:
    message: _Outgoing
    keys: SurbKeys
    known_delay: float
    via: frozenset[PeerId]
    departed: float | None = None


@dataclass(slots=True, eq=False)
class _Outgoing:
    to: PeerId
    payload: Payload
    tag: int
    message_id: bytes
    attempts: list[_Attempt] = field(default_factory=list)
    deadline: float | None = None
    settled: bool = False

    def content(self) -> bytes:
        return self.payload if isinstance(self.payload, bytes) else self.payload()


class Sender:
    """All outgoing messages of one peer. Sans-IO: give it `now`, take events."""

    def __init__(
        self,
        me: PeerId,
        geometry: Geometry,
        config: DeliveryConfig,
        mixing: MixingConfig,
        paths: PathSelector,
        rng: random.Random,
    ) -> None:
        self._me = me
        self._geometry = geometry
        self._config = config
        self._codec = MessageCodec(geometry)
        self._paths = paths
        self._rng = rng
        self.mixing = mixing
        self.rtt = RttEstimator(
            config.initial_timeout_seconds,
            config.min_timeout_seconds,
            config.max_timeout_seconds,
        )
        self._window = Window(config.max_in_flight)
        self._queue: deque[_Outgoing] = deque()
        self._again: deque[_Outgoing] = deque()
        self._open: dict[bytes, _Outgoing] = {}
        self._unsettled: set[bytes] = set()
        """Ids of all that is queued or open."""
        self._surbs: dict[bytes, _Attempt] = {}
        self._settled: OrderedDict[bytes, None] = OrderedDict()
        self._timers: list[tuple[float, int, _Outgoing]] = []
        self._sequence = 0
        self._blocked_until: float | None = None

    def set_config(self, config: DeliveryConfig) -> None:
        """For every attempt and timer from now on. What is queued beyond a lower limit stays."""
        self._config = config
        self.rtt.set_limits(
            config.initial_timeout_seconds,
            config.min_timeout_seconds,
            config.max_timeout_seconds,
        )
        self._window.set_limit(config.max_in_flight)

    @property
    def queued(self) -> int:
        return len(self._queue)

    @property
    def in_flight(self) -> int:
        return len(self._open)

    @property
    def queue_limit(self) -> int:
        return self._config.queue_limit

    @property
    def max_in_flight(self) -> int:
        return self._config.max_in_flight

    def send(
        self, to: PeerId, payload: Payload, tag: int, message_id: bytes | None = None
    ) -> DropReason | None:
        """Queue a message. `tag` comes back in `Acked` or `GaveUp`. SEND_QUEUE_FULL when full.

        `message_id`: of what the recipient may have had before, so that it is taken once; None: a new one.
        One that is not settled yet is not queued again.
        """
        if len(self._queue) >= self._config.queue_limit:
            return DropReason.SEND_QUEUE_FULL
        if message_id is None:
            message_id = self._rng.randbytes(MESSAGE_ID_BYTES)
        elif message_id in self._unsettled:
            return None
        self._unsettled.add(message_id)
        self._queue.append(_Outgoing(to, payload, tag, message_id))
        return None

    def work(self, now: float) -> list[Event]:
        """Fire timers, then, unless sending is shaped, open attempts while the window and this turn
        have room."""
        events = self._expire(now)
        if self._shaped:
            return events
        for _ in range(WRAPS_PER_TURN):
            inject = self.next_attempt(now)
            if inject is None:
                break
            events.append(inject)
        return events

    def next_attempt(self, now: float) -> Inject | None:
        """Open one attempt; None where nothing waits, the window has no room or there is no path."""
        if self._blocked_until is not None and now < self._blocked_until:
            return None
        self._blocked_until = None
        message = self._next()
        if message is None:
            return None
        inject = self._attempt(message)
        if inject is None:  # too few mix nodes alive: wait, never a shorter path
            self._again.appendleft(message)
            self._blocked_until = now + NO_PATH_RETRY_SECONDS
        return inject

    @property
    def _shaped(self) -> bool:
        return self.mixing.send_rate_per_second > 0.0 and not self.mixing.direct

    def next_deadline(self, now: float) -> float | None:
        """When to call `work` again; `now` itself while there is something to send."""
        while self._timers and not self._is_live(self._timers[0]):
            heapq.heappop(self._timers)
        timer = self._timers[0][0] if self._timers else None
        if self._shaped or (not self._again and not (self._queue and self._has_room())):
            return timer
        ready = now if self._blocked_until is None else self._blocked_until
        return ready if timer is None else min(ready, timer)

    def departed(self, surb_id: bytes, now: float) -> None:
        """The strategy let the attempt go: its timer starts."""
        attempt = self._surbs.get(surb_id)
        if attempt is None or attempt.departed is not None:
            return
        attempt.departed = now
        message = attempt.message
        if message.attempts[-1] is attempt:
            jitter = 1.0 + self._rng.random() * RESEND_JITTER
            wait = attempt.known_delay + self.rtt.timeout(len(message.attempts)) * jitter
            self._arm(message, now + wait)

    def lost(self, surb_id: bytes, now: float) -> None:
        """The attempt never left this host (queue full, link down): try again without its timer."""
        attempt = self._surbs.get(surb_id)
        if attempt is not None and attempt.message.attempts[-1] is attempt:
            wait = self.rtt.timeout(len(attempt.message.attempts)) * self._rng.random()
            self._arm(attempt.message, now + wait)

    def replied(self, surb_id: bytes, body: bytes, now: float) -> Event | None:
        """A SURB reply; None when the SURB is not one of ours (cover's, or unknown)."""
        attempt = self._surbs.get(surb_id)
        if attempt is None:
            return Dropped(DropReason.DUPLICATE) if surb_id in self._settled else None
        if attempt.keys.open(self._geometry, body) != attempt.message.message_id:
            return Dropped(DropReason.BAD_BODY)
        message = attempt.message
        rtt = 0.0 if attempt.departed is None else now - attempt.departed
        self.rtt.sample(rtt - attempt.known_delay)
        self._window.acked(rtt - attempt.known_delay)
        self._settle(message)
        return Acked(message.tag, rtt, len(message.attempts))

    def peer_died(self, peer: PeerId, now: float) -> list[Event]:
        """Drop what was meant for a dead peer; resend at once what was on its way through it."""
        events = self.cancel(lambda to, _tag: to == peer, DropReason.PEER_DEAD)
        for message in list(self._open.values()):
            if message.deadline is not None and peer in message.attempts[-1].via:
                self._arm(message, now + self._rng.random() * self._config.min_timeout_seconds)
        return events

    def cancel(
        self,
        matches: Callable[[PeerId, int], bool],
        reason: DropReason = DropReason.CANCELLED,
    ) -> list[Event]:
        """Forget every unsettled message of which `matches(recipient, tag)` is true."""
        gone = [m for m in self._open.values() if matches(m.to, m.tag)]
        for message in gone:
            self._settle(message)
        self._again = deque(m for m in self._again if not m.settled)
        kept: deque[_Outgoing] = deque()
        for message in self._queue:
            if matches(message.to, message.tag):
                self._settle(message)
                gone.append(message)
            else:
                kept.append(message)
        self._queue = kept
        return [GaveUp(message.tag, reason) for message in gone]

    def _has_room(self) -> bool:
        return len(self._open) < self._window.size

    def _next(self) -> _Outgoing | None:
        while self._again:
            message = self._again.popleft()
            if not message.settled:
                return message
        if self._queue and self._has_room():
            message = self._queue.popleft()
            self._open[message.message_id] = message
            return message
        return None

    def _attempt(self, message: _Outgoing) -> Inject | None:
        mean, hops = self.mixing.sender_delay_seconds, self.mixing.path_hops
        there = self._paths.draw(self._me, message.to, hops, mean)
        back = self._paths.draw(message.to, self._me, hops, mean)
        if there is None or back is None:
            return None
        surb, keys = make_surb(self._geometry, back, randbytes=self._rng.randbytes)
        ack_delay = draw_exponential(self._rng, mean)
        body = Message(message.message_id, surb.to_bytes(), message.content(), ack_delay)
        packet = wrap(self._geometry, there, self._codec.encode(body), randbytes=self._rng.randbytes)
        known = known_delay(there) + ack_delay + known_delay(back) if self.mixing.delays_kept else 0.0
        attempt = _Attempt(message, keys, known, mix_nodes(there) | mix_nodes(back))
        message.attempts.append(attempt)
        self._surbs[keys.surb_id] = attempt
        return Inject(
            packet,
            there[0].peer,
            PacketKind.OWN,
            draw_exponential(self._rng, mean),
            keys.surb_id,
            resend=len(message.attempts) > 1,
        )

    def _arm(self, message: _Outgoing, deadline: float) -> None:
        message.deadline = deadline
        self._sequence += 1
        heapq.heappush(self._timers, (deadline, self._sequence, message))

    @staticmethod
    def _is_live(timer: tuple[float, int, _Outgoing]) -> bool:
        deadline, _, message = timer
        return not message.settled and message.deadline == deadline

    def _expire(self, now: float) -> list[Event]:
        events: list[Event] = []
        while self._timers and self._timers[0][0] <= now:
            timer = heapq.heappop(self._timers)
            if not self._is_live(timer):
                continue
            message = timer[2]
            message.deadline = None
            self._window.timed_out(now)
            if len(message.attempts) < self._config.max_attempts:
                self._again.append(message)
            else:
                self._settle(message)
                events.append(GaveUp(message.tag, DropReason.GAVE_UP))
        return events

    def _settle(self, message: _Outgoing) -> None:
        message.settled = True
        message.payload = b""  # a timer may still hold the message
        self._open.pop(message.message_id, None)
        self._unsettled.discard(message.message_id)
        for attempt in message.attempts:
            surb_id = attempt.keys.surb_id
            self._surbs.pop(surb_id, None)
            self._settled[surb_id] = None
            if len(self._settled) > REMEMBERED:
                self._settled.popitem(last=False)
