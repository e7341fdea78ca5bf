"""What a live run needs of its peer: the mixnet, the disk, and somebody to tell. `node.py` has it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from peerd.learning.fragment import Parcel, Vector
from peerd.status import RoundResult
from peerd.types import DropReason, PeerId, RunSpec


class FragmentSink(Protocol):
    """The mixnet, as a run sees it."""

    def broadcast(self, round_number: int, parcels: Sequence[Parcel], of: int) -> None:
        """Send every parcel to every other peer that takes part in the run, or to as many of them, drawn
        anew, as its spec says (`dealing`). These are some of the round's, which are `of` in all."""

    def deal_in(self, peer: PeerId, round_number: int, parcels: Sequence[Parcel], of: int) -> None:
        """Send to a peer that has just appeared, or appears again, what it is to have of these parcels, which
        have gone to the others: all, or a part, and always the same one. The round has `of` in all."""

    def send_to(self, peer: PeerId, round_number: int, parcels: Sequence[Parcel]) -> None:
        """Send every parcel to this peer alone. It may have had some of them before it was away: a
        parcel that is sent to a peer again goes under the message id that it had, or it counts twice."""

    def send_to_listeners(self, round_number: int, parcels: Sequence[Parcel]) -> None:
        """Send every parcel to every other peer that takes part and does not contribute to that round."""

    def forget_before(self, round_number: int) -> None:
        """Cancel what is still unsent or unacknowledged of earlier rounds."""


class RunObserver(Protocol):
    """What a run tells of itself while it goes on."""

    def dropped(self, reason: DropReason, count: int) -> None:
        """So many fragments were refused, or thrown away."""

    def stage_changed(self, stage: str) -> None:
        """listening, training, exchanging, evaluating, paused, done"""

    def contributes(self, from_round: int) -> None:
        """Tell all peers that this one's fragments come from that round on; 0: none come any more; -n: round
        n was the last, and the run has more."""

    def model_known(self, form: bytes) -> None:
        """The trainer has told of which form its model is: 8 bytes, the same on every peer of the run."""

    def trainer_spent(self, stage: str, cpu_seconds: float) -> None:
        """The trainer has done a job."""

    def round_measured(self, result: RoundResult, vector: Vector) -> None:
        """A round is closed and its aggregate, `vector`, evaluated."""


class Ledger(Protocol):
    """How many updates of each run have left this peer, or may have: on disk, whatever becomes of the daemon.
    Both raise OSError, or InvalidInputError where what is there cannot be read."""

    async def released(self, run_id: str) -> int: ...

    async def release(self, run_id: str) -> int:
        """One more. Returns how many, once that is durable."""


class SaveRun(Protocol):
    """The checkpoint. Returns at once; what goes wrong is not the run's concern."""

    def __call__(
        self,
        spec: RunSpec,
        round_number: int,
        vector: Vector | None,
        *,
        shard: int,
        shards: int,
        announced: bool,
        finished: bool,
    ) -> None:
        """The last closed round and its model: empty while that is still the trainer's initial one.
        finished: there is nothing to go on with, all rounds are closed or an operator has stopped it."""
