"""A trainer is killed, then a whole peer: the others go on, and the run ends on all that live."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from ctl.client import Client


@pytest.mark.timeout(240)
def test_a_killed_trainer_is_restarted_and_a_killed_peer_is_not_waited_for(testbed, until):
    testbed.up(4, "--hops", "1", paced=True)  # so that three are enough
    daemons = testbed.pids()
    names = list(daemons)
    victim, dead = names[1], names[2]
    testbed.start_paced(4, "--grace", "2s", "--round-timeout", "60s", "--quorum", "0.6", seconds=1.0)

    def trainer():
        status = testbed.call(victim, Client.status).trainer
        return status if status.state == "busy" else None

    first = until(trainer, every=0.05)
    assert _is_process(first.pid, b"peerd.training")
    os.kill(first.pid, signal.SIGKILL)

    def restarted():
        status = testbed.call(victim, Client.status)
        return status if status.trainer.restarts == 1 else None

    status = until(restarted)
    assert "killed" in status.trainer.last_error or "9" in status.trainer.last_error
    assert status.trainer.pid != first.pid
    forwarded = status.traffic.packets["forwarded"]

    until(lambda: testbed.call(victim, Client.run).round >= 2, seconds=90)
    assert testbed.call(victim, Client.status).traffic.packets["forwarded"] > forwarded
    os.kill(daemons[dead], signal.SIGKILL)
    living = [name for name in names if name != dead]

    def all_finished():
        runs = [testbed.call(name, Client.run) for name in living]
        assert all(run.state in ("running", "finished") for run in runs), runs
        return runs if all(run.state == "finished" for run in runs) else None

    for run in until(all_finished, seconds=150, every=0.5):
        assert [result.round for result in run.results] == [1, 2, 3, 4]
        assert run.results[-1].cohort == len(living)
        assert run.results[-1].accuracy > 0.8
    states = {peer.name: peer.state for peer in testbed.call(living[0], Client.peers)}
    assert states.pop(dead) == "dead"
    assert set(states.values()) == {"alive"}


def _is_process(pid: int, words: bytes) -> bool:
    return words in Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
