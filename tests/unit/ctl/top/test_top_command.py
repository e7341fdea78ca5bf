from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import Any

import yaml


def test_once_is_one_frame(peers: Any, peerctl: Any) -> None:
    peers.add("alice")
    peers.add("bob")
    result = peerctl("top", "--once", "--interval", "0.2")
    assert result.exit_code == 0, result.output
    assert "2/2 peers" in result.stdout and "over 200ms" in result.stdout
    assert sum(line.startswith(("alice", "bob")) for line in result.stdout.splitlines()) == 2
    assert "q quit" not in result.stdout


def test_a_sample_for_programs(peers: Any, peerctl: Any) -> None:
    peers.add("alice")
    peers.absent("zoe")
    data = peerctl.json("top", "--once", "--interval", "0.2")
    assert data["interval_seconds"] == 0.2
    assert (data["network"]["peers"], data["network"]["answering"]) == (2, 1)
    assert data["peers"]["alice"]["cells_out_per_second"] == 0.0
    assert data["peers"]["zoe"]["state"] == "away"
    assert yaml.safe_load(peerctl("top", "--once", "--interval", "0.2", "-o", "yaml").stdout)["peers"][
        "alice"
    ]


def test_only_those_that_are_named(peers: Any, peerctl: Any) -> None:
    for name in ("alice", "bob", "carol"):
        peers.add(name)
    for words, names in ((["--on", "bob,carol"], ["bob", "carol"]), (["--context", "bob"], ["bob"])):
        data = peerctl.json(*words, "top", "--once", "--interval", "0.2")
        assert list(data["peers"]) == names


def test_a_sample_an_interval(peers: Any) -> None:
    peers.add("alice")
    words = ["top", "--interval", "0.2", "-o", "json"]
    command = [sys.executable, "-c", "from ctl.main import main; main()", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        times = [json.loads(process.stdout.readline())["at"] for _ in range(3)]
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 130
    assert times == sorted(times) and times[-1] - times[0] >= 0.3


def test_nobody_there(peers: Any, peerctl: Any) -> None:
    peers.absent("zoe")
    result = peerctl("top", "--once", "--interval", "0.2")
    assert result.exit_code == 5
    assert "none of the peers answers" in result.stderr


def test_without_a_terminal_it_says_what_to_do(peers: Any, peerctl: Any) -> None:
    peers.add("alice")
    assert "--once prints one frame" in peerctl.error(2, "top")
