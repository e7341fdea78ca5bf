"""The network's authority: an offline key that signs peers in. `peerctl network ...` drives it.

DIR/network.json         the network's parameters
DIR/authority.json       its CAs, and all that it has signed and revoked (see `ledger`)
DIR/ca.key         0600  the private key of the CA in force, and of an earlier one while that is in force too;
                         keep this folder off the peers
DIR/bundles/NAME.bundle  what each peer installs: carry it there
DIR/records/NAME.record  what all peers are to know: `peerctl network publish` tells any one of them

The ledger is replaced whole at each change and everything else follows from it. After a crash the same
command once more completes what it began; nothing is ever signed twice in different ways.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from peerd.clock import Clock, wall
from peerd.config import NetworkConfig, convert
from peerd.errors import ConflictError, DeniedError, InvalidInputError, NotFoundError
from peerd.membership import certificates, rollover
from peerd.membership.bundle import Bundle
from peerd.membership.descriptor import Descriptor, check_name
from peerd.membership.identity import Identity, Request, verify_request
from peerd.membership.ledger import (
    HINT,
    KEY_FILE,
    Enrolled,
    Ledger,
    Operator,
    Revoked,
    Role,
    Whom,
    read_keys,
    write_keys,
)
from peerd.membership.recordfile import write_records
from peerd.membership.records import delegation_record, sign_revocation
from peerd.membership.rollover import Rotation
from peerd.store import StateLock, read_bounded, write_atomic, write_secret
from peerd.types import PeerId

MAX_NETWORK_BYTES = 1 << 20
NETWORK_FILE = "network.json"
DELEGATE_DAYS = 90.0
BUSY = "another command on this network is under way; try again"


class Authority:
    """Every method that signs something takes the folder's lock and reads the ledger anew. They raise
    ConflictError while another process has the lock, InvalidInputError when the disk refuses."""

    def __init__(self, directory: Path, network: NetworkConfig, signed: Ledger, clock: Clock = wall) -> None:
        self.directory = directory
        self.network = network
        self._ledger = signed
        self._clock = clock
        self._keys = read_keys(directory)
        self._told: tuple[bytes, ...] | None = None
        """The records of every bundle; None: to be listed anew."""
        self._signing_key()

    @classmethod
    def create(cls, directory: Path, network: NetworkConfig) -> Authority:
        """A new network in a new or empty folder. ConflictError where one lies already."""
        if any((directory / name).exists() for name in (NETWORK_FILE, "roster.json")):
            raise ConflictError(f"{directory}: a network lies here already")
        key = certificates.new_key()
        with _writing(directory):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_keys(directory, [key])
            Ledger(authorities=(certificates.make_ca(network.name, key),)).save(directory)
            write_atomic(directory / NETWORK_FILE, msgspec.json.format(msgspec.json.encode(network)))
        return cls.load(directory)

    @classmethod
    def load(cls, directory: Path) -> Authority:
        """NotFoundError without a network, InvalidInputError for broken files, DeniedError for a key
        that is not the CA's."""
        path = directory / NETWORK_FILE
        try:
            raw = msgspec.json.decode(read_bounded(path, MAX_NETWORK_BYTES, HINT), type=dict[str, object])
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise InvalidInputError(f"{path}: broken file: {error}") from None
        return cls(directory, convert(raw, NetworkConfig, str(path)), Ledger.load(directory))

    # -- what there is --------------------------------------------------------

    @property
    def authorities(self) -> tuple[x509.Certificate, ...]:
        """The CAs in force. The first one signs; a second one is there while the key is being changed."""
        return self._ledger.authorities

    @property
    def peers(self) -> tuple[Enrolled, ...]:
        """Every enrolled peer, by name."""
        return self._ledger.peers

    @property
    def revoked(self) -> tuple[Revoked, ...]:
        return self._ledger.revoked

    @property
    def operators(self) -> tuple[Operator, ...]:
        """Those ever made whose certificates have not been revoked."""
        return tuple(o for o in self._ledger.operators if self._ledger.revocation(o.id) is None)

    def roster(self) -> tuple[Descriptor, ...]:
        """Every enrolled peer, by name."""
        return tuple(peer.descriptor for peer in self._ledger.peers)

    # -- peers ----------------------------------------------------------------

    def enroll(self, request: bytes, where: str = "request") -> Bundle:
        """Sign a new peer in. ConflictError for a name or identity that is enrolled already."""
        return self.enroll_all([(request, where)])[0]

    def enroll_all(self, requests: Sequence[tuple[bytes, str]]) -> list[Bundle]:
        """Sign in all of these (request, where it is from), or none of them. Each is told of all the others.

        DIR/bundles/NAME.bundle is written for the new ones; nobody else needs another bundle.
        """
        verified = [verify_request(content, where) for content, where in requests]
        with self._changing():
            for request in verified:
                self._check_new(request.descriptor)
                self._ledger = self._ledger.with_peer(self._certified(request, None))
            self._ledger.save(self.directory)
            return [self._write_bundle(request.descriptor.peer_id) for request in verified]

    def enroll_local(self, name: str, address: str, state_dir: Path) -> Bundle:
        """For a peer on this same host: make its keys in its own state directory, then enrol it."""
        check_name(name)
        if self._ledger.by_name(name) is not None:
            raise ConflictError(f"{name}: a peer of this name is enrolled already")
        identity = Identity.create(state_dir, name, address)
        return self.enroll(identity.request(), name)

    def sign(self, request: bytes, where: str = "request") -> Bundle:
        """Sign a peer in, or give one that is enrolled already a new certificate and bundle.

        ConflictError for a name that is another's, and for an identity that has another name.
        """
        verified = verify_request(request, where)
        with self._changing():
            known = self._ledger.by_id(verified.descriptor.peer_id)
            if known is None or known.name != verified.descriptor.name:
                self._check_new(verified.descriptor)
            elif known.delegation is not None and verified.link_public != known.delegation.public_key():
                raise ConflictError(
                    f"{known.name}: signs in others with its present link key, so it cannot change; "
                    "revoke this peer and enrol it anew under another identity"
                )
            self._ledger = self._ledger.with_peer(self._certified(verified, known))
            self._ledger.save(self.directory)
            return self._write_bundle(verified.descriptor.peer_id)

    def write_bundles(self) -> dict[str, Bundle]:
        """DIR/bundles/NAME.bundle for every peer, with all that is known now."""
        with self._changing():
            return {peer.name: self._write_bundle(peer.peer_id) for peer in self._ledger.peers}

    def delegate(self, name: str, days: float = DELEGATE_DAYS) -> tuple[bytes, Bundle]:
        """Let a peer sign in others for so long; it may be called again to go on. The record that tells all
        others, and the peer's new bundle. NotFoundError for a name that is not enrolled."""
        with self._changing():
            peer = self._ledger.by_name(name)
            if peer is None:
                raise NotFoundError(f"{name}: no peer of this name is enrolled")
            delegation = certificates.delegate_certificate(
                peer.peer_id,
                peer.name,
                certificates.public_key_of(peer.certificate),
                self._ledger.authorities[0],
                self._signing_key(),
                days,
                instead_of=peer.delegation,
            )
            self._ledger = self._ledger.with_peer(replace(peer, delegation=delegation))
            self._ledger.save(self.directory)
            return delegation_record(delegation), self._write_bundle(peer.peer_id)

    # -- who does not belong any more -----------------------------------------

    def revoke(self, name: str) -> bytes:
        """The record by which a peer is out, for good. It is asked for by its name, or by the 32 hex digits
        of its id: the only way for a peer that a delegate has signed in.

        Asked again, the same record comes. NotFoundError for an unknown name.
        """
        with self._changing():
            peer_id = _peer_id(name)
            peer = self._ledger.by_name(name) if peer_id is None else self._ledger.by_id(peer_id)
            identifier = peer_id if peer is None else peer.peer_id
            if peer is None and (earlier := self._ledger.revoked_peer(name, peer_id)) is not None:
                return earlier.record
            if identifier is None:
                raise NotFoundError(
                    f"{name}: no peer of this name is enrolled; one that a delegate has signed in is "
                    "revoked by its id, which `peerctl peers -o json` shows"
                )
            entry = self._revocation("peer", identifier, "" if peer is None else peer.name)
            self._ledger = self._ledger.without(peer, entry)
            self._ledger.save(self.directory)
            if peer is not None:
                self._bundle_path(peer.name).unlink(missing_ok=True)
            return entry.record

    def revoke_operator(self, name: str) -> tuple[bytes, ...]:
        """The records by which all certificates of this operator are worth nothing any more.

        Asked again, the same records come. NotFoundError for an unknown name.
        """
        with self._changing():
            known = [o.id for o in self._ledger.operators if o.name == name]
            if not known:
                raise NotFoundError(f"{name}: no operator of this name was made")
            new = [
                self._revocation("operator", identifier, name)
                for identifier in known
                if self._ledger.revocation(identifier) is None
            ]
            self._ledger = self._ledger.without(None, *new)
            self._ledger.save(self.directory)
            return tuple(r.record for r in self._ledger.revoked if r.id in known)

    # -- operators ------------------------------------------------------------

    def operator(self, name: str, role: Role, out_dir: Path) -> Path:
        """Key and client certificate for the control API over TCP, in OUT_DIR/NAME.{key,pem}; the CAs
        beside them in ca.pem. ConflictError where they exist."""
        check_name(name)
        if (out_dir / f"{name}.key").exists():
            raise ConflictError(f"{out_dir / name}.key: exists already")
        key = certificates.new_key()
        with self._changing(), _writing(out_dir):
            made = certificates.operator_certificate(
                name, role, key.public_key(), self._ledger.authorities[0], self._signing_key()
            )
            out_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            # The ledger first: a certificate that it does not know could never be revoked.
            operators = (*self._ledger.operators, Operator(name, role, made))
            self._ledger = replace(self._ledger, operators=operators)
            self._ledger.save(self.directory)
            write_secret(out_dir / f"{name}.key", certificates.key_pem(key))
            write_atomic(out_dir / "ca.pem", b"".join(map(certificates.pem, self._ledger.authorities)))
            write_atomic(out_dir / f"{name}.pem", certificates.pem(made))
        return out_dir / f"{name}.pem"

    # -- another key ----------------------------------------------------------

    def rotate_ca(self) -> Rotation:
        """Bring in a new CA beside the one in force, which signs it in, and issue everything anew.

        While that is under way the same comes again, until `finish_rotation`.
        """
        with self._changing():
            if len(self._ledger.authorities) == 1:
                old, new = self._signing_key(), certificates.new_key()
                write_keys(
                    self.directory, [new, old]
                )  # before the ledger: a key that it does not name is ignored
                begun = rollover.begin(self._ledger, self.network.name, old, new, self._clock())
                begun.save(self.directory)
                self._ledger = begun
                self._keys = [new, old]
            return self._rotation()

    def finish_rotation(self) -> Rotation:
        """Retire the earlier CA: when everybody has heard of the new one. Peers that were away since before
        need their new bundles. ConflictError unless `rotate_ca` came before.

        Asked again, the same comes.
        """
        with self._changing():
            if len(self._ledger.authorities) == 1 and not self._ledger.history:
                raise ConflictError(
                    f"{self.directory}: no change of the CA is under way; without --finish one begins"
                )
            if len(self._ledger.authorities) > 1:
                ended = rollover.finish(self._ledger, self.network.name, self._signing_key(), self._clock())
                ended.save(self.directory)
                self._ledger = ended
            write_keys(self.directory, [self._signing_key()])
            rotation = self._rotation()
            return replace(rotation, records=self._ledger.history[-1:], operators=())

    def _rotation(self) -> Rotation:
        signed, ca = self._ledger, self._ledger.authorities[0]
        names = {o.name for o in self.operators if not certificates.is_issued_by(o.certificate, ca)}
        bundles = tuple(self._write_bundle(peer.peer_id) for peer in signed.peers)
        return Rotation(signed.signed_by_ca(signed.history[-1:]), bundles, tuple(sorted(names)))

    # -- records --------------------------------------------------------------

    def write_records(self, name: str, records: Sequence[bytes]) -> Path:
        """DIR/records/NAME.record, to be published."""
        folder = self.directory / "records"
        with _writing(self.directory):
            folder.mkdir(mode=0o755, exist_ok=True)
            write_records(folder / f"{name}.record", records)
        return folder / f"{name}.record"

    # -- inside ---------------------------------------------------------------

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        """Alone in the folder, on what is there now; what was not saved is forgotten if it fails."""
        with StateLock(self.directory, BUSY), _writing(self.directory):
            self._ledger, self._keys = Ledger.load(self.directory), read_keys(self.directory)
            self._told = None
            self._signing_key()
            try:
                yield
            except BaseException:
                self._ledger = Ledger.load(self.directory)
                raise
            finally:
                self._told = None

    def _check_new(self, descriptor: Descriptor) -> None:
        name, known = descriptor.name, self._ledger.by_id(descriptor.peer_id)
        if known is not None and known.name != name:
            raise ConflictError(f"{name}: this identity is enrolled already, as {known.name}")
        if known is not None:
            raise ConflictError(
                f"{name}: this peer is enrolled already; `peerctl network sign` gives it a new bundle"
            )
        if self._ledger.by_name(name) is not None:
            raise ConflictError(f"{name}: a peer of this name is enrolled already")
        if self._ledger.revocation(descriptor.peer_id) is not None:
            raise DeniedError(
                f"{name}: this identity was revoked, for good; make another with `peerd init` in a new folder"
            )

    def _certified(self, request: Request, known: Enrolled | None) -> Enrolled:
        certificate = certificates.link_certificate(
            request.descriptor,
            request.link_public,
            self._ledger.authorities[0],
            self._signing_key(),
            instead_of=None if known is None else known.certificate,
        )
        return Enrolled(request.descriptor, certificate, None if known is None else known.delegation)

    def _revocation(self, kind: Whom, identifier: bytes, name: str) -> Revoked:
        now = self._clock()
        record = sign_revocation(self.network.name, identifier, name, now, self._signing_key())
        return Revoked(kind, identifier, name, now, record)

    def _write_bundle(self, peer_id: PeerId) -> Bundle:
        peer = self._ledger.by_id(peer_id)
        if peer is None:
            raise KeyError(peer_id)
        if self._told is None:
            self._told = self._ledger.records()
        bundle = Bundle.make(
            network=self.network,
            authorities=self._ledger.authorities,
            chain=(peer.certificate,),
            key=self._signing_key(),
            records=self._told,
            issued_at=self._clock(),
        )
        path = self._bundle_path(peer.name)
        path.parent.mkdir(mode=0o755, exist_ok=True)
        write_atomic(path, bundle.encoded)
        return bundle

    def _bundle_path(self, name: str) -> Path:
        return self.directory / "bundles" / f"{name}.bundle"

    def _signing_key(self) -> ec.EllipticCurvePrivateKey:
        public = self._ledger.authorities[0].public_key()
        key = next((key for key in self._keys if key.public_key() == public), None)
        if key is None:
            raise DeniedError(f"{self.directory}: bad CA: {KEY_FILE} does not belong to this network's CA")
        return key


def _peer_id(text: str) -> PeerId | None:
    return PeerId(bytes.fromhex(text)) if re.fullmatch(r"[0-9a-f]{32}", text, re.ASCII) else None


@contextlib.contextmanager
def _writing(directory: Path) -> Iterator[None]:
    """What the file system refuses is one clear line."""
    try:
        yield
    except OSError as error:
        raise InvalidInputError(f"{directory}: cannot be written: {error.strerror}") from None
