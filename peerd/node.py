"""The node: joins the mixnet, the membership and the learning of one peer.

    links <-> Pump(Mixnet(strategy, replay filter, Delivery)) <-> Node <-> Participation(Run(Rounds, trainer))
                                                               <-> Members(gossip, roster, view)

What it can be told to do is in `commands`.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

from peerd import __version__
from peerd.adjusting import Adjusting
from peerd.clock import monotonic, wall
from peerd.commands import Commands
from peerd.config import PeerdConfig
from peerd.delivery import Acked, Event, GaveUp, Inject, LoopLost, LoopReturned, Received
from peerd.draining import Drain
from peerd.enrolment import EnrolmentServer, Redeemer, Tokens
from peerd.epochs import EpochDriver, Rotation
from peerd.errors import ConflictError, InvalidInputError, PeerdError
from peerd.keeping import RoundKeeper, RunKeeper
from peerd.learning import Fragment, Rejected, decode_payload
from peerd.link import LinkTable, gossip_bytes
from peerd.members import Members
from peerd.membership import (
    About,
    Change,
    Descriptor,
    DialPolicy,
    PeerState,
    RunNotice,
    Tell,
    client_ssl_context,
    enrolment_ssl_context,
    server_ssl_context,
)
from peerd.mixing import Mixing, check_mixing
from peerd.observe import Alarms, EventLog, Metrics, PageState, Sample, Tally
from peerd.participation import Participation
from peerd.posting import Post
from peerd.presence import Presence
from peerd.reconfiguring import Reconfiguration
from peerd.relay import Mixnet, Pump
from peerd.report import Report
from peerd.samemodel import SameModel
from peerd.source import Loaded
from peerd.sphinx import Epochs, Geometry
from peerd.store import Checkpoint, Releases
from peerd.tracing import TraceFile
from peerd.types import PeerId

SECRET_LABEL = b"message ids"
INSTANCE_BITS = 63


class Node:
    """One peer. `start` binds, `run` lives until cancelled, `close` lets go of the files."""

    def __init__(
        self,
        config: PeerdConfig,
        state: PeerState,
        state_dir: Path,
        log: Any,
        started: Loaded | None = None,
    ) -> None:
        """`started`: where the configuration came from, to be read again."""
        self._config = config
        self._state_dir = state_dir
        self._started_with = started or Loaded(config)
        self._log = log
        self._rng = random.SystemRandom()
        self._geometry = Geometry(state.network.max_hops, state.network.body_bytes)
        self.tally = Tally()
        self.events = EventLog()
        self.alarms = Alarms(self.events, log)
        self.metrics = Metrics(self.tally, self, config.metrics.detail)
        network = state.network
        epochs = Epochs(network.epoch_seconds, network.epoch_grace_seconds)
        self._members = Members(
            state,
            state_dir,
            config.membership,
            cell_bytes=gossip_bytes(self._geometry.packet_bytes),
            epoch=epochs.at(wall()),
            rng=self._rng,
            tally=self.tally,
            events=self.events,
            alarms=self.alarms,
            log=log,
            listener=self,
            tell=self._tell,
        )
        self.view = self._members.view
        check_mixing(config.mixing, self._geometry.max_hops)
        self._rotation = Rotation(state_dir, state.identity, epochs, config.relay.replay_capacity, log)
        self._epochs = EpochDriver(self._rotation, self._keys_changed)
        self._presence = Presence(
            self._rotation,
            About(
                address=config.membership.advertise,
                instance=self._rng.getrandbits(INSTANCE_BITS),
                started_at=wall(),
                software=__version__,
            ),
            publish=self._members.describe,
            stop=self.must_stop,
            alarms=self.alarms,
        )
        self._redeemer = Redeemer(state, self._members.roster, Tokens(secrets.token_bytes), wall)
        self._enrolment = EnrolmentServer(
            config=config.enrolment,
            state_dir=state_dir,
            redeemer=self._redeemer,
            tls=enrolment_ssl_context(state),
            on_admitted=self._members.publish,
            log=log,
        )
        self._trace = TraceFile.open(config.trace, state.peer_id, log)
        checkpoint, releases = Checkpoint(state_dir / "run"), Releases(state_dir / "releases.json")
        self._run_keeper = RunKeeper(checkpoint, releases, self.events, self.alarms, log)
        keep = config.training.keep_checkpoints
        self._round_keeper = RoundKeeper(state_dir, keep, self._run_keeper, self.events, self.alarms, log)
        self._group: asyncio.TaskGroup | None = None
        self._ended: asyncio.Future[None] | None = None
        self._paths_timer: asyncio.TimerHandle | None = None
        self.stop_requested = asyncio.Event()
        """Set when the daemon is to end."""
        self._started = False
        self.link_address = ""
        self.metrics_address = ""

    @property
    def state(self) -> PeerState:
        """Keys, certificates and CAs in force."""
        return self._members.state

    # -- life -----------------------------------------------------------------

    def start(self) -> None:
        """Load mix keys, replay tags and what is known of the network; bind the link listener.

        ConflictError when the port is taken, DeniedError when this peer is revoked.
        """
        self._members.load()
        self._presence.load_keys()
        self._check_descriptor()
        self._mixnet = self._make_mixnet()
        self._pump = Pump(self._mixnet, self._on_events, lambda held: self._links.hold(held))
        self._links = self._make_links()
        self._mixing = self._make_mixing()
        self._post = self._make_post()
        self._participation = self._make_participation()
        host, port = self._links.start()
        self.link_address = f"{host}:{port}"
        self._enrolment.bind()
        self._started = True
        self._report = self._make_report()
        self.reconfiguration = self._make_reconfiguration()
        self.commands = self._make_commands()
        self.alarms.set(
            "tracing", self._trace is not None, "every packet's way is written down: NO ANONYMITY"
        )

    def _check_descriptor(self) -> None:
        size, room = len(self._rotation.descriptor.signed), gossip_bytes(self._geometry.packet_bytes)
        if size > room:
            raise InvalidInputError(
                f"this peer's descriptor has {size} bytes and must fit one cell, here {room}: "
                "give the peer a shorter address or the network a larger body_bytes"
            )

    def _make_mixnet(self) -> Mixnet:
        return Mixnet(
            me=self.state.peer_id,
            geometry=self._geometry,
            keyring=self._rotation.keyring,
            directory=self.view,
            mixing=self._config.mixing,
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

    def _make_mixing(self) -> Mixing:
        return Mixing(
            self._config.mixing,
            self._geometry.max_hops,
            members=lambda: len(self._members.roster.members()),
            mixnet=self._mixnet,
            pump=self._pump,
            alarms=self.alarms,
            events=self.events,
            log=self._log,
            applied=self._judge_paths,
        )

    def _make_links(self) -> LinkTable:
        membership = self._config.membership
        return LinkTable(
            config=self._config.link,
            packet_bytes=self._geometry.packet_bytes,
            tls_server=server_ssl_context(self.state),
            tls_client=client_ssl_context(self.state),
            policy=DialPolicy(membership.dial_allow, self._config.link.listen),
            expects=self._members.expects,
            greet=self._members.greeting,
            on_packet=self._on_packet,
            on_gossip=self._members.gossip,
            on_link=self._on_link,
            on_drop=self.tally.dropped,
            clock=monotonic,
            rng=self._rng,
            log=self._log,
            tap=None if self._trace is None else self._trace.wrote,
        )

    def _make_post(self) -> Post:
        return Post(
            self.state.identity.derive(SECRET_LABEL),
            self._mixnet,
            self._pump,
            rng=self._rng,
            tally=self.tally,
            log=self._log,
            on_events=self._on_events,
            on_give_up=lambda number: self._participation.gave_up(number),
        )

    def _make_participation(self) -> Participation:
        return Participation(
            self.state.peer_id,
            self._config.training,
            view=self.view,
            members=self._members.roster.members,
            notices=self._members.roster.runs,
            keeper=self._run_keeper,
            rounds=self._round_keeper,
            post=self._post,
            same=SameModel(self.view, self.events, self.alarms),
            tell=self._presence.takes_part,
            rng=self._rng,
            tally=self.tally,
            metrics=self.metrics,
            events=self.events,
            log=self._log,
        )

    def _make_reconfiguration(self) -> Reconfiguration:
        """Everything that can change while the peer runs, but for the log, which is the daemon's."""
        made = Reconfiguration(
            self._started_with, mixing=lambda: self._mixing.config, events=self.events, log=self._log
        )
        Adjusting(
            self._mixing,
            self._mixnet,
            self._pump,
            self._links,
            self._members,
            self._participation,
            self._round_keeper,
            self._config.link.listen,
        ).join(made)
        made.add("metrics", self._report.set_metrics)
        return made

    def _make_report(self) -> Report:
        return Report(
            self._members,
            self._links,
            self._mixnet,
            self._rotation,
            self._epochs,
            self.tally,
            self.alarms,
            self,
            self._state_dir,
            metrics=self._config.metrics,
        )

    def _make_commands(self) -> Commands:
        return Commands(
            self._members,
            self._participation,
            self._round_keeper,
            self._mixing,
            self._enrolment,
            self._report,
            self.events,
            Drain(self._mixnet, self.tally, self._depart),
            self.reconfiguration,
            address=lambda: self._rotation.descriptor.address,
            spawn=self._spawn,
            stop=self.stop_requested.set,
        )

    async def run(self) -> None:
        """Relay, deliver and train until cancelled, or until this peer has no place in the network."""
        self._ended = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                self._epochs.start()
                self._members.start(self._links)
                self._presence.start()
                self._judge_paths()
                group.create_task(self._links.run(), name="links")
                group.create_task(self._pump.run(), name="pump")
                group.create_task(self._enrolment.serve(), name="enrolment")
                self._participation.start(self._spawn)
                self.events.add("node", "up", detail=f"peerd {__version__}")
                await self._ended
        finally:
            self._group = None
            self._judge_paths_at(None)
            self._participation.stop()
            self._epochs.stop()
            self._members.stop()
            self._enrolment.close()
            await self._links.close()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Work that ends with the daemon at the latest. ConflictError where it is not up."""
        if self._group is None:
            work.close()
            raise ConflictError("the peer is still starting or already stopping")
        return self._group.create_task(work)

    def leave(self, seconds: float) -> None:
        """End the daemon, politely within `seconds`; at once for 0, and where it is not up."""
        if seconds and self._group is not None:
            self.commands.leave(seconds)
        else:
            self.stop_requested.set()

    async def close(self) -> None:
        """Wait for what is being written, then close the replay logs. Also after a start that failed."""
        try:
            if self._started:
                await self._participation.close()
                await self._members.close()
        finally:
            self._rotation.close()
            if self._trace is not None:
                self._trace.close()

    # -- events of links and the mixnet ---------------------------------------

    def _on_packet(self, packet: bytes) -> None:
        self.tally.received += 1
        self._pump.arrived(packet)

    def _on_link(self, peer: PeerId, direction: str, up: bool) -> None:
        if direction != "outbound" or self._group is None:
            return  # who dials us is no proof that we can reach it; and when we go, links go down
        if up:
            self._members.link_up(peer)
        else:
            self._members.link_down(peer)

    def _tell(self, tell: Tell) -> None:
        """At once only on a link that has just come up, which everybody sees; else among the packets."""
        if tell.at_once:
            self._links.announce(tell.to, tell.data)
        else:
            self._mixnet.announce(tell.to, tell.data, monotonic())
            self._pump.wake()

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
                    self._mixing.judge_loops()
                case LoopLost():
                    self.tally.loops_lost += 1
                    self._mixing.judge_loops()
                case GaveUp(tag=tag, reason=reason):
                    self._post.gave_up(tag, reason)

    def _on_payload(self, payload: bytes) -> None:
        match decode_payload(payload):
            case Fragment() as fragment:
                self._participation.fragment(fragment)
            case Rejected(reason=reason):
                self.tally.dropped(reason)

    # -- events of the membership ---------------------------------------------

    def view_changed(self, changes: Sequence[Change]) -> None:
        """Somebody is there, or is not any more."""
        if self._group is None:
            return  # what is read from the disk at the start: nothing is on its way yet
        for change in changes:
            match change.state:
                case "dead" | "revoked":
                    self._on_events(self._mixnet.peer_died(change.peer, monotonic()))
                case "left":
                    self._on_events(self._mixnet.peer_left(change.peer))
        self._pump.wake()
        self._judge_paths()
        self._participation.view_changed()

    def announced(self, notice: RunNotice) -> None:
        """An operator has announced a run, or its end."""
        if self._group is not None:
            self._participation.announced(notice)

    def state_renewed(self, state: PeerState) -> None:
        """Other CAs are in force, or this peer has another certificate."""
        if self._group is not None:
            self._links.set_tls(server_ssl_context(state), client_ssl_context(state))
            self._enrolment.set_tls(enrolment_ssl_context(state))
            self._redeemer.renewed(state)

    def heard_of_myself(self, descriptor: Descriptor) -> None:
        self._presence.heard(descriptor)

    def must_stop(self, error: PeerdError) -> None:
        """End the daemon, with this error."""
        self.events.add("node", "stops", detail=str(error))
        if self._ended is not None and not self._ended.done():
            self._log.error("this peer stops", error=str(error))
            self._ended.set_exception(error)

    def _keys_changed(self) -> None:
        """Our keys have rotated, or the epoch has: others' next keys are now their present ones."""
        self._presence.keys_changed()
        self._members.set_epoch(self._rotation.epoch)
        self._mixnet.keys_changed()
        self._judge_disk()
        self._log.debug("epoch", epoch=self._rotation.epoch)

    def _judge_disk(self) -> None:
        self.alarms.set(
            "disk", self._rotation.failing, "mix keys or replay log not written", cause="mix_keys"
        )

    def _judge_paths(self) -> None:
        if self._group is not None:
            self._judge_paths_at(self._mixing.judge_paths(len(self.view.alive()), monotonic()))

    def _judge_paths_at(self, deadline: float | None) -> None:
        if self._paths_timer is not None:
            self._paths_timer.cancel()
        loop = asyncio.get_running_loop()
        self._paths_timer = None if deadline is None else loop.call_at(deadline, self._judge_paths)

    def log_file_failing(self, failing: bool, lost: int) -> None:
        """Lines of the log cannot be written to its file, or can again."""
        self.alarms.set("disk", failing, f"log file: lines not written so far: {lost}", cause="log_file")

    def _depart(self) -> None:
        self.events.add("node", "leaving")
        self._participation.leave()
        self._presence.leaves()

    # -- what is measured -----------------------------------------------------

    def sample(self) -> Sample:
        """For the metrics, at each scrape."""
        self._judge_disk()
        return self.commands.sample()

    def page(self) -> PageState:
        """For the status page, at most once a second."""
        self._judge_disk()
        return self.commands.page()
