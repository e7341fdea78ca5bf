"""How records spread: rumors for what is urgent, anti-entropy for all the rest. Sans-IO.

    tick         one Summary to one random neighbour, in every interval, at a random moment of it
    Summary      who knows something else answers with Digests
    Digest       who knows something newer sends it as Records, and asks for what it lacks by Wanted
    Wanted       is answered with Records
    Records      what is news (who joined, left or was revoked, a run) goes on at once to random neighbours

In quiet that is one cell an interval. Each message can only cause a later one of this list, and Records only
what was news to the peer, so every exchange ends. What a neighbour is sent, or can cause to be sent, is
bounded by a bucket of cells; what is left out is brought by a later exchange, with this neighbour or another.

Demers et al., Epidemic algorithms for replicated database maintenance, 1987 (push-pull, rumor mongering);
van Renesse et al., Efficient reconciliation and flow control for anti-entropy protocols, 2008.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from collections import OrderedDict, deque
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from peerd.membership.messages import (
    Digest,
    Records,
    Summary,
    Unknown,
    Wanted,
    decode,
    encode_digests,
    encode_records,
    encode_summary,
    encode_wanted,
    fits,
)
from peerd.membership.records import (
    Kind,
    Record,
    key_of,
    peek,
)
from peerd.membership.roster import Admitted, Roster
from peerd.membership.rumors import Heat, is_news
from peerd.membership.verify import Refused
from peerd.types import DropReason, PeerId

MIN_CELL_BYTES = 128
CELLS_BURST = 32.0
CELLS_PER_SECOND = 8.0
"""To one neighbour, of all kinds. A link must admit more: cells that left one by one may come together."""
MAX_DIGESTS = 8
"""Of one exchange; but not more than a third of what may be sent, or nothing would be left for records."""
SKEW_SAMPLES = 16
LONGEST_PAUSE_INTERVALS = 64
REFUSED_INTERVALS = 60.0
"""A record that was refused is so long not asked for again from who sent it."""
MAX_REFUSED = 64
MAX_ASKED = 2048
MAX_EARLY = 64
"""Records that wait for one they hang on: cells of one exchange may overtake each other in the mix."""


@dataclass(frozen=True, slots=True)
class Tell:
    to: PeerId
    data: bytes
    """Fits a cell."""
    at_once: bool
    """On a link that has just come up, which everybody sees; else it leaves among the packets."""


@dataclass(frozen=True, slots=True)
class Heard:
    records: tuple[Record, ...]
    """What was news to us."""
    tells: tuple[Tell, ...]
    refused: tuple[Refused, ...]
    skew: float | None
    """Seconds by which the neighbour's wall clock is ahead of ours; known after a Summary. Never too much:
    what is late on its way only makes it less."""
    dropped: tuple[Record, ...] = ()
    """What went because of the news: by a revocation, or a change of the authority's key."""


@dataclass(slots=True)
class _Neighbour:
    cells: float
    filled_at: float
    skews: deque[float] = field(default_factory=lambda: deque(maxlen=SKEW_SAMPLES))
    differed: tuple[bytes, bytes] = (b"", b"")
    """Both summaries, when last they were not the same."""
    fruitless: int = 0
    """Exchanges since, which have changed neither."""
    silent_until: float = -math.inf
    refused: OrderedDict[bytes, tuple[int, float]] = field(default_factory=OrderedDict)
    """What it has sent and we do not take: key -> (version, until when)."""

    asked: set[bytes] = field(default_factory=set)
    """What it was asked for until `asked_until`, and not again: both sides may have begun an exchange, and
    ranges are compared one by one."""
    asked_until: float = -math.inf

    def is_silent_about(self, key: bytes, version: int, now: float) -> bool:
        """Whether asking it for this record would be of no use."""
        refused, until = self.refused.get(key, (-1, 0.0))
        return version == refused and now < until

    def refill(self, now: float) -> int:
        """Cells that may be sent now."""
        gained = max(now - self.filled_at, 0.0) * CELLS_PER_SECOND
        self.cells = min(self.cells + gained, CELLS_BURST)
        self.filled_at = now
        return int(self.cells)


class Gossip:
    """`cell_bytes` is what one cell has room for; `interval` in seconds. The roster is read and filled."""

    def __init__(
        self, roster: Roster, cell_bytes: int, interval: float, rng: random.Random, now: float
    ) -> None:
        if cell_bytes < MIN_CELL_BYTES:
            raise ValueError(f"gossip needs cells of at least {MIN_CELL_BYTES} bytes")
        self._roster = roster
        self._cell_bytes = cell_bytes
        self._interval = interval
        self._rng = rng
        self._neighbours: dict[PeerId, _Neighbour] = {}
        self._early: OrderedDict[bytes, Refused] = OrderedDict()
        self._heat = Heat(now)
        self._digests: list[tuple[bytes, bytes]] = []
        self._digests_of = b""
        self._draw(now)

    def next_deadline(self) -> float:
        return self._next

    def set_interval(self, interval: float, now: float) -> None:
        """Of exchanges; the next one is drawn anew."""
        self._interval = interval
        self._draw(now)

    def fits(self, record: bytes) -> bool:
        """Whether a cell has room for it. Otherwise it is never passed on."""
        return fits(record, self._cell_bytes)

    def tick(self, neighbours: Collection[PeerId], now: float, wall: float) -> list[Tell]:
        """In every interval one neighbour is asked if it knows something else. Who is gone is forgotten."""
        if now < self._next:
            return []
        self._draw(max(self._interval_ends, now - self._interval))
        present = frozenset(neighbours)
        for peer in [known for known in self._neighbours if known not in present]:
            del self._neighbours[peer]
        for known in self._neighbours.values():
            if now >= known.asked_until:
                known.asked.clear()
        chosen = self._choose(neighbours, 1)
        return [tell for peer in chosen for tell in self._tell(peer, [self._summary(wall)], now)]

    def link_up(self, peer: PeerId, now: float, wall: float) -> list[Tell]:
        """It may know nothing of us, and cannot use us before it does: who we are, then a Summary."""
        self._neighbour(peer, now).differed = (b"", b"")  # what was said before may be lost
        me = self._roster.member(self._roster.me)
        delegate = None if me is None else me.issuer
        keys = [] if delegate is None else [key_of(Kind.DELEGATION, delegate)]
        keys += [key_of(kind, self._roster.me) for kind in (Kind.CERTIFICATE, Kind.DESCRIPTOR)]
        own = [record for key in keys if (record := self._roster.get(key)) is not None]
        return self._tell(peer, [*self._pack(own, now, peer), self._summary(wall)], now, at_once=True)

    def greeting(self, peer: PeerId) -> bytes | None:
        """For a peer that has just connected: its own descriptor, as it is known here. Of two daemons with
        one identity the older one hears of the newer so, to whose address everybody has gone over."""
        record = self._roster.get(key_of(Kind.DESCRIPTOR, peer))
        cells = [] if record is None else encode_records([record.encoded], self._cell_bytes, 1)
        return cells[0] if cells else None

    def publish(self, records: Sequence[Record], neighbours: Collection[PeerId], now: float) -> list[Tell]:
        """News of our own, which the roster has taken in: pass it on as a rumor."""
        return self._spread(records, neighbours, now)

    def received(
        self, source: PeerId, data: bytes, neighbours: Collection[PeerId], now: float, wall: float
    ) -> Heard:
        """Whatever a neighbour has sent. Answers go only to `neighbours`: those that we have a link to."""
        message = decode(data) if len(data) <= self._cell_bytes else None
        known = self._neighbour(source, now) if source in neighbours else None
        match message:
            case None:
                bad = Refused(DropReason.BAD_GOSSIP, "not gossip", hostile=True)
                return Heard((), (), (bad,), None)
            case Unknown():
                later = Refused(DropReason.UNKNOWN_RECORD, "gossip that this version does not know")
                return Heard((), (), (later,), None)
            case Summary():
                skew = message.sent_at - wall
                if known is None:
                    return Heard((), (), (), skew)
                known.skews.append(skew)
                tells = self._on_summary(source, known, message, now)
                return Heard((), tuple(tells), (), max(known.skews))
            case Digest():
                tells = [] if known is None else self._on_digest(source, known, message, now)
                return Heard((), tuple(tells), (), None)
            case Wanted(keys=keys):
                tells = [] if known is None else self._send_records(source, dict.fromkeys(keys), now)
                return Heard((), tuple(tells), (), None)
            case Records(encoded=encoded):
                return self._on_records(source, known, encoded, neighbours, now, wall)

    # -- anti-entropy ------------------------------------------------------------------------------

    def _on_summary(self, source: PeerId, known: _Neighbour, summary: Summary, now: float) -> list[Tell]:
        both = (self._roster.summary(), summary.hash)
        if both[0] == both[1]:
            known.differed, known.fruitless = (b"", b""), 0
            known.refused.clear()
            known.asked.clear()
            return []
        if both != known.differed:
            known.differed, known.fruitless = both, 0
        elif now < known.silent_until:
            return []
        # Two that never agree, as when one has no room for what the other knows, ask each other ever less.
        pause = min(2**known.fruitless, LONGEST_PAUSE_INTERVALS) * self._interval
        known.silent_until = now + pause * self._rng.uniform(0.5, 1.0)
        known.fruitless = min(known.fruitless + 1, LONGEST_PAUSE_INTERVALS)
        most = min(max(known.refill(now) // 3, 1), MAX_DIGESTS)
        return self._tell(source, self._choose_digests(most), now)

    def _choose_digests(self, most: int) -> list[bytes]:
        """All, if so many may be sent; else half of them where something is new, and random others."""
        cells = self._all_digests()
        if len(cells) <= most:
            return [cell for _, cell in cells]
        starts = [start for start, _ in cells]
        where_new = dict.fromkeys(_index(starts, key) for key in self._roster.recent())
        chosen = list(where_new)[: max(most // 2, 1)]
        others = [number for number in range(len(cells)) if number not in chosen]
        chosen += self._rng.sample(others, most - len(chosen))
        return [cells[number][1] for number in sorted(chosen)]

    def _all_digests(self) -> list[tuple[bytes, bytes]]:
        summary = self._roster.summary()
        if self._digests_of != summary:
            self._digests = encode_digests(self._roster.keys(), self._cell_bytes)
            self._digests_of = summary
        return self._digests

    def _on_digest(self, source: PeerId, known: _Neighbour, digest: Digest, now: float) -> list[Tell]:
        if known.refill(now) == 0:
            return []
        ours = self._roster.keys(digest.from_, digest.until)
        differing = set(ours).symmetric_difference(digest.known)
        if not differing:
            return []
        theirs = dict(digest.known)
        newer = [key for key, version in ours if version > theirs.get(key, -1)]
        wanted = self._wanted(known, sorted(differing.difference(ours)), now)
        tells = self._tell(source, encode_wanted(wanted, self._cell_bytes), now)
        return tells + self._send_records(source, newer, now)

    def _send_records(self, to: PeerId, keys: Iterable[bytes], now: float) -> list[Tell]:
        records = [record for key in keys if (record := self._roster.get(key)) is not None]
        return self._tell(to, self._pack(records, now, to), now)

    def _wanted(self, known: _Neighbour, said: Iterable[tuple[bytes, int]], now: float) -> list[bytes]:
        """What to ask for; with a descriptor also the certificate that it hangs on."""
        wanted: dict[bytes, None] = {}
        for key, version in said:
            if self._roster.lacks(key, version) and not known.is_silent_about(key, version, now):
                certificate = key_of(Kind.CERTIFICATE, key[1:])
                if key[0] == Kind.DESCRIPTOR and self._roster.get(certificate) is None:
                    wanted[certificate] = None
                wanted[key] = None
        if now >= known.asked_until or len(known.asked) > MAX_ASKED:
            known.asked, known.asked_until = set(), now + self._interval
        fresh = [key for key in wanted if key not in known.asked]
        known.asked.update(fresh)
        return fresh

    # -- records -----------------------------------------------------------------------------------

    def _on_records(
        self,
        source: PeerId,
        known: _Neighbour | None,
        encoded: Iterable[bytes],
        neighbours: Collection[PeerId],
        now: float,
        wall: float,
    ) -> Heard:
        admitted: list[Admitted] = []
        refused: list[Refused] = []
        for record in encoded:
            outcome = self._roster.admit(record, wall)
            if isinstance(outcome, Admitted):
                admitted.append(outcome)
                self._catch_up(outcome.record, wall, admitted, refused)
            elif isinstance(outcome, Refused):
                refused += self._keep_early(record, outcome) if outcome.waits_for else [outcome]
                if known is not None:
                    self._remember_refused(known, record, now)
                if outcome.hostile:
                    break  # whoever sends that makes us work for nothing: no further record of the cell
        hot = [one.record for one in admitted if is_news(one) and self._heat.passes(one.record, now, wall)]
        tells = self._spread(hot, [peer for peer in neighbours if peer != source], now) if hot else []
        return Heard(
            tuple(one.record for one in admitted),
            tuple(tells),
            tuple(refused),
            None,
            tuple(gone for one in admitted for gone in one.dropped),
        )

    def _remember_refused(self, known: _Neighbour, encoded: bytes, now: float) -> None:
        said = peek(encoded)
        if said is not None:
            key, version = said
            known.refused[key] = (version, now + REFUSED_INTERVALS * self._interval)
            known.refused.move_to_end(key)
            if len(known.refused) > MAX_REFUSED:
                known.refused.popitem(last=False)

    def _keep_early(self, encoded: bytes, refused: Refused) -> list[Refused]:
        """Until what it hangs on comes; what is thrown out for it is refused for good."""
        self._early[encoded] = refused
        return [] if len(self._early) <= MAX_EARLY else [self._early.popitem(last=False)[1]]

    def _catch_up(
        self, record: Record, wall: float, admitted: list[Admitted], refused: list[Refused]
    ) -> None:
        """Take in what has waited for this record."""
        waiting = [encoded for encoded, early in self._early.items() if early.waits_for == record.key]
        for encoded in waiting:
            if self._early.pop(encoded, None) is None:
                continue
            outcome = self._roster.admit(encoded, wall)
            if isinstance(outcome, Admitted):
                admitted.append(outcome)
                self._catch_up(outcome.record, wall, admitted, refused)
            elif isinstance(outcome, Refused):
                refused.append(outcome)

    def _spread(self, records: Sequence[Record], neighbours: Collection[PeerId], now: float) -> list[Tell]:
        if not records or not neighbours:
            return []
        chosen = self._choose(neighbours, fanout(len(neighbours) + 1))
        cells = encode_records(self._ordered(records), self._cell_bytes, int(CELLS_BURST))
        return [tell for peer in chosen for tell in self._tell(peer, cells, now)]

    # -- cells -------------------------------------------------------------------------------------

    def _pack(self, records: Iterable[Record], now: float, to: PeerId) -> list[bytes]:
        """As many cells as the neighbour may be sent now."""
        limit = self._neighbour(to, now).refill(now)
        return encode_records(self._ordered(records), self._cell_bytes, limit)

    def _ordered(self, records: Iterable[Record]) -> list[bytes]:
        """What others hang on comes first. Then peer by peer in random order: if not all can be sent, those
        that are come whole, and not the same from every neighbour."""
        groups: dict[bytes, list[Record]] = {}
        first: list[Record] = []
        for record in sorted(records, key=lambda record: (record.kind, record.version)):
            if record.kind in (Kind.CERTIFICATE, Kind.DESCRIPTOR):
                groups.setdefault(record.id, []).append(record)
            else:
                first.append(record)
        peers = list(groups.values())
        self._rng.shuffle(peers)
        return [record.encoded for record in [*first, *(record for group in peers for record in group)]]

    def _tell(self, peer: PeerId, cells: Sequence[bytes], now: float, *, at_once: bool = False) -> list[Tell]:
        """As many as its bucket has room for."""
        known = self._neighbour(peer, now)
        count = min(known.refill(now), len(cells))
        known.cells -= count
        return [Tell(peer, cell, at_once) for cell in cells[:count]]

    def _summary(self, wall: float) -> bytes:
        return encode_summary(self._roster.summary(), wall)

    def _neighbour(self, peer: PeerId, now: float) -> _Neighbour:
        if peer not in self._neighbours:
            self._neighbours[peer] = _Neighbour(CELLS_BURST, now)
        return self._neighbours[peer]

    def _choose(self, neighbours: Collection[PeerId], count: int) -> list[PeerId]:
        """A set has no order that a seed could repeat."""
        among = neighbours if isinstance(neighbours, Sequence) else sorted(neighbours)
        return self._rng.sample(among, min(count, len(among)))

    def _draw(self, start: float) -> None:
        self._interval_ends = start + self._interval
        self._next = start + self._rng.random() * self._interval


def fanout(peers: int) -> int:
    """Neighbours to whom a rumor is passed on in a network of so many: all but e**-fanout of them hear it."""
    return max(3, math.ceil(math.log2(peers)) + 1)


def _index(starts: list[bytes], key: bytes) -> int:
    """In which of the ranges that start there the key lies."""
    return max(bisect_right(starts, key) - 1, 0)
