"""What a run has cost a peer in privacy: how many of its updates have left, and their epsilon.

An update is counted on disk before anything of it leaves, so that no crash makes a peer forget one. Counted
is what cannot be excluded: an update that came too late for its round and was not sent, and one that was
being counted when the daemon ended, count, too. A disk that refuses ends the run on this peer: what cannot be
counted is not sent.
"""

from __future__ import annotations

from peerd.errors import InvalidInputError
from peerd.learning.ports import Ledger
from peerd.learning.trainer_client import TaskError
from peerd.types import RunSpec


class Spent:
    """Of a run without noise nothing is counted, and there is no epsilon."""

    def __init__(self, spec: RunSpec, ledger: Ledger) -> None:
        self._spec = spec
        self._ledger = ledger
        self.updates = 0
        self.epsilon: float | None = None
        """None until it is calculated."""

    async def load(self) -> int:
        """Updates that have left before. Raises TaskError."""
        if self._spec.noised:
            try:
                self.updates = await self._ledger.released(self._spec.run_id)
            except (OSError, InvalidInputError) as error:
                raise TaskError(f"what this run has cost in privacy is not known: {error}") from None
        return self.updates

    async def count(self, epsilon: float | None) -> None:
        """One more, which costs that much with those before. Raises TaskError: then it must not leave."""
        if self._spec.noised:
            try:
                self.updates = await self._ledger.release(self._spec.run_id)
            except (OSError, InvalidInputError) as error:
                raise TaskError(
                    f"what this update costs in privacy cannot be written down, so it was not sent: {error}"
                ) from None
        self.epsilon = epsilon
