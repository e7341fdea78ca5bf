"""The node: joins the mixnet and the learning of one peer. Its methods are the command surface that
the control API offers.

    links <-> Pump(Mixnet(strategy, replay filter, Delivery)) <-> Node <-> Run(Rounds, trainer process)
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from peerd.clock import monotonic, wall
from peerd.config import MixingConfig, PeerdConfig, convert
from peerd.delivery import Acked, Event, GaveUp, Inject, LoopLost, LoopReturned, Received
from peerd.epochs import EpochDriver, Rotation
from peerd.errors import ConflictError, InvalidInputError, NotFoundError
from peerd.learning import Fragment, Rejected, Run, check_task, decode_payload
from peerd.link import LinkTable, gossip_bytes
from peerd.membership import (
    Announcer,
    Change,
    PeerState,
    View,
    announce_interval,
    client_ssl_context,
    decode_descriptor,
    server_ssl_context,
)
from peerd.observe import Metrics, Sample, Tally
from peerd.presets import preset_fields
from peerd.relay import Mixnet, Pump
from peerd.report import Report
from peerd.sphinx import Epochs, Geometry
from peerd.status import MixingMeasured, NodeStatus, PeerStatus, RoundResult, RunStatus
from peerd.store import Checkpoint
from peerd.tracing import TraceFile
from peerd.types import DropReason, PeerId, RunSpec

Vector = NDArray[np.float32]


class Node:
    """One peer. `start` binds, `run` lives until cancelled, `close` lets go of the files."""

    def __init__(self, config: PeerdConfig, state: PeerState, state_dir: Path, log: Any) -> None:
        self._config = config
        self._state = state
        self._log = log
        self._rng = random.SystemRandom()
        self._geometry = Geometry(state.network.max_hops, state.network.body_bytes)
        self.mixing = config.mixing
        self._check_mixing(config.mixing)
        self.tally = Tally()
        self.metrics = Metrics(self.tally, self)
        network = state.network
        epochs = Epochs(network.epoch_seconds, network.epoch_grace_seconds)
        self.view = View(
            state.peer_id,
            state.roster,
            config.membership.dead_after_seconds,
            epochs.at(wall()),
            monotonic(),
        )
        self._rotation = Rotation(state_dir, state.identity, epochs, config.relay.replay_capacity, log)
        self._epochs = EpochDriver(
            self._rotation,
            Announcer(announce_interval(network.epoch_seconds), self._rng),
            neighbours=lambda: self._links.neighbours,
            tell=self._tell,
            on_change=self._keys_changed,
        )
        self._trace = TraceFile.open(config.trace, state.peer_id, log)
        self._alarm = False
        self._checkpoint = Checkpoint(state_dir / "run")
        self._saving: asyncio.Task[None] | None = None
        self._run: Run | None = None
        self._run_task: asyncio.Task[None] | None = None
        self._group: asyncio.TaskGroup | None = None
        self._view_timer: asyncio.TimerHandle | None = None
        self.link_address = ""
        self.metrics_address = ""

    # -- life -----------------------------------------------------------------

    def start(self) -> None:
        """Load mix keys and replay tags, bind the link listener. ConflictError when the port is taken."""
        self._rotation.start(wall())
        self._check_descriptor()
        self._show_keys_to_view()
        self._mixnet = self._make_mixnet()
        self._pump = Pump(self._mixnet, self._on_events, lambda held: self._links.hold(held))
        self._links = self._make_links()
        host, port = self._links.start()
        self.link_address = f"{host}:{port}"
        self._report = Report(
            self._state,
            self.view,
            self._links,
            self._mixnet,
            self._rotation,
            self._epochs,
            self.tally,
            self,
            neighbour_labels=self._config.metrics.neighbour_labels,
            tracing=self._trace is not None,
        )
        self._warn_of_direct_mode()

    def _check_descriptor(self) -> None:
        size, room = len(self._rotation.descriptor.signed), gossip_bytes(self._geometry.packet_bytes)
        if size > room:
            raise InvalidInputError(
                f"this peer's descriptor has {size} bytes and must fit one cell, here {room}: "
                "give the peer a shorter address or the network a larger body_bytes"
            )

    def _make_mixnet(self) -> Mixnet:
        return Mixnet(
            me=self._state.peer_id,
            geometry=self._geometry,
            keyring=self._rotation.keyring,
            directory=self.view,
            mixing=self.mixing,
            delivery=self._config.delivery,
            relay=self._config.relay,
            rng=self._rng,
            now=monotonic(),
            emit=lambda peer, packet: self._links.send(peer, packet),
            journal=self._rotation.append,
            dropped=self.tally.dropped,
            sent=self.tally.sent,
            mixed=self.tally.mixed,
            announce=lambda peer, gossip: self._links.announce(peer, gossip),
            tracer=self._trace,
        )

    def _make_links(self) -> LinkTable:
        return LinkTable(
            config=self._config.link,
            packet_bytes=self._geometry.packet_bytes,
            tls_server=server_ssl_context(self._state),
            tls_client=client_ssl_context(self._state),
            addresses=self.view.addresses(),
            on_packet=self._on_packet,
            on_gossip=self._on_gossip,
            on_link=self._on_link,
            on_drop=self.tally.dropped,
            clock=monotonic,
            rng=self._rng,
            log=self._log,
            tap=None if self._trace is None else self._trace.wrote,
        )

    async def run(self) -> None:
        """Relay, deliver and train until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                self._epochs.start()
                group.create_task(self._links.run(), name="links")
                group.create_task(self._pump.run(), name="pump")
        finally:
            self._group = None
            self._epochs.stop()
            if self._view_timer is not None:
                self._view_timer.cancel()
            await self._links.close()

    async def close(self) -> None:
        """Wait for a checkpoint that is being written, then close the replay logs."""
        try:
            if self._saving is not None:
                await self._saving
        finally:
            self._rotation.close()
            if self._trace is not None:
                self._trace.close()

    # -- events ---------------------------------------------------------------

    def _on_packet(self, packet: bytes) -> None:
        self.tally.received += 1
        self._pump.arrived(packet)

    def _on_gossip(self, data: bytes) -> None:
        """A descriptor, of the neighbour itself or of anybody: it is signed."""
        descriptor = decode_descriptor(data)
        if descriptor is None or not self.view.accepts(descriptor):
            self.tally.dropped(DropReason.BAD_GOSSIP)
        elif descriptor.peer_id != self._state.peer_id:
            self._view_changed(self.view.learn(descriptor, monotonic()))

    def _tell(self, peer: PeerId, descriptor: bytes, at_once: bool) -> None:
        """At once only on a link that has just come up, which everybody sees; else among the packets."""
        if at_once:
            self._links.announce(peer, descriptor)
        else:
            self._mixnet.announce(peer, descriptor, monotonic())
            self._pump.wake()

    def _keys_changed(self) -> None:
        """Our keys have rotated, or the epoch has: others' next keys are now their present ones."""
        self._view_changed(self._show_keys_to_view())
        self._mixnet.keys_changed()
        self._tick_view()
        self._log.debug("epoch", epoch=self._rotation.epoch)

    def _on_events(self, events: list[Event]) -> None:
        for event in events:
            match event:
                case Received(payload=payload):
                    self.tally.delivered += 1
                    self._on_payload(payload)
                case Acked(rtt=rtt):
                    self.tally.acknowledged(rtt)
                case Inject():
                    self.tally.resent += 1
                case LoopReturned(rtt=rtt):
                    self.tally.loop_returned(rtt)
                    self._judge_loops()
                case LoopLost():
                    self.tally.loops_lost += 1
                    self._judge_loops()
                case GaveUp(tag=tag, reason=reason):
                    self._on_give_up(tag, reason)

    def _show_keys_to_view(self) -> list[Change]:
        self.view.learn(self._rotation.descriptor, monotonic())
        return self.view.set_epoch(self._rotation.epoch, monotonic())

    def _judge_loops(self) -> None:
        loops = self._mixnet.delivery.loops
        if loops.alarm == self._alarm:
            return
        self._alarm = loops.alarm
        if loops.alarm:
            self._log.error(
                "ALARM: loop cover does not come back while links are up: a mix node or a link may be "
                "holding packets back (blending attack), or the network is overloaded",
                loss=loops.loss,
            )
        else:
            self._log.warning("loop cover comes back again; the alarm is over", loss=loops.loss)

    def _on_payload(self, payload: bytes) -> None:
        match decode_payload(payload):
            case Fragment() as fragment if self._run is not None:
                self._run.on_fragment(fragment)
            case Fragment():
                self.tally.dropped(DropReason.WRONG_RUN)
            case Rejected(reason=reason):
                self.tally.dropped(reason)

    def _on_give_up(self, round_number: int, reason: DropReason) -> None:
        self.tally.dropped(reason)
        if reason is DropReason.GAVE_UP:
            self.tally.gave_up += 1
            self._log.warning("gave up on a message", round=round_number)
            if self._run is not None:
                self._run.gave_up(round_number)

    def _on_link(self, peer: PeerId, direction: str, up: bool) -> None:
        if direction != "outbound":
            return  # who dials us is no proof that we can reach it
        if up:
            self._epochs.neighbour_up(peer)
            self._view_changed(self.view.link_up(peer, monotonic()))
        else:
            self.view.link_down(peer, monotonic())
        self._tick_view()

    def _view_changed(self, changes: list[Change]) -> None:
        for change in changes:
            descriptor = self.view.descriptor(change.peer)
            name = "" if descriptor is None else descriptor.name
            self._log.info("peer changed", peer=name, state=change.state)
            if change.state == "dead":
                self._on_events(self._mixnet.peer_died(change.peer, monotonic()))
        if changes:
            self._pump.wake()
            if self._run is not None and not self._run.ended:
                self._run.set_cohort(self._cohort())

    def _tick_view(self) -> None:
        self._view_changed(self.view.tick(monotonic()))
        if self._view_timer is not None:
            self._view_timer.cancel()
        deadline = self.view.next_deadline()
        if deadline is not None and self._group is not None:
            self._view_timer = asyncio.get_running_loop().call_at(deadline, self._tick_view)

    # -- the run's port to the mixnet -----------------------------------------

    def broadcast(self, round_number: int, payloads: Sequence[bytes]) -> None:
        """Every payload to every peer alive, in one random order over all of them."""
        letters = [(peer, payload) for peer in self.view.alive() for payload in payloads]
        self._rng.shuffle(letters)
        for peer, payload in letters:
            refused = self._pump.send(peer, payload, round_number)
            if refused is not None:
                self._on_give_up(round_number, refused)

    def forget_before(self, round_number: int) -> None:
        """Cancel what is still unsent or unacknowledged of earlier rounds."""
        self._on_events(self._mixnet.delivery.cancel(lambda _peer, number: number < round_number))

    def _save(self, spec: RunSpec, round_number: int, vector: Vector) -> None:
        """Write the checkpoint beside the event loop: an fsync may take long."""
        before = self._saving

        async def save() -> None:
            if before is not None:
                await before
            try:
                await asyncio.to_thread(self._checkpoint.save, spec, round_number, vector)
            except Exception as error:  # a full disk, no memory: the next one may succeed
                self._log.error("checkpoint not written", error=str(error))

        self._saving = asyncio.create_task(save())

    # -- commands -------------------------------------------------------------

    def set_mixing(self, preset: str, changes: dict[str, Any]) -> MixingConfig:
        """Apply a preset (empty: none), then some fields; the effective whole is returned, nothing queued
        is lost."""
        merged = msgspec.to_builtins(self.mixing) | preset_fields(preset) | changes
        mixing = convert(merged, MixingConfig, "mixing")
        self._check_mixing(mixing)
        was_direct, self.mixing = self.mixing.direct, mixing
        self._mixnet.set_mixing(mixing, monotonic())
        self._pump.wake()
        self._log.info("mixing changed", preset=preset or None, **changes)
        self._judge_loops()
        if mixing.direct != was_direct:
            self._warn_of_direct_mode()
        return mixing

    def _warn_of_direct_mode(self) -> None:
        if self.mixing.direct:
            self._log.warning("DIRECT MODE: own messages go straight to their recipients: NO ANONYMITY")

    def _check_mixing(self, mixing: MixingConfig) -> None:
        enrolled = len(self._state.roster)
        if mixing.hops > self._geometry.max_hops:
            raise InvalidInputError(
                f"hops: {mixing.hops} is more than the network's max_hops {self._geometry.max_hops}"
            )
        if mixing.hops > enrolled - 2:
            raise InvalidInputError(
                f"hops: {mixing.hops} mix nodes between two peers need at least {mixing.hops + 2} "
                f"enrolled peers; the network has {enrolled}"
            )
        if mixing.max_delay_seconds < 10 * mixing.mean_delay_seconds:
            raise InvalidInputError(
                "max_delay_seconds: must be at least ten times mean_delay_seconds, "
                "or honest packets are refused"
            )

    async def start_run(self, spec: RunSpec) -> RunStatus:
        """Take part in a run. ConflictError while another goes on; bad tasks and data are refused."""
        if self._group is None:
            raise ConflictError("the peer is still starting or already stopping")
        if self._run is not None and not self._run.ended:
            raise ConflictError(f"run {self._run.spec.run_id} is going on; stop it first")
        check_task(spec)
        if self._run_task is not None:  # the last run may still be ending its trainer
            await asyncio.wait({self._run_task})
        if self._group is None or (self._run is not None and not self._run.ended):
            raise ConflictError("the peer is stopping, or another run was started just now")
        ids = sorted([self._state.peer_id, *self.view.peers()])
        self._run = Run(
            spec=spec,
            shard=ids.index(self._state.peer_id),
            shards=len(ids),
            cohort=self._cohort(),
            training=self._config.training,
            payload_bytes=self._mixnet.delivery.payload_bytes,
            sink=self,
            save=self._save,
            observer=self,
            rng=self._rng,
            clock=monotonic,
            log=self._log,
        )
        self._forget_messages()  # of an earlier run: tags are round numbers
        self._run_task = self._group.create_task(self._run.main(), name="run")
        self._log.info("run started", run=spec.run_id[:8], task=spec.task, cohort=self._cohort())
        return self._run.status()

    async def stop_run(self) -> RunStatus:
        run = self._live_run()
        run.stop()
        if self._run_task is not None:
            self._run_task.cancel()
            await asyncio.wait({self._run_task})
        self._forget_messages()
        return run.status()

    def _forget_messages(self) -> None:
        self._on_events(self._mixnet.delivery.cancel(lambda _peer, _round: True))

    def pause_run(self) -> RunStatus:
        run = self._live_run()
        run.pause()
        return run.status()

    def resume_run(self) -> RunStatus:
        run = self._live_run()
        run.resume()
        return run.status()

    def run_status(self) -> RunStatus:
        return self._known_run().status()

    def watch_run(self) -> AsyncIterator[RunStatus]:
        return self._known_run().watch()

    def _known_run(self) -> Run:
        if self._run is None:
            raise NotFoundError("this peer has not taken part in a run yet")
        return self._run

    def _live_run(self) -> Run:
        run = self._known_run()
        if run.ended:
            raise ConflictError(f"run {run.spec.run_id} has ended already")
        return run

    def _cohort(self) -> int:
        return len(self.view.alive()) + 1

    # -- what it says of itself -----------------------------------------------

    def status(self) -> NodeStatus:
        return self._report.status(self.mixing, self._run)

    def peers(self) -> list[PeerStatus]:
        return self._report.peers()

    def mixing_measured(self) -> MixingMeasured:
        return self._report.measured()

    def sample(self) -> Sample:
        """For the metrics, at each scrape."""
        return self._report.sample(self.mixing, self._run)

    # -- the run's observer ---------------------------------------------------

    def dropped(self, reason: DropReason) -> None:
        self.tally.dropped(reason)

    def stage_changed(self, stage: str) -> None:
        self.metrics.stages.enter(stage)

    def trainer_spent(self, stage: str, cpu_seconds: float) -> None:
        self.metrics.trainer_spent(stage, cpu_seconds)

    def round_measured(self, result: RoundResult) -> None:
        self.metrics.round_measured(result)
