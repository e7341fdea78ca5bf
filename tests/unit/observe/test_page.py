"""What the status page is told, and how often the node is asked for it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from peerd.observe import Neighbour, PageState, Sample, page_state
from peerd.observe.page import coarse
from peerd.observe.pages import Pages
from peerd.status import EndToEnd, LoopsMeasured, NodeStatus, RoundResult, RunStatus
from peerd.types import RunSpec

SECRET = "/home/alice/secret.csv"
MakeSample = Callable[..., Sample]
MakeStatus = Callable[..., NodeStatus]


def run_status(*results: RoundResult, **changes: Any) -> RunStatus:
    spec = RunSpec(run_id="ab" * 16, task="digits-cnn", data_dir=SECRET, rounds=5)
    return RunStatus(spec=spec, state="failed", error=f"cannot read {SECRET}", results=results, **changes)


def as_json(state: PageState) -> Any:
    return msgspec.json.decode(msgspec.json.encode(state))


def test_a_peer_without_a_run(status: MakeStatus, sample: MakeSample) -> None:
    state = page_state(status(), sample(peers={"alive": 4, "dead": 0}), None)
    assert (state.name, state.network, state.version, state.uptime_seconds) == ("alice", "lab", "1.2.3", 12.5)
    assert state.run is None
    assert state.peers == {"alive": 4}
    assert state.mixing.entropy_bits is None, "before the first departure there is none"
    assert (state.traffic.rtt_p50_seconds, state.traffic.rtt_p95_seconds) == (0.25, 0.5)
    assert as_json(state)["alarms"] == []


def test_what_mixing_does(status: MakeStatus, sample: MakeSample) -> None:
    quiet = sample().mixing
    busy = msgspec.structs.replace(
        quiet,
        entropy_bits=3.5,
        mixed=10,
        end_to_end=[EndToEnd(hops=2, bits=1.0, of_bits=2.0), EndToEnd(hops=3, bits=1.5, of_bits=2.0)],
        loops=LoopsMeasured(sent=10, returned=8, lost=1, loss=0.1, alarm=True),
    )
    alarms = {"direct": False, "blending": True}
    state = page_state(status(), sample(mixing=busy, alarms=alarms), None)
    assert (state.mixing.entropy_bits, state.mixing.hidden_bits, state.mixing.of_bits) == (3.5, 1.5, 2.0)
    assert (state.mixing.loop_loss, state.mixing.loops_returned, state.mixing.loops_lost) == (0.1, 8, 1)
    assert state.alarms == ["blending"]
    direct = page_state(status(), sample(mixing=busy, hops=0), None)
    assert (direct.mixing.hops, direct.mixing.hidden_bits) == (0, None)


def test_the_curve_has_only_what_was_measured(status: MakeStatus, sample: MakeSample) -> None:
    results = (
        RoundResult(round=1, accuracy=0.5, accuracy_local=0.4, test_samples=100, round_seconds=2.0),
        RoundResult(round=2, accuracy=0.6, accuracy_local=0.0, test_samples=100, listened=True),
        RoundResult(round=3, accuracy=math.nan, accuracy_local=math.inf, test_samples=100),
        RoundResult(round=4, accuracy=0.0, test_samples=0),
    )
    run = page_state(status(), sample(), run_status(*results, round=5)).run
    assert run is not None
    assert [(point.round, point.accuracy, point.accuracy_local) for point in run.curve] == [
        (1, 0.5, 0.4), (2, 0.6, None), (3, None, None), (4, None, None),
    ]  # fmt: skip
    many = [RoundResult(round=number, accuracy=0.5, test_samples=1) for number in range(1, 1001)]
    long = page_state(status(), sample(), run_status(*many)).run
    assert long is not None
    assert [point.round for point in long.curve] == list(range(801, 1001))


def test_no_error_text_path_or_address_is_told(status: MakeStatus, sample: MakeSample) -> None:
    told = str(as_json(page_state(status(), sample(), run_status())))
    for secret in (SECRET, "4242", "192.0.2.1", "9103", "ab" * 17):
        assert secret not in told


def test_neighbours_only_where_the_operator_has_opened_them(status: MakeStatus, sample: MakeSample) -> None:
    assert page_state(status(), sample(), None).neighbours == []
    opened = sample(neighbours=(Neighbour("bob", True, 0.01),))
    (bob,) = page_state(status(), opened, None).neighbours
    assert (bob.name, bob.up, bob.rtt_seconds) == ("bob", True, 0.01)


@dataclasses.dataclass
class Source:
    state: PageState
    calls: int = 0

    def page(self) -> PageState:
        self.calls += 1
        return self.state


@pytest.fixture
def source(status: MakeStatus, sample: MakeSample) -> Source:
    return Source(page_state(status(name="<script>alert(1)</script>"), sample(), None))


def test_the_node_is_asked_once_a_second_at_most(source: Source) -> None:
    now = 100.0
    pages = Pages(source, clock=lambda: now)
    for _ in range(1_000):
        assert pages.get("/status.json") is not None
    assert source.calls == 1
    now = 101.1
    response = pages.get("/status.json")
    assert source.calls == 2
    assert response is not None
    assert msgspec.json.decode(response.body)["name"] == "<script>alert(1)</script>"
    assert response.content_type == "application/json"


def test_the_files_are_there_and_no_others(source: Source) -> None:
    pages = Pages(source)
    for path in ("/", "/status.js", "/status.css", "/draw.js", "/theme.css", "/icon.svg"):
        response = pages.get(path)
        assert response is not None, path
        assert "Content-Security-Policy" in response.headers
        assert b"<script>alert" not in response.body
    for path in ("/status.html", "/../status.js", "/static/status.js", "", "/favicon.ico"):
        assert pages.get(path) is None
    assert source.calls == 0


def test_coarse_tells_no_more_than_the_coarse_metrics(status: MakeStatus, sample: MakeSample) -> None:
    result = RoundResult(round=1, accuracy=0.9, accuracy_local=0.8, test_samples=10)
    full = page_state(
        status(), sample(queues={"inbox": 1, "send": 7}), run_status(result, stage="exchanging")
    )
    state = coarse(full)
    assert state.run is not None and full.run is not None
    assert (state.detail, state.run.stage, state.neighbours) == ("coarse", "", [])
    assert [(point.accuracy, point.accuracy_local) for point in state.run.curve] == [(0.9, None)]
    traffic = state.traffic
    assert traffic.packets == {"all": sum(full.traffic.packets.values())}
    assert {traffic.acked, traffic.resent, traffic.rtt_p50_seconds, traffic.rtt_p95_seconds} == {None}
    assert traffic.queues == {"inbox": 1}
    assert (state.processes.trainer_cpu_seconds, state.processes.trainer_rss_bytes) == (None, None)
    assert state.processes.trainer not in ("busy", "idle")


def test_coarse_is_made_once_a_minute(status: MakeStatus, sample: MakeSample) -> None:
    now, uptimes = 0.0, iter([1.0, 2.0])

    class Source:
        def page(self) -> PageState:
            return msgspec.structs.replace(page_state(status(), sample(), None), uptime_seconds=next(uptimes))

    pages = Pages(Source(), "coarse", clock=lambda: now)
    seen = []
    for now in (0.0, 30.0, 59.9, 60.0, 61.0):  # noqa: B007 - the clock reads it
        answer = pages.get("/status.json")
        assert answer is not None
        seen.append(msgspec.json.decode(answer.body)["uptime_seconds"])
    assert seen == [1.0, 1.0, 1.0, 2.0, 2.0]
