"""What all daemons of a simulated network are set to."""

from __future__ import annotations

from dataclasses import dataclass, field

from peerd.config import DeliveryConfig, LinkConfig, MembershipConfig, MixingConfig, RelayConfig
from peerd.sphinx import Epochs, Geometry

QUIET = MixingConfig(loop_rate_per_second=0.0, drop_rate_per_second=0.0)


@dataclass(frozen=True, slots=True)
class Training:
    """How a trainer behaves. Times in seconds, drawn anew for each job, uniformly."""

    parameters: int = 100
    start: tuple[float, float] = (0.2, 0.6)
    seconds: tuple[float, float] = (0.5, 2.0)


@dataclass(frozen=True, slots=True)
class Settings:
    mixing: MixingConfig = QUIET
    delivery: DeliveryConfig = field(default_factory=DeliveryConfig)
    relay: RelayConfig = field(default_factory=RelayConfig)
    membership: MembershipConfig = field(default_factory=MembershipConfig)
    link: LinkConfig = field(default_factory=LinkConfig)
    geometry: Geometry = field(default_factory=lambda: Geometry(max_hops=3, body_bytes=1024))
    epochs: Epochs = field(default_factory=lambda: Epochs(600.0, 30.0))
    training: Training = Training()
