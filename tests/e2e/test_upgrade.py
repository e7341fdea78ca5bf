"""Peers are upgraded one at a time while a run goes on: two minor versions live in one network."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from ctl.client import Client
from peerd import __version__

LATER_PEERD = Path(__file__).with_name("later_peerd.py")
ROUNDS = 8


def versions(testbed, seers) -> dict[str, set[str]]:
    """What each peer's software is, as the others see it."""
    seen: dict[str, set[str]] = {}
    for seer in seers:
        for row in testbed.call(seer, Client.peers):
            seen.setdefault(row.name, set()).add(row.software)
    return seen


@pytest.mark.timeout(240)
def test_one_peer_is_upgraded_by_a_minor_version_while_a_run_goes_on(testbed, programs, until, beside):
    testbed.up(3, "--hops", "1", paced=True)
    names = list(testbed.pids())
    upgraded, others = names[1], [names[0], *names[2:]]
    testbed.start_paced(ROUNDS, "--grace", "3s", seconds=1.0)
    until(lambda: testbed.call(others[0], Client.run).round >= 2, every=0.1)
    programs.ok("peerctl", "testbed", "stop", "--dir", testbed.folder, upgraded)
    folder, config = testbed.folder / "peers" / upgraded, testbed.folder / f"{upgraded}.toml"
    later = beside(folder, "--config", config, program=[LATER_PEERD])
    testbed.call(upgraded, Client.wait_serving, patience=60.0)

    def all_have_ended():
        runs = [testbed.call(name, Client.run) for name in names]
        assert later.process.poll() is None, later.log.read_text()
        return runs if all(run.state == "finished" for run in runs) else None

    runs = until(all_have_ended, seconds=150, every=0.5)
    assert {run.results[-1].round for run in runs} == {ROUNDS}
    assert all(run.results[-1].accuracy > 0.9 for run in runs)
    (software,) = versions(testbed, others)[upgraded]
    assert software != __version__
    assert software[: software.index(".")] == __version__[: __version__.index(".")]
    assert {name: {__version__} for name in others}.items() <= versions(testbed, [upgraded]).items()
    for name in others:
        traffic = testbed.call(name, Client.status).traffic
        assert traffic.dropped["unknown_record"] > 0, "it has said what this version does not know"
        assert not {"bad_gossip", "gave_up", "bad_message", "bad_payload"} & set(traffic.dropped)
    os.kill(later.process.pid, signal.SIGTERM)
    assert later.process.wait(30) == 0
