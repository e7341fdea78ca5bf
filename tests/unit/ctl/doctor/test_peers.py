from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ctl.doctor.asking import Told
from ctl.doctor.finding import Finding, healthy
from ctl.doctor.peers import check_peers, check_ports, listeners
from peerd import __version__
from peerd.errors import DeniedError, UnavailableError
from peerd.pb import peers_pb2

NAMES = ("alice", "bob", "carol")


@pytest.fixture
def told(status_of: Callable[..., Any]) -> Callable[..., list[Told]]:
    """A network of three in which all is well; `edit` changes what alice tells."""

    def make(edit: Callable[[Any, dict[str, peers_pb2.Peer]], None] = lambda *_: None) -> list[Told]:
        found = []
        for name in NAMES:
            status = status_of(name, version=__version__, peers_enrolled=2, link_address="0.0.0.0:9101")
            others = {
                other: peers_pb2.Peer(
                    name=other, state="alive", outbound="up", inbound="up", address=f"192.0.2.{i}:9101",
                    clock_skew_seconds=0.01, since_seconds=9.0,
                )
                for i, other in enumerate(NAMES) if other != name
            }  # fmt: skip
            if name == "alice":
                edit(status, others)
            found.append(Told(name, False, None, 0.1, status, tuple(others.values())))
        return found

    return make


def bad(found: list[Told]) -> list[Finding]:
    return [finding for finding in check_peers(found, now=0.0) if finding.level != "ok"]


def test_all_is_well(told: Any) -> None:
    findings = list(check_peers(told(), now=0.0))
    assert {finding.level for finding in findings} == {"ok"}
    assert {finding.about for finding in findings} == {*NAMES, "network"}
    assert {"control", "links", "clock", "trainer", "versions", "members"} <= {f.check for f in findings}
    assert healthy(findings)


def _away(status: Any, peers: dict[str, peers_pb2.Peer]) -> None:
    peers["bob"].state, peers["bob"].outbound, peers["bob"].inbound = "dead", "connecting", "down"


def _one_way(status: Any, peers: dict[str, peers_pb2.Peer]) -> None:
    peers["bob"].inbound = "down"


def _clock_off(seconds: float) -> Any:
    def edit(status: Any, peers: dict[str, peers_pb2.Peer]) -> None:
        for peer in peers.values():
            peer.clock_skew_seconds = seconds

    return edit


def _set(**fields: Any) -> Any:
    def edit(status: Any, peers: Any) -> None:
        for name, value in fields.items():
            setattr(status, name, value)

    return edit


def _alarm(status: Any, peers: Any) -> None:
    status.alarms.append("disk")


def _dead_trainer(status: Any, peers: Any) -> None:
    status.trainer.state, status.trainer.last_error = "dead", "out of memory"


def _restarts(status: Any, peers: Any) -> None:
    status.trainer.restarts = 2


def _full(status: Any, peers: Any) -> None:
    status.traffic.dropped["replay_filter_full"] = 3


def _damped(status: Any, peers: dict[str, peers_pb2.Peer]) -> None:
    peers["bob"].damped = True


@pytest.mark.parametrize(
    ("edit", "level", "check", "text"),
    [
        (_away, "fail", "links", "does not reach bob at 192.0.2.1:9101: dead for 9.0 s"),
        (_one_way, "warn", "links", "the link to bob is up one way only; in is down"),
        (_damped, "warn", "links", "bob came and went too often"),
        (_clock_off(-7.0), "fail", "clock", "differ by 7s"),
        (_clock_off(2.0), "warn", "clock", "differ by 2s"),
        (_alarm, "fail", "alarm", "DISK: state cannot be written"),
        (_dead_trainer, "fail", "trainer", "the trainer is dead: out of memory"),
        (_restarts, "warn", "trainer", "restarted 2 times"),
        (_full, "warn", "drops", "3 packets dropped: replay_filter_full"),
        (_set(draining=True), "warn", "state", "it drains"),
        (_set(hops=1, peers_alive=1), "fail", "paths", "1 hop and a recipient take 2 other peers, and 1"),
        (_set(hops=2, peers_alive=2), "fail", "paths", "sends nothing: 2 hops and a recipient take 3 other"),
        (_set(version="9.9.9"), "warn", "versions", "different versions: 0.1.0 (2), 9.9.9 (1)"),
        (_set(network="other"), "warn", "network", "of 2 networks: lab, other"),
        (_set(epoch=9), "fail", "epoch", "epochs 0 to 9"),
        (_set(peers_enrolled=7), "warn", "members", "some know of 3 members, some of 8"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_found_and_comes_with_advice(
    told: Any, edit: Any, level: str, check: str, text: str
) -> None:
    (finding,) = bad(told(edit))
    assert (finding.level, finding.check) == (level, check)
    assert text in finding.text
    assert finding.advice


def test_who_has_left_is_not_missed_and_a_link_to_who_is_down_is_a_warning(told: Any) -> None:
    def left(status: Any, peers: dict[str, peers_pb2.Peer]) -> None:
        peers["bob"].state, peers["bob"].outbound, peers["bob"].inbound = "left", "down", "down"

    assert bad(told(left)) == []
    only_alice = [*told(_away)[:1], Told("bob", False, UnavailableError("bob: gone"))]
    link, control = bad(only_alice)
    assert (link.level, link.check, control.check) == ("warn", "links", "control")
    assert "start it" in link.advice


@pytest.mark.parametrize(
    ("error", "advice"),
    [(UnavailableError("bob: no daemon answers"), "systemctl status"), (DeniedError("bob: no TLS"), "role")],
)
def test_who_does_not_answer(told: Any, error: Any, advice: str) -> None:
    findings = bad([*told()[:1], Told("bob", False, error)])
    assert [(f.level, f.about, f.check) for f in findings] == [("fail", "bob", "control")]
    assert advice in findings[0].advice


def test_a_slow_answer_is_a_warning(told: Any, status_of: Any) -> None:
    slow = Told("bob", False, None, 4.0, status_of("bob", version=__version__))
    assert [f.check for f in bad([slow])] == ["control"]


def test_strangers_text_stays_on_its_line(told: Any) -> None:
    def edit(status: Any, peers: dict[str, peers_pb2.Peer]) -> None:
        status.version, status.trainer.last_error, status.trainer.restarts = "1\x1b[2J", "a\nb", 1
        peers["bob"].name, peers["bob"].address, peers["bob"].state = "b\rx", "\x9b", "\x1b"
        status.alarms.append("\x1b[5m")

    for finding in bad(told(edit)):
        assert finding.text.isprintable(), finding


def test_ports_to_try_are_those_that_the_others_know_and_never_a_wildcard(told: Any, status_of: Any) -> None:
    found = told()
    assert listeners(found) == {f"192.0.2.{i}:9101": [(name, "links")] for i, name in enumerate(NAMES)}
    alone = Told(
        "zoe", True, None, 0.1, status_of("zoe", link_address="0.0.0.0:1", metrics_address="127.0.0.1:2")
    )
    assert listeners([alone]) == {"127.0.0.1:2": [("zoe", "metrics")]}
    assert listeners([Told("zoe", False, None, 0.1, status_of("zoe", link_address="nonsense"))]) == {}
    assert listeners([Told("zoe", False, UnavailableError("gone"))]) == {}


def test_ports_that_are_closed_are_warnings() -> None:
    who = {"192.0.2.1:1": [("alice", "links")], "192.0.2.2:1": [("bob", "links")]}
    first, second = check_ports({"192.0.2.1:1": "", "192.0.2.2:1": "Connection refused"}, who)
    assert (first.level, second.level) == ("ok", "warn")
    assert "Connection refused" in second.text


@pytest.mark.parametrize(("enrolled", "alarms"), [(2, ["direct"]), (0, [])])
def test_without_a_mixnet_or_a_network_no_path_is_missed(told: Any, enrolled: int, alarms: list[str]) -> None:
    def edit(status: Any, peers: Any) -> None:
        status.hops, status.peers_alive, status.peers_enrolled = 3, 0, enrolled
        status.alarms.extend(alarms)

    assert "paths" not in {finding.check for finding in bad(told(edit))}
