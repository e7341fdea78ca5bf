"""What follows from the peers' answers. Asks nobody."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from ctl.alarms import ALARMS
from ctl.doctor.asking import Told
from ctl.doctor.certificate import validity
from ctl.doctor.finding import Finding, fail, ok, warn
from ctl.text import duration, number_of, one_line, seconds
from peerd import __version__
from peerd.config import parse_address
from peerd.errors import DeniedError, InvalidInputError, PeerdError
from peerd.pb import node_pb2, peers_pb2

SKEW_SECONDS, BAD_SKEW_SECONDS = 1.0, 5.0
"""From which a clock is suspicious; wrong. The daemon's own alarm is at the second."""
SLOW_SECONDS = 1.0
WILDCARDS = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared, not bound
NETWORK = "network"
FULL = {
    "inbox_full": "this host's CPU is short: fewer peers on it, or less cover",
    "mix_queue_full": "raise [mixing] queue_limit, or lower delays",
    "link_queue_full": "a slow line or neighbour: peerctl peers shows which queue is long",
    "replay_filter_full": "raise [relay] replay_capacity, or shorten epochs",
    "replay_log_lost": "the disk has refused a write: free space, then restart this peer",
}
"""Drops that an operator can do something about, with what."""


def check_peers(told: Sequence[Told], now: float | None = None) -> Iterator[Finding]:
    """Peer by peer, then all together. `now`: Unix time, for certificates."""
    there = {one.name for one in told if one.status is not None}
    for one in told:
        if one.error is not None or one.status is None:
            yield _no_answer(one.name, one.error)
            continue
        yield from _answering(one, one.status, time.time() if now is None else now)
        yield from _links(one, there)
        yield from _clock(one)
    yield from _network([one.status for one in told if one.status is not None])


def _no_answer(name: str, error: PeerdError | None) -> Finding:
    advice = "is it up there? systemctl status peerd; journalctl -u peerd; is its [control] listen reachable?"
    if isinstance(error, DeniedError):
        advice = "check the operator's certificate and role, and that NAME is the peer at that address"
    elif isinstance(error, InvalidInputError):
        advice = "fix the endpoint: peerctl context add NAME --replace ..."
    return fail(name, "control", one_line(str(error)), advice)


def _answering(one: Told, status: node_pb2.NodeStatus, now: float) -> Iterator[Finding]:
    about = one.name
    if one.seconds > SLOW_SECONDS:
        yield warn(
            about, "control", f"answers, but takes {seconds(one.seconds)}", "its host or the line is busy"
        )
    else:
        yield ok(
            about, "control", f"answers in {seconds(one.seconds)}, up for {seconds(status.uptime_seconds)}"
        )
    if one.certificate is not None:
        advice = "peerctl network sign NETWORK REQUEST, and `peerd join` the new bundle on its host"
        yield validity(about, "its link certificate", one.certificate, now, advice)
    for alarm in status.alarms:
        yield fail(
            about,
            "alarm",
            ALARMS.get(alarm, one_line(alarm)),
            "peerctl --context NAME events shows since when",
        )
    if status.draining:
        yield warn(about, "state", "it drains: it is about to leave", "start it anew if that was not meant")
    yield from _paths(about, status)
    yield _trainer(about, status.trainer)
    yield from _full(about, status.traffic.dropped)


def _paths(about: str, status: node_pb2.NodeStatus) -> Iterator[Finding]:
    """A path is never shorter than it is set: while mix nodes are missing, own messages wait."""
    needed = status.hops + 1
    if status.peers_enrolled == 0 or status.peers_alive >= needed or "direct" in status.alarms:
        return
    yield fail(
        about,
        "paths",
        f"sends nothing: {number_of(status.hops, 'hop')} and a recipient take {needed} other peers, "
        f"and {status.peers_alive} of {status.peers_enrolled} are alive",
        "bring the others back, or on all peers alike: peerctl --all mix set --hops N",
    )


def _trainer(about: str, trainer: node_pb2.TrainerStatus) -> Finding:
    if trainer.state == "dead":
        return fail(
            about,
            "trainer",
            f"the trainer is dead: {one_line(trainer.last_error)}",
            "peerctl events and the daemon's log say why; the next run starts another one",
        )
    if trainer.restarts:
        return warn(
            about,
            "trainer",
            f"restarted {number_of(trainer.restarts, 'time')}: {one_line(trainer.last_error)}",
            "often memory: check the host, lower the batch size",
        )
    return ok(about, "trainer", f"{one_line(trainer.state)}, no restarts")


def _full(about: str, dropped: Mapping[str, int]) -> Iterator[Finding]:
    for reason, advice in FULL.items():
        if number := dropped.get(reason, 0):
            yield warn(about, "drops", f"{number_of(number, 'packet')} dropped: {reason}", advice)


def _links(one: Told, there: set[str]) -> Iterator[Finding]:
    """From this peer to each other one that should be there."""
    expected = [peer for peer in one.peers if peer.state not in ("left", "revoked")]
    bad = [peer for peer in expected if peer.state != "alive" or "up" not in (peer.outbound, peer.inbound)]
    half = [peer for peer in expected if peer not in bad and {peer.outbound, peer.inbound} != {"up"}]
    for peer in bad:
        yield _no_link(one.name, peer, peer.name in there)
    for peer in half:
        way = "out" if peer.outbound != "up" else "in"
        yield warn(
            one.name,
            "links",
            f"the link to {one_line(peer.name)} is up one way only; {way} is "
            f"{one_line(peer.outbound if way == 'out' else peer.inbound) or 'down'}",
            "it may be about to come; else a firewall lets one side dial only",
        )
    for peer in expected:
        if peer.damped:
            yield warn(
                one.name,
                "links",
                f"{one_line(peer.name)} came and went too often: not used for a while",
                "look at its host and line: peerctl events",
            )
    if not bad and not half:
        yield ok(
            one.name,
            "links",
            f"up to all {len(expected)} others, both ways" if expected else "knows nobody yet",
        )


def _no_link(name: str, peer: peers_pb2.Peer, there: bool) -> Finding:
    """`there`: that peer answers us, so it is the way that is closed."""
    where, state = one_line(peer.address) or "no address", one_line(peer.state)
    text = f"does not reach {one_line(peer.name)} at {where}: {state} for {seconds(peer.since_seconds)}"
    if there:
        return fail(name, "links", text, "open that address for this peer (firewall, [membership] advertise)")
    return warn(name, "links", text, "is it down? start it, let it drain next time, or revoke it")


def _clock(one: Told) -> Iterator[Finding]:
    """Against its neighbours: a clock that is far from the most of them is wrong."""
    skews = sorted(peer.clock_skew_seconds for peer in one.peers if peer.HasField("clock_skew_seconds"))
    if not skews:
        return
    middle = skews[len(skews) // 2]
    text = f"its neighbours' clocks differ by {duration(round(abs(middle), 3))} (median)"
    advice = "run NTP there (timedatectl set-ntp true): epochs and certificates go by the clock"
    if abs(middle) >= BAD_SKEW_SECONDS:
        yield fail(one.name, "clock", text, advice)
    elif abs(middle) >= SKEW_SECONDS:
        yield warn(one.name, "clock", text, advice)
    else:
        yield ok(one.name, "clock", text)


def _network(statuses: Sequence[node_pb2.NodeStatus]) -> Iterator[Finding]:
    """What all should agree on."""
    if not statuses:
        return
    yield from _versions(statuses)
    networks = sorted({one_line(status.network) for status in statuses})
    if len(networks) > 1:
        yield warn(
            NETWORK,
            "network",
            f"these peers are of {len(networks)} networks: {', '.join(networks)}",
            "name those of one with --on, or keep a contexts file for each",
        )
        return
    epochs = {status.epoch for status in statuses}
    if max(epochs) - min(epochs) > 1:
        yield fail(
            NETWORK,
            "epoch",
            f"peers are in epochs {min(epochs)} to {max(epochs)}",
            "a clock is wrong by more than an epoch: run NTP on every host",
        )
    known = {status.peers_enrolled + 1 for status in statuses}
    if len(known) > 1:
        yield warn(
            NETWORK,
            "members",
            f"some know of {min(known)} members, some of {max(known)}",
            "a record may be on its way; if it stays so, gossip does not reach all",
        )
    else:
        yield ok(NETWORK, "members", f"all know of the same number of members, {known.pop()}")


def _versions(statuses: Sequence[node_pb2.NodeStatus]) -> Iterator[Finding]:
    versions = Counter(one_line(status.version) for status in statuses)
    told = ", ".join(f"{version} ({number})" for version, number in sorted(versions.items()))
    if len(versions) > 1:
        yield warn(
            NETWORK,
            "versions",
            f"peers run different versions: {told}",
            "upgrade one peer at a time, all in turn",
        )
    elif __version__ not in versions:
        yield warn(
            NETWORK,
            "versions",
            f"peers run {told}, peerctl is {__version__}",
            "use the peerctl of their version",
        )
    else:
        yield ok(NETWORK, "versions", f"all run {told}, as does peerctl")


def listeners(told: Sequence[Told]) -> dict[str, list[tuple[str, str]]]:
    """HOST:PORT to try from here, each with (peer, what it is): links at the address that the others know of
    a peer, and the metrics of a peer on this host."""
    known = {peer.name: peer.address for one in told for peer in one.peers if peer.address}
    found: dict[str, list[tuple[str, str]]] = {}
    for one in told:
        if one.status is None:
            continue
        address = known.get(one.name) or (
            "" if _wildcard(one.status.link_address) else one.status.link_address
        )
        for text, what in ((address, "links"), (one.status.metrics_address if one.local else "", "metrics")):
            if text and _usable(text):
                found.setdefault(text, []).append((one.name, what))
    return found


def check_ports(tried: Mapping[str, str], who: Mapping[str, Sequence[tuple[str, str]]]) -> Iterator[Finding]:
    """`tried`: '' or why not, by address."""
    for address, reason in tried.items():
        for name, what in who[address]:
            if not reason:
                yield ok(name, "ports", f"{what} at {address} takes connections from here")
            else:
                yield warn(
                    name,
                    "ports",
                    f"{what} at {address} takes none from here: {reason}",
                    "no matter if this host need not; else a firewall, or a wrong address",
                )


def _wildcard(address: str) -> bool:
    return address.rpartition(":")[0].strip("[]") in WILDCARDS


def _usable(address: str) -> bool:
    try:
        parse_address(address)
    except PeerdError:
        return False
    return not _wildcard(address)
