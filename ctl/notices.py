"""Notices of runs: what an operator signs, so that peers tell each other and nobody else can start a run.

The operator's private key is read here, used at once, and goes nowhere.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ctl.client import MAX_PEM_BYTES
from ctl.contexts import Endpoint
from ctl.targets import Settings, effective
from peerd.errors import DeniedError, InvalidInputError
from peerd.pb import runs_pb2
from peerd.reading import read_bounded
from peerd.types import RunSpec

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

HINT = "`peerctl network operator` makes one"


def operator_of(settings: Settings, endpoints: Sequence[Endpoint]) -> Path | None:
    """The certificate to sign with: of `--operator`, else of an endpoint that is asked with one, else of the
    contexts file. None: there is none."""
    if settings.operator is not None:
        return settings.operator
    for endpoint in endpoints:
        if endpoint.tls is not None:
            return endpoint.tls.cert
    return None if settings.endpoint is not None else effective(settings).operator


class Signer:
    """An operator with the admin role. `load` raises NotFoundError, InvalidInputError or DeniedError, each in
    one line that names the file."""

    def __init__(
        self,
        certificate: x509.Certificate,
        key: ec.EllipticCurvePrivateKey,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._certificate = certificate
        self._key = key
        self._clock = clock

    @classmethod
    def load(cls, path: Path) -> Signer:
        """From NAME.pem, with NAME.key beside it."""
        from cryptography import x509  # not for commands that sign nothing

        from peerd.membership import certificates

        try:
            certificate = x509.load_pem_x509_certificate(_read(path))
            found = certificates.operator_of(certificate)
        except ValueError:
            raise InvalidInputError(f"{path}: not a certificate; {HINT}") from None
        if found is None:
            raise DeniedError(f"{path}: not an operator's certificate; {HINT}")
        if found[0] != "admin":
            raise DeniedError(f"{path}: a {found[0]} cannot announce runs; that takes the role admin")
        key = _key(path.with_suffix(".key"))
        if key.public_key() != certificate.public_key():
            raise DeniedError(f"{path.with_suffix('.key')}: not the key of {path.name}")
        return cls(certificate, key)

    def started(self, network: str, spec: RunSpec, join_seconds: float) -> bytes:
        """An encoded SignedRun. Who hears of it within `join_seconds` begins with round 1, who hears of it
        later listens first."""
        return self._sign(network, spec, False, join_seconds)

    def stopped(self, network: str, spec: runs_pb2.RunSpec) -> bytes:
        """The same for the end of a run, as a peer describes it. The later notice of a run wins."""
        from peerd.membership.records import run_spec_of

        return self._sign(network, run_spec_of(spec), True, 0.0)

    def _sign(self, network: str, spec: RunSpec, stopped: bool, join_seconds: float) -> bytes:
        from peerd.membership.records import sign_run, signed_run

        record = sign_run(network, spec, stopped, self._clock(), join_seconds, self._certificate, self._key)
        return signed_run(record)


def _key(path: Path) -> ec.EllipticCurvePrivateKey:
    """No detail where it is broken: a parser's message may quote what is secret."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    try:
        key = serialization.load_pem_private_key(_read(path), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise InvalidInputError(f"{path}: not a private key; {HINT}") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise InvalidInputError(f"{path}: not an operator's key; {HINT}")
    return key


def _read(path: Path) -> bytes:
    return read_bounded(path, MAX_PEM_BYTES, f"an operator's; {HINT}")
