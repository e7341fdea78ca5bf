"""What a node says of itself: the snapshots of the control API and the sample of a scrape."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Protocol

from peerd import __version__
from peerd.clock import monotonic, wall
from peerd.config import MetricsConfig, MixingConfig
from peerd.epochs import EpochDriver, Rotation
from peerd.learning import Run
from peerd.link import LinkTable
from peerd.members import Members
from peerd.membership import STATES
from peerd.mix import end_to_end_bits
from peerd.observe import (
    Alarms,
    Neighbour,
    PageState,
    Sample,
    Tally,
    disk_space,
    open_files,
    page_state,
    process_usage,
)
from peerd.relay import Mixnet
from peerd.status import (
    EndToEnd,
    EpochStatus,
    LoopsMeasured,
    MixingMeasured,
    NodeStatus,
    PeerStatus,
    TrafficStatus,
    TrainerStatus,
)
from peerd.types import PacketKind, PeerId


class Addresses(Protocol):
    """Where the daemon listens, once it is known."""

    link_address: str
    metrics_address: str


class Report:
    """Reads the parts of a node; changes nothing."""

    def __init__(
        self,
        members: Members,
        links: LinkTable,
        mixnet: Mixnet,
        rotation: Rotation,
        epochs: EpochDriver,
        tally: Tally,
        alarms: Alarms,
        addresses: Addresses,
        state_dir: Path,
        *,
        metrics: MetricsConfig,
    ) -> None:
        self._members = members
        self._view = members.view
        self._alarms = alarms
        self._links = links
        self._mixnet = mixnet
        self._rotation = rotation
        self._epochs = epochs
        self._tally = tally
        self._addresses = addresses
        self._state_dir = state_dir
        self.set_metrics(metrics)
        self._started = monotonic()
        self._started_at = wall()

    def set_metrics(self, config: MetricsConfig) -> None:
        """From the next scrape on."""
        self._neighbour_labels = config.neighbour_labels

    def status(self, mixing: MixingConfig, run: Run | None, *, draining: bool) -> NodeStatus:
        """For `peerctl status`."""
        state = self._members.state
        training = None if run is None else run.status()
        cpu, rss = process_usage()
        return NodeStatus(
            name=state.name,
            peer_id=state.peer_id.hex(),
            version=__version__,
            network=state.network.name,
            uptime_seconds=monotonic() - self._started,
            link_address=self._addresses.link_address,
            metrics_address=self._addresses.metrics_address,
            peers_enrolled=len(self._others()),
            peers_alive=len(self._view.alive()),
            strategy=mixing.strategy,
            hops=mixing.hops,
            run_id="" if training is None else training.spec.run_id,
            run_state="" if training is None else training.state,
            round=0 if training is None else training.round,
            stage="idle" if training is None else training.stage,
            trainer=TrainerStatus() if run is None else run.trainer_status(),
            traffic=self._traffic(),
            cpu_seconds=cpu,
            rss_bytes=rss,
            epoch=self._rotation.epoch,
            alarms=[name for name, raised in self._alarms.state().items() if raised],
            draining=draining,
            delegate=self._members.roster.delegate(state.peer_id) is not None,
        )

    def _others(self) -> list[PeerId]:
        """The other members of the network, revoked ones left out."""
        return [peer for peer in self._view.peers() if self._view.enrolled(peer)]

    def measured(self, mixing: MixingConfig) -> MixingMeasured:
        """For `peerctl mix show`."""
        tally, rates, loops = self._tally, self._mixnet.cover_rates, self._mixnet.delivery.loops
        entropy_bits = tally.entropy_bits.get(mixing.strategy, 0.0)
        others = max(len(self._view.alive()), 1)
        return MixingMeasured(
            entropy_bits=entropy_bits,
            mixed=tally.mixed_by(mixing.strategy),
            mean_entropy_bits=tally.mean_entropy_bits(mixing.strategy),
            end_to_end=[
                EndToEnd(
                    hops=hops,
                    # Of the path, on which the sender never is, a recipient knows two mix nodes.
                    bits=end_to_end_bits(entropy_bits, hops, max(others - 2, 1)),
                    of_bits=math.log2(others),
                )
                for hops in range(1, self._members.state.network.max_hops + 1)
            ],
            send_rate_per_second=rates.send,
            loop_rate_per_second=rates.loop,
            drop_rate_per_second=rates.drop,
            cover_forgone=self._mixnet.cover_forgone,
            loops=LoopsMeasured(
                sent=tally.sent_packets[PacketKind.LOOP],
                returned=tally.loops_returned,
                lost=tally.loops_lost,
                loss=loops.loss,
                alarm=loops.alarm,
            ),
            epoch=self._epoch_status(),
        )

    def _epoch_status(self) -> EpochStatus:
        rotation = self._rotation
        keys = list(rotation.keyring)
        return EpochStatus(
            epoch=rotation.epoch,
            ends_in_seconds=self._epochs.ends_in_seconds,
            accepted=list(rotation.keyring.accepted),
            replay_tags=sum(len(key.replay) for key in keys),
            replay_bytes=sum(key.replay.memory_bytes for key in keys),
            replay_false_positive_rate=max(key.replay.false_positive_rate for key in keys),
            replay_expected_false_positives=rotation.keyring.expected_false_positives,
        )

    def _traffic(self) -> TrafficStatus:
        tally = self._tally
        return TrafficStatus(
            packets={kind.value: count for kind, count in tally.sent_packets.items()},
            dropped={reason.value: count for reason, count in tally.drops.items() if count},
            resent=tally.resent,
            gave_up=tally.gave_up,
            acked=tally.acked,
            delivered=tally.delivered,
            in_flight=self._mixnet.delivery.in_flight,
            queued=self._mixnet.delivery.queued,
            bytes_sent=self._links.bytes_sent,
            bytes_received=self._links.bytes_received,
            cell_bytes=self._links.cell_bytes,
            rtt_p50_seconds=tally.rtt_quantile(0.5),
            rtt_p95_seconds=tally.rtt_quantile(0.95),
            rtt_samples=list(tally.recent_rtt),
        )

    def peers(self) -> list[PeerStatus]:
        """For `peerctl peers`: every other member, and who was revoked since the start."""
        now, loops = monotonic(), self._mixnet.delivery.loops
        others = self._other_models()
        rows = []
        for peer in self._view.peers():
            descriptor = self._view.descriptor(peer)
            state, since = self._view.state(peer)
            link = self._links.snapshot(peer)
            rows.append(
                PeerStatus(
                    name=self._members.name(peer),
                    peer_id=peer.hex(),
                    address="" if descriptor is None else descriptor.address,
                    state=state,
                    since_seconds=now - since,
                    outbound=link.outbound,
                    inbound=link.inbound,
                    link_rtt_seconds=link.rtt_seconds or 0.0,
                    queue_depth=link.queue_depth,
                    epoch=descriptor.mix_keys[0][0] if descriptor is not None and descriptor.mix_keys else 0,
                    loop_quality=self._mixnet.delivery.loops.quality(peer),
                    version=0 if descriptor is None else descriptor.version,
                    software="" if descriptor is None else descriptor.software,
                    clock_skew_seconds=self._members.skews.get(peer),
                    damped=self._view.damped(peer),
                    run_id="" if descriptor is None else descriptor.run.hex(),
                    contributes_from=0 if descriptor is None else descriptor.contributes_from,
                    other_model=peer in others,
                    loop_excess_seconds=loops.excess(peer),
                )
            )
        return rows

    def _other_models(self) -> list[PeerId]:
        own = self._view.descriptor(self._members.state.peer_id)
        return [] if own is None else self._view.with_other_models(own.run, own.model)

    def sample(self, mixing: MixingConfig, run: Run | None, *, draining: bool) -> Sample:
        """For the metrics, at each scrape."""
        cpu, rss = process_usage()
        training = None if run is None else run.status()
        trainer = TrainerStatus() if run is None else run.trainer_status()
        states = [self._view.state(peer)[0] for peer in self._view.peers()]
        links_out, links_in = self._links.links_up
        last = training.results[-1] if training is not None and training.results else None
        delivery = self._mixnet.delivery
        return Sample(
            version=__version__,
            strategy=mixing.strategy,
            hops=mixing.path_hops,
            alarms=self._alarms.state(),
            mixing=self.measured(mixing),
            bytes_sent=self._links.bytes_sent,
            bytes_received=self._links.bytes_received,
            links_out=links_out,
            links_in=links_in,
            peers={state: states.count(state) for state in STATES},
            queues={
                "inbox": self._mixnet.inbox_depth,
                "mix": self._mixnet.mix_depth,
                "link": self._links.queue_depth,
                "send": delivery.queued,
                "in_flight": delivery.in_flight,
            },
            queue_limits={
                "inbox": self._mixnet.inbox_limit,
                "mix": self._mixnet.mix_limit,
                "link": self._links.queue_limit,
                "send": delivery.queue_limit,
                "in_flight": delivery.max_in_flight,
            },
            round=0 if training is None else training.round,
            stage="idle" if training is None else training.stage,
            accuracy_local=None if last is None else last.accuracy_local,
            accuracy_aggregated=None if last is None else last.accuracy,
            train_loss=None if last is None else last.train_loss,
            daemon_cpu_seconds=cpu,
            daemon_rss_bytes=rss,
            trainer_cpu_seconds=trainer.cpu_seconds,
            trainer_rss_bytes=trainer.rss_bytes,
            trainer_state=trainer.state,
            trainer_restarts=trainer.restarts,
            started_at=self._started_at,
            epoch_end=self._rotation.epoch_end,
            replay_filter_used=max(key.replay.used for key in self._rotation.keyring),
            certificates=self._members.state.expiries,
            disk=disk_space(self._state_dir),
            files=open_files(),
            members=len(self._members.roster.members()),
            peers_damped=sum(self._view.damped(peer) for peer in self._view.peers()),
            peer_losses=self._view.most_losses(monotonic()),
            disk_failing=self._alarms.disk(),
            gossip_sent=self._links.gossip_cells[0],
            gossip_received=self._links.gossip_cells[1],
            clock_skew_seconds=max(map(abs, self._members.skews.values()), default=None),
            run_state="" if training is None else training.state,
            fragments_received=0 if training is None else training.fragments_received,
            fragments_expected=0 if training is None else training.fragments_expected,
            cohort=0 if training is None else training.cohort,
            listeners=0 if training is None else training.listeners,
            rounds_skipped=0 if training is None else training.rounds_skipped,
            epsilon=None if training is None else training.epsilon,
            draining=draining,
            neighbours=self._neighbours() if self._neighbour_labels else (),
        )

    def page(self, mixing: MixingConfig, run: Run | None, *, draining: bool) -> PageState:
        """For the status page."""
        return page_state(
            self.status(mixing, run, draining=draining),
            self.sample(mixing, run, draining=draining),
            None if run is None else run.status(),
        )

    def _neighbours(self) -> tuple[Neighbour, ...]:
        return tuple(
            Neighbour(peer.name, peer.outbound == "up", peer.link_rtt_seconds) for peer in self.peers()
        )
