"""The roster: all records that this peer knows and has verified, the newest of each key. Sans-IO.

What it accepts depends on the records alone and not on the order in which they come, so that peers that have
heard the same know the same. A record that hangs on another (a descriptor on a certificate, a certificate on
a delegation) is refused before that is known, and goes when that goes.
"""

from __future__ import annotations

from dataclasses import dataclass

from peerd.membership import certificates
from peerd.membership.descriptor import Descriptor
from peerd.membership.records import (
    KEY_BYTES,
    MAX_RECORD_BYTES,
    Delegate,
    Kind,
    Member,
    NewAuthority,
    Opened,
    Record,
    RunNotice,
    is_of_unknown_kind,
    join_records,
    key_of,
    open_record,
    split_records,
)
from peerd.membership.shelf import Shelf
from peerd.membership.trust import Trust
from peerd.membership.verify import Refused, Verdict, Verified, Verifier
from peerd.pb import gossip_pb2
from peerd.types import DropReason, PeerId

MAX_RUNS = 8
"""Notices that are kept, the newest. One of a run that was stopped is kept like any other: so long as none
that is older than all of them is accepted, the run cannot come back."""
MAX_AUTHORITIES = 16
SPARE_REVOCATIONS = 64
REVOCATIONS_PER_MEMBER = 4
_KINDS = frozenset(Kind)
_OF_PEERS = frozenset((Kind.DELEGATION, Kind.CERTIFICATE, Kind.DESCRIPTOR))


@dataclass(frozen=True, slots=True)
class Admitted:
    record: Record
    previous: Record | None
    """What it has replaced."""
    dropped: tuple[Record, ...]
    """What went because of it: what a revocation has ended, or a change of the authority's key."""


class Roster:
    def __init__(self, network: str, trust: Trust, max_members: int, me: PeerId) -> None:
        self.network = network
        self.trust = trust
        self.me = me
        self.verifier = Verifier(trust)
        self._limits = {
            Kind.AUTHORITY: MAX_AUTHORITIES,
            Kind.DELEGATION: max_members,
            Kind.CERTIFICATE: max_members,
            Kind.REVOCATION: REVOCATIONS_PER_MEMBER * max_members + SPARE_REVOCATIONS,
        }
        self._shelf = Shelf()
        self._signed_by: dict[bytes, tuple[bytes, bytes]] = {}
        """The CA behind each record and the operator, each empty where there is none."""
        self._came_into_force: list[bytes] = []
        """Notices by which CAs have followed each other since the first that we trusted, for the disk: a
        later one of the same CA, which ends the earlier CAs, takes their place among the records."""
        self._members: tuple[PeerId, ...] | None = None

    # -- taking in ---------------------------------------------------------------------------------

    def offer(self, encoded: bytes, wall: float) -> Record | Refused | None:
        """Verify a record and take it in if it is news. None: it is known, or something newer is.

        `wall` is Unix time. A signature is looked at only for what would be news.
        """
        outcome = self.admit(encoded, wall)
        return outcome.record if isinstance(outcome, Admitted) else outcome

    def admit(self, encoded: bytes, wall: float) -> Admitted | Refused | None:
        """The same, and what else has changed by it."""
        if len(encoded) > MAX_RECORD_BYTES:
            return Refused(DropReason.BAD_GOSSIP, "longer than any record", hostile=True)
        opened = open_record(encoded)
        if opened is None:
            if is_of_unknown_kind(encoded):
                return Refused(DropReason.UNKNOWN_RECORD, "of a kind that this version does not know")
            return Refused(DropReason.BAD_GOSSIP, "not a record", hostile=True)
        known = self._shelf.get(opened.key)
        if (known is not None and not self._replaces(opened, known)) or self._is_of_the_past(opened):
            return None
        verdict = self._refuse_unread(opened, known is None) or self._verify(opened, wall)
        if not isinstance(verdict, Verified):
            return verdict
        if verdict.operator and self.is_revoked(verdict.operator):
            return Refused(DropReason.REVOKED_PEER, "run: its operator is revoked")
        return self._accept(verdict, known)

    def lacks(self, key: bytes, version: int) -> bool:
        """Whether such a record would be news and might be accepted."""
        if len(key) != KEY_BYTES or key[0] not in _KINDS:
            return False
        known = self._shelf.get(key)
        if known is not None and version <= known.version:
            return False
        claimed = Opened(Kind(key[0]), key, version, b"", None)
        if self._is_of_the_past(claimed):
            return False
        if claimed.kind in _OF_PEERS and self.is_revoked(claimed.id):
            return False
        if claimed.kind is Kind.DESCRIPTOR and self.member(PeerId(claimed.id)) is None:
            claimed = Opened(Kind.CERTIFICATE, key_of(Kind.CERTIFICATE, claimed.id), version, b"", None)
        return not self._is_full(claimed, known is None)

    def _replaces(self, opened: Opened, known: Record) -> bool:
        """Of two descriptors of one version the first stays; but if there is another of oneself, somebody
        else has the same keys, and this peer must hear of it."""
        if opened.key == key_of(Kind.DESCRIPTOR, self.me) and opened.version == known.version:
            return opened.encoded != known.encoded
        return opened.version > known.version

    def _is_of_the_past(self, opened: Opened) -> bool:
        """A notice of a CA from before the authority ended all that were before."""
        return opened.kind is Kind.AUTHORITY and opened.version < round(self.trust.retired_at * 1000)

    def _is_full(self, opened: Opened, is_new: bool) -> bool:
        if not is_new or opened.id == self.me:
            return False
        if opened.kind is Kind.RUN and self._shelf.count(Kind.RUN) >= MAX_RUNS:
            oldest = min((record.version, record.key) for record in self._shelf.of(Kind.RUN))
            return (opened.version, opened.key) < oldest
        limit = self._limits.get(opened.kind)
        return limit is not None and self._shelf.count(opened.kind) >= limit

    def _refuse_unread(self, opened: Opened, is_new: bool) -> Refused | None:
        """What can be told without a signature."""
        if opened.kind in _OF_PEERS and self.is_revoked(opened.id):
            return Refused(DropReason.REVOKED_PEER, f"{opened.kind.name.lower()}: its peer is revoked")
        if self._is_full(opened, is_new):
            return Refused(DropReason.GOSSIP_FULL, f"{opened.kind.name.lower()}: no more are kept")
        needs = None
        if opened.kind is Kind.DESCRIPTOR:
            needs = key_of(Kind.CERTIFICATE, opened.id)
        elif opened.kind is Kind.CERTIFICATE:
            delegate = certificates.issuing_delegate(opened.message)
            if delegate is not None and self.is_revoked(delegate):
                return Refused(DropReason.REVOKED_PEER, "certificate: its delegate is revoked")
            needs = None if delegate is None else key_of(Kind.DELEGATION, delegate)
        if needs is None or needs in self._shelf:
            return None
        return Refused(DropReason.UNKNOWN_PEER, "what it hangs on is not known", waits_for=needs)

    def _verify(self, opened: Opened, wall: float) -> Verdict | None:
        match opened.kind:
            case Kind.AUTHORITY:
                return self.verifier.authority(opened, wall)
            case Kind.DELEGATION:
                return self.verifier.delegation(opened, wall)
            case Kind.CERTIFICATE:
                issuer = certificates.issuing_delegate(opened.message)
                delegate = None if issuer is None else self.delegate(issuer)
                return self.verifier.certificate(opened, delegate, wall)
            case Kind.REVOCATION:
                return self.verifier.revocation(opened, wall)
            case Kind.DESCRIPTOR:
                member = self.member(PeerId(opened.id))
                assert member is not None
                return self.verifier.descriptor(opened, member, wall)
            case Kind.RUN:
                return self.verifier.run(opened, wall)

    def _accept(self, verified: Verified, previous: Record | None) -> Admitted:
        record = verified.record
        self._shelf.put(record)
        if record.kind is Kind.CERTIFICATE:
            self._members = None
        self._signed_by[record.key] = (verified.by, verified.operator)
        return Admitted(record, previous, tuple(self._consequences(record, previous)))

    def _consequences(self, record: Record, previous: Record | None) -> list[Record]:
        match record.body:
            case NewAuthority():
                return self._authority_changed(record, record.body)
            case Delegate(certificate=certificate) if previous is not None:
                before = previous.body
                assert isinstance(before, Delegate)
                if before.certificate.public_key() != certificate.public_key():
                    return self._drop_all(self._issued_by(PeerId(record.id)))
            case Member(name=name):
                descriptor = self.descriptor(PeerId(record.id))
                if descriptor is not None and descriptor.name != name:
                    return self._drop_all([key_of(Kind.DESCRIPTOR, record.id)])
            case RunNotice() if self._shelf.count(Kind.RUN) > MAX_RUNS:
                oldest = min(self._shelf.of(Kind.RUN), key=lambda known: (known.version, known.key))
                return self._drop_all([oldest.key])
        return self._revoked(record.id) if record.kind is Kind.REVOCATION else []

    def _authority_changed(self, record: Record, notice: NewAuthority) -> list[Record]:
        if not notice.retires_earlier:
            self._came_into_force.append(record.encoded)
            del self._came_into_force[:-MAX_AUTHORITIES]
        if not self.trust.add(notice) and not notice.retires_earlier:
            return []
        dropped: list[Record] = []
        while unfounded := [known for known in self._shelf.of(Kind.AUTHORITY) if self._is_unfounded(known)]:
            # A CA that was brought into force by one that is not any more goes with it, unless it was the one
            # to take over: then its own notice stands in the place of that.
            dropped += self._drop_all([known.key for known in unfounded])
            for known in unfounded:
                self.trust.retire(known.id)
        return dropped + self._drop_unfounded()

    def _revoked(self, identifier: bytes) -> list[Record]:
        is_delegate = self.delegate(PeerId(identifier)) is not None
        issued = self._issued_by(PeerId(identifier)) if is_delegate else []
        own = [key_of(kind, identifier) for kind in (Kind.DELEGATION, Kind.CERTIFICATE)]
        runs = [run.key for run in self._shelf.of(Kind.RUN) if self._is_unfounded(run)]
        return self._drop_all([*own, *issued, *runs])

    def _issued_by(self, delegate: PeerId) -> list[bytes]:
        return [
            record.key
            for record in self._shelf.of(Kind.CERTIFICATE)
            if isinstance(record.body, Member) and record.body.issuer == delegate
        ]

    # -- letting go --------------------------------------------------------------------------------

    def expire(self, wall: float) -> list[Record]:
        """Drop what is over at Unix time `wall`: certificates, and what hangs on them."""
        over = [record.key for record in self._shelf.all() if _ends_at(record) < wall]
        return self._drop_all(over) + self._drop_unfounded()

    def _drop_unfounded(self) -> list[Record]:
        """All records that nothing which we know would let us accept now."""
        dropped: list[Record] = []
        for record in self._shelf.all():  # in order of dependency: what hangs on a dropped one follows
            if record.key in self._shelf and self._is_unfounded(record):
                dropped += self._drop_all([record.key])
        return dropped

    def _is_unfounded(self, record: Record) -> bool:
        authority, operator = self._signed_by[record.key]
        if authority and not self.trust.in_force(authority):
            return True
        match record.body:
            case NewAuthority():
                return record.version < round(self.trust.retired_at * 1000)
            case Delegate():
                return self.is_revoked(record.id)
            case Member(issuer=issuer):
                missing = issuer is not None and self.delegate(issuer) is None
                return missing or self.is_revoked(record.id)
            case Descriptor():
                return self.member(PeerId(record.id)) is None
            case RunNotice():
                return self.is_revoked(operator)
        return False

    def _drop_all(self, keys: list[bytes]) -> list[Record]:
        """These, and the descriptors of those whose certificate goes."""
        dropped = []
        of_members = [key_of(Kind.DESCRIPTOR, key[1:]) for key in keys if key[0] == Kind.CERTIFICATE]
        for key in [*keys, *of_members]:
            record = self._shelf.pop(key)
            if record is not None:
                self._signed_by.pop(key, None)
                self._members = None
                dropped.append(record)
        return dropped

    # -- what is known -----------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._shelf)

    def summary(self) -> bytes:
        """16 bytes: the hash of all keys and versions in order."""
        return self._shelf.summary()

    def recent(self) -> list[bytes]:
        """Keys of what came last, the newest first."""
        return self._shelf.recent()

    def keys(self, from_: bytes = b"", until: bytes = b"") -> list[tuple[bytes, int]]:
        """(key, version) in order, from a key to before another; empty: from the beginning, to the end."""
        return self._shelf.versions(from_, until)

    def get(self, key: bytes) -> Record | None:
        return self._shelf.get(key)

    def records(self) -> list[Record]:
        """In order of dependency."""
        return self._shelf.all()

    def member(self, peer: PeerId) -> Member | None:
        record = self._shelf.get(key_of(Kind.CERTIFICATE, peer))
        return record.body if record is not None and isinstance(record.body, Member) else None

    def members(self) -> tuple[PeerId, ...]:
        """Everybody with a certificate, oneself included, in order."""
        if self._members is None:
            keys = self._shelf.versions(bytes((Kind.CERTIFICATE,)), bytes((Kind.CERTIFICATE + 1,)))
            self._members = tuple([PeerId(key[1:]) for key, _ in keys])
        return self._members

    def descriptor(self, peer: PeerId) -> Descriptor | None:
        record = self._shelf.get(key_of(Kind.DESCRIPTOR, peer))
        return record.body if record is not None and isinstance(record.body, Descriptor) else None

    def delegate(self, peer: PeerId) -> Delegate | None:
        record = self._shelf.get(key_of(Kind.DELEGATION, peer))
        return record.body if record is not None and isinstance(record.body, Delegate) else None

    def is_revoked(self, identifier: bytes) -> bool:
        """A peer, or an operator by its `operator_id`."""
        return key_of(Kind.REVOCATION, identifier) in self._shelf

    def runs(self) -> list[RunNotice]:
        """The newest first."""
        records = sorted(
            self._shelf.of(Kind.RUN), key=lambda record: (record.version, record.key), reverse=True
        )
        return [record.body for record in records if isinstance(record.body, RunNotice)]

    def allows(self, peer: PeerId, wall: float, certificate: bytes | None = None) -> bool:
        """Whether to have a link with a peer whose certificate TLS accepts. Newcomers are not known yet.

        `certificate` is the one that it has shown (DER). TLS does not know which delegates are revoked, nor
        that none may speak for a peer that the CA itself has enrolled.
        """
        if self.is_revoked(peer):
            return False
        member = self.member(peer)
        if certificate is None:
            return member is None or certificates.is_valid_at(member.certificate, wall)
        shown = certificates.load_der(certificate)
        delegate = None if shown is None else certificates.issuing_delegate(shown)
        if delegate is None:
            return shown is not None
        return not self.is_revoked(delegate) and (member is None or member.issuer is not None)

    # -- the disk ----------------------------------------------------------------------------------

    def dump(self) -> bytes:
        """An encoded Records message with all that is known."""
        known = {record.encoded for record in self._shelf.of(Kind.AUTHORITY)}
        past = [encoded for encoded in self._came_into_force if encoded not in known]
        return join_records([*past, *(record.encoded for record in self._shelf.all())])

    def load(self, data: bytes, wall: float) -> list[Refused]:
        """Verify and take in what `dump` has written; what is not good any more is skipped, and told."""
        encoded, complete = split_records(data)
        refused = [] if complete else [Refused(DropReason.BAD_GOSSIP, "the file is broken off")]
        encoded.sort(key=lambda record: record[0] >> 3 if record else 0)  # the field number: the kind
        notices = [record for record in encoded if record and record[0] >> 3 == Kind.AUTHORITY]
        for _ in notices:  # each may be signed by a CA that another brings into force
            if not self._load_some(notices, wall):
                break
        for record in encoded:
            outcome = self.offer(record, wall)
            if isinstance(outcome, Refused):
                refused.append(outcome)
        return refused

    def _load_some(self, notices: list[bytes], wall: float) -> bool:
        before = len(self._came_into_force), self.trust.retired_at
        for record in notices:
            self.offer(record, wall)
        return before != (len(self._came_into_force), self.trust.retired_at)


def _ends_at(record: Record) -> float:
    """Unix time after which it is good for nothing; infinite for what has no end."""
    match record.body:
        case Member(certificate=certificate) | Delegate(certificate=certificate):
            return certificate.not_valid_after_utc.timestamp()
        case RunNotice():
            shown = gossip_pb2.Record.FromString(record.encoded).run.certificate
            operator = certificates.load_der(shown)
            assert operator is not None
            return operator.not_valid_after_utc.timestamp()
    return float("inf")
