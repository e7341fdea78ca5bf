"""A daemon that is told to stop takes its leave: the others hear of it instead of finding it dead."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from ctl.client import Client

OTHERS, LEAVER = ("alice", "bob", "carol"), "dora"


@pytest.fixture(scope="module")
def testbed(make_programs, make_testbed, tmp_path_factory):
    """One for all tests here, which each start the leaver again."""
    programs = make_programs(tmp_path_factory.mktemp("home"))
    running = make_testbed(tmp_path_factory.mktemp("leaving") / "tb", programs)
    try:
        running.up(4, "--hops", "1", paced=True)  # one that three peers have, too
        programs.ok("peerctl", "testbed", "stop", "--dir", running.folder, "--term", LEAVER)
        yield running
    finally:
        running.down()


@pytest.fixture
def started(testbed, until, beside):
    """One of four peers as it is outside of a testbed, where a signal ends it at once."""
    config = testbed.folder / f"{LEAVER}.toml"

    def start(seconds: float):
        text = config.read_text()
        assert "drain_seconds = 0.0" in text
        changed = Path(f"{config}.polite")
        changed.write_text(text.replace("drain_seconds = 0.0", f"drain_seconds = {seconds}"))
        daemon = beside(testbed.folder / "peers" / LEAVER, "--config", changed)
        until(lambda: all(state(testbed, name) == "alive" for name in OTHERS))
        return daemon

    return start


def state(testbed, seer: str) -> str:
    return {row.name: row.state for row in testbed.call(seer, Client.peers)}[LEAVER]


def seen(testbed, programs, seer: str) -> list[str]:
    """What has become of the leaver, as one of the others tells it."""
    asked = ("--testbed", testbed.folder, "--context", seer, "--output", "json", "events", "-n", "0")
    lines = map(json.loads, programs.ok("peerctl", *asked).splitlines())
    return [event["what"] for event in lines if event["kind"] == "peer" and event["peer"] == LEAVER]


@pytest.mark.timeout(240)
def test_sigterm_is_taken_leave_at(testbed, programs, until, started):
    daemon = started(60.0)
    testbed.start_paced(100, "--grace", "30s")
    until(lambda: testbed.call(LEAVER, Client.run).round >= 2)
    daemon.process.send_signal(signal.SIGTERM)
    until(lambda: all(state(testbed, name) == "left" for name in OTHERS))
    assert daemon.process.wait(60) == 0
    log = daemon.log.read_text()
    assert log.index("leaving") < log.index("stopping") < log.index("peer is down")
    for name in OTHERS:
        assert seen(testbed, programs, name)[-2:] == ["alive", "left"], "nobody had to find out"
    run = testbed.call(OTHERS[0], Client.run)
    until(lambda: testbed.call(OTHERS[0], Client.run).round > run.round + 1)  # and nobody waits for it


@pytest.mark.timeout(240)
def test_without_time_for_it_the_others_find_out(testbed, until, started):
    daemon = started(0.0)
    daemon.process.send_signal(signal.SIGTERM)
    assert daemon.process.wait(60) == 0
    until(lambda: all(state(testbed, name) == "dead" for name in OTHERS))
