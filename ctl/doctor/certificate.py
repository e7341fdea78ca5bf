"""How long a certificate still holds."""

from __future__ import annotations

import datetime

from cryptography import x509

from ctl.doctor.finding import Finding, fail, ok, warn

SOON_DAYS = 30
"""A warning from then on: carrying a new bundle to a host takes its time."""


def validity(about: str, what: str, certificate: x509.Certificate, now: float, advice: str) -> Finding:
    """`now`: Unix time. `advice`: how a new one is had."""
    at = datetime.datetime.fromtimestamp(now, datetime.UTC)
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if at < start:
        return fail(
            about,
            "certificate",
            f"{what} is valid from {start:%F %R} UTC on only",
            "set this host's clock; a certificate is dated back by an hour",
        )
    days = (end - at).days
    if at > end:
        return fail(about, "certificate", f"{what} has expired on {end:%F}", advice)
    if days < SOON_DAYS:
        return warn(about, "certificate", f"{what} expires in {days} days, on {end:%F}", advice)
    return ok(about, "certificate", f"{what} is valid until {end:%F}")
