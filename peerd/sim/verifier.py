"""Signatures of a simulated network, each verified once for all its peers.

That is what most of its time would go into; and a record that is good at one peer is good at every other that
has the same CAs. Only what is good is remembered: whatever is refused is looked at again, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TypeVar

from peerd.membership import Member, Trust
from peerd.membership.certificates import der
from peerd.membership.records import Delegate, Opened, authority_id
from peerd.membership.verify import Verdict, Verified, Verifier

MAX_VERDICTS = 50_000
Verdicts = dict[Hashable, Verified]
V = TypeVar("V", bound=Verdict | None)


class SharedVerifier(Verifier):
    """`verdicts`: of all peers of a network, whose clocks differ by less than what a certificate or a record
    is good for."""

    def __init__(self, trust: Trust, verdicts: Verdicts) -> None:
        super().__init__(trust)
        self._verdicts = verdicts

    def certificate(self, opened: Opened, delegate: Delegate | None, wall: float) -> Verdict:
        by = b"" if delegate is None else der(delegate.certificate)
        return self._known(opened, by, lambda: Verifier.certificate(self, opened, delegate, wall))

    def revocation(self, opened: Opened, wall: float) -> Verdict:
        return self._known(opened, b"", lambda: Verifier.revocation(self, opened, wall))

    def descriptor(self, opened: Opened, member: Member, wall: float) -> Verdict:
        return self._known(opened, member.name, lambda: Verifier.descriptor(self, opened, member, wall))

    def run(self, opened: Opened, wall: float) -> Verdict:
        return self._known(opened, b"", lambda: Verifier.run(self, opened, wall))

    def _known(self, opened: Opened, context: Hashable, verify: Callable[[], Verdict]) -> Verdict:
        key = (opened.encoded, context, tuple(map(authority_id, self._trust.authorities)))
        verdict = self._verdicts.get(key)
        if verdict is not None:
            return verdict
        fresh = verify()
        if isinstance(fresh, Verified):
            if len(self._verdicts) >= MAX_VERDICTS:
                self._verdicts.clear()
            self._verdicts[key] = fresh
        return fresh
