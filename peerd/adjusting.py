"""What of a node changes while it runs: which part takes which slice of the configuration."""

from __future__ import annotations

from dataclasses import dataclass

from peerd.config import DeliveryConfig, LinkConfig, MembershipConfig, TrainingConfig
from peerd.keeping import RoundKeeper
from peerd.link import LinkTable
from peerd.members import Members
from peerd.membership import DialPolicy
from peerd.mixing import Mixing
from peerd.participation import Participation
from peerd.reconfiguring import Reconfiguration
from peerd.relay import Mixnet, Pump


@dataclass(frozen=True, slots=True)
class Adjusting:
    """Nothing that a part holds is lost by a change, and none refuses what changes at runtime."""

    mixing: Mixing
    mixnet: Mixnet
    pump: Pump
    links: LinkTable
    members: Members
    participation: Participation
    rounds: RoundKeeper
    listen: str
    """Where the links are bound, which decides whether loopback may be dialled."""

    def join(self, reconfiguration: Reconfiguration) -> None:
        reconfiguration.add("mixing", self.mixing.apply, self.mixing.check)
        reconfiguration.add("delivery", self._delivery)
        reconfiguration.add("relay", self.mixnet.set_relay)
        reconfiguration.add("link", self._link)
        reconfiguration.add("membership", self._membership)
        reconfiguration.add("training", self._training)

    def _delivery(self, config: DeliveryConfig) -> None:
        self.mixnet.delivery.set_config(config)
        self.pump.wake()

    def _link(self, config: LinkConfig) -> None:
        self.links.set_queue_cells(config.queue_cells)

    def _membership(self, config: MembershipConfig) -> None:
        self.links.set_policy(DialPolicy(config.dial_allow, self.listen))
        self.members.set_config(config)

    def _training(self, config: TrainingConfig) -> None:
        self.rounds.set_keep(config.keep_checkpoints)
        self.participation.set_config(config)
