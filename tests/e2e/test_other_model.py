"""One host has other code for a task than the rest: it is told of, and everybody else's run goes well."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from ctl.client import Client

CODE = """
import os
from pathlib import Path

from peerd.training.tasks import synthetic

DAEMON = Path(f"/proc/{os.getppid()}/cmdline").read_bytes().split(b"\\0")
PARAMETERS = 3000 if any(part.endswith(b"/peers/dora") for part in DAEMON) else 2000


def make():
    return synthetic.make(PARAMETERS)
"""
"""One file for all hosts of this test, which is other code on one of them."""


@pytest.mark.timeout(240)
def test_who_has_another_model_is_left_out_and_named(testbed, programs, until, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(CODE)
    (tmp_path / "base.toml").write_text(f"""
        [training]
        tasks = ["mine:make"]
        task_path = "{tmp_path}"
        [link]
        dead_after_seconds = 60
        [membership]
        dead_after_seconds = 60
        """)
    testbed.up(4, "--hops", "1", "--config", tmp_path / "base.toml")
    *ours, odd = testbed.ask("--all", "status")
    assert odd == "dora"

    def ended() -> dict[str, Any] | None:
        if all(testbed.call(name, Client.run).state in ("finished", "failed") for name in testbed.pids()):
            return testbed.ask("--all", "run", "show")
        return None

    testbed.ask(
        "--all", "run", "start", "--task", "mine:make", "--rounds", "3", "--quorum", "1",
        "--round-timeout", "60s",
    )  # fmt: skip
    runs = until(ended, 120)
    assert {run["state"] for run in runs.values()} == {"finished"}
    for name in ours:
        last = runs[name]["results"][-1]
        assert (last["cohort"], last["closed_by"]) == (3, "complete"), name
        assert last["accuracy"] > 0.8
    assert len({runs[name]["model_digest"] for name in ours}) == 1

    said = programs.ok("peerctl", "--testbed", testbed.folder, "--context", ours[0], "events", "-n", "0")
    assert re.search(rf"other model.*{odd}: the code of task 'mine:make' makes another model there", said), (
        said
    )
    assert len(re.findall("makes another model there", said)) == 2  # once as an event, once as an alarm
    said = programs.ok("peerctl", "--testbed", testbed.folder, "--context", odd, "events", "-n", "0")
    for name in ours:
        assert name in said
    assert "model" in testbed.ask("--context", odd, "status")["alarms"]
    peers = testbed.ask("--context", ours[0], "peers")
    assert {peer["name"]: peer["other_model"] for peer in peers} == {
        **dict.fromkeys(ours[1:], False),
        odd: True,
    }
