"""Six peers are drained and started again, one after the other, while they train: no round is lost by it."""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest

from ctl.client import Client

PEERS = 6
ROUNDS = 120
"""Two seconds each: the run outlasts six restarts."""


@pytest.mark.soak
@pytest.mark.timeout(3000)
def test_all_peers_are_restarted_one_at_a_time_while_a_run_goes_on(testbed, programs, until):
    testbed.up(PEERS, "--hops", "3")
    names = list(testbed.pids())
    testbed.ask("--all", "run", "start", "--rounds", str(ROUNDS), "--epochs", "25", "--grace", "10s")
    until(lambda: testbed.call(names[0], Client.run).round >= 2, seconds=300, every=0.2)
    gave_up: Counter[str] = Counter()
    closed: defaultdict[int, set[str]] = defaultdict(set)

    def count(name: str) -> None:
        """Of a daemon that is about to end: the next one tells of what it has closed itself."""
        for result in testbed.call(name, Client.run).results:
            closed[result.round].add(name)
        gave_up[name] += testbed.call(name, Client.status).traffic.gave_up

    def all_see_each_other() -> bool:
        return all(testbed.call(name, Client.status).peers_alive == PEERS - 1 for name in names)

    def takes_part(name: str) -> bool:
        """It has found the run again, and trains its own part of a round."""
        row = next(row for row in testbed.call(seer(name), Client.peers) if row.name == name)
        return row.contributes_from > 0

    def seer(name: str) -> str:
        return names[0] if name != names[0] else names[1]

    for name in names:
        count(name)
        programs.ok("peerctl", "--testbed", testbed.folder, "--context", name, "node", "drain", timeout=300)
        until(lambda name=name: not is_up(testbed, name), seconds=60)
        programs.ok("peerctl", "testbed", "start", "--dir", testbed.folder, name, timeout=300)
        until(all_see_each_other, seconds=300)
        until(lambda name=name: takes_part(name), seconds=300)
        assert testbed.call(name, Client.run).state == "running", "the run outlasts the upgrade"

    def all_have_ended():
        runs = {name: testbed.call(name, Client.run) for name in names}
        return runs if all(run.state == "finished" for run in runs.values()) else None

    runs = until(all_have_ended, seconds=900, every=1.0)
    for name in names:
        count(name)
    assert sum(gave_up.values()) == 0, gave_up
    assert all(len(closed[number]) >= PEERS - 1 for number in range(1, ROUNDS + 1)), closed
    assert all(run.results[-1].accuracy > 0.95 for run in runs.values())


def is_up(testbed, name: str) -> bool:
    try:
        testbed.call(name, Client.status, patience=2.0)
    except Exception:
        return False
    return True
