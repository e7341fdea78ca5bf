"""What a peer has heard since its bundle was installed: a new link certificate, a new CA.

Both come by gossip; this file brings them back after a restart. It belongs to one bundle and is worth
nothing beside another: the next bundle has it all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from peerd.errors import InvalidInputError
from peerd.membership import certificates
from peerd.store import read_bounded, write_secret

FILE = "renewal.json"
MAX_BYTES = 1 << 20
Chain = tuple[x509.Certificate, ...]


class _File(msgspec.Struct, forbid_unknown_fields=True):
    bundle: str
    """SHA-256 of the bundle that it belongs to, hex."""
    authorities: str
    certificate: str


@dataclass(frozen=True, slots=True)
class Renewal:
    authorities: Chain
    """The CAs in force."""
    chain: Chain
    """The link certificate, and the delegate's that it hangs on."""

    @classmethod
    def load(cls, state_dir: Path, bundle_digest: str) -> Renewal | None:
        """None where there is none for this bundle. InvalidInputError for a broken file."""
        path = state_dir / FILE
        if not path.exists():
            return None
        try:
            raw = msgspec.json.decode(read_bounded(path, MAX_BYTES, "renewed certificates"), type=_File)
            if raw.bundle != bundle_digest:
                return None
            return cls(read_pem(raw.authorities), read_pem(raw.certificate))
        except (msgspec.MsgspecError, UnicodeDecodeError, ValueError, UnsupportedAlgorithm):
            raise InvalidInputError(
                f"{path}: broken file; remove it, and if the network's CA has changed since, "
                "install a new bundle"
            ) from None

    def save(self, state_dir: Path, bundle_digest: str) -> None:
        """OSError when the disk refuses; the earlier file is then intact."""
        file = _File(bundle_digest, to_pem(self.authorities), to_pem(self.chain))
        write_secret(state_dir / FILE, msgspec.json.encode(file))


def read_pem(text: str) -> Chain:
    """One certificate or more. ValueError for anything else."""
    return tuple(x509.load_pem_x509_certificates(text.encode()))


def to_pem(chain: Sequence[x509.Certificate]) -> str:
    return b"".join(map(certificates.pem, chain)).decode()
