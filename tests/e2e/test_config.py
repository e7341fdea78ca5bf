"""Configuration and logs of real daemons: SIGHUP, bad files, peers changed while they train."""

from __future__ import annotations

import json
import os
import signal
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ctl.client import Client

ROUNDS = 500
"""More than there is time for."""


def last(testbed: Any, name: str, what: str) -> dict[str, Any] | None:
    """The last event of that kind of the peer."""
    lines = testbed.lines("--context", name, "events", "-n", "0")
    return next((event for event in reversed(lines) if event["what"] == what), None)


@pytest.fixture(scope="module")
def bed(make_programs: Any, make_testbed: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One for all tests here, which each change other keys."""
    programs = make_programs(tmp_path_factory.mktemp("home"))
    bed = make_testbed(tmp_path_factory.mktemp("config") / "tb", programs)

    def lines(*arguments: str) -> list[dict[str, Any]]:
        text = programs.ok("peerctl", "--testbed", bed.folder, "-o", "json", *arguments)
        return [json.loads(line) for line in text.splitlines()]

    bed.lines = lines
    try:
        bed.up(4, "--hops", "2", paced=True)
        yield bed
    finally:
        bed.down()


def test_a_change_that_is_persisted_is_there_after_a_restart(bed: Any, programs: Any, until: Any) -> None:
    name = next(iter(bed.pids()))
    done = bed.ask(
        "--context", name, "config", "set", "mixing.mean_delay=70ms", "link.queue_cells=300", "--persist"
    )
    assert done["file"] == str(bed.folder / f"{name}.toml")
    assert programs.ok("peerctl", "config", "validate", done["file"])
    programs.ok("peerctl", "--testbed", bed.folder, "testbed", "stop", name)
    programs.ok("peerctl", "--testbed", bed.folder, "testbed", "start", name)
    shown = bed.ask("--context", name, "config", "show", "--changed")
    assert shown["mixing.mean_delay_seconds"]["value"] == 0.07
    assert shown["mixing.mean_delay_seconds"]["origin"] == "file"
    text = programs.ok("peerctl", "--testbed", bed.folder, "--context", name, "config", "show")
    copy = bed.folder / "copy.toml"
    copy.write_text(text)
    diff = bed.ask("--context", name, "config", "diff", copy)
    assert (diff["changed"], diff["waiting"]) == ([], [])
    line = programs.fails(
        4, "peerctl", "--testbed", bed.folder, "--context", name, "config", "set", "control.unix=/x"
    )
    assert "control.unix: needs a restart" in line


@pytest.mark.timeout(600)
def test_peers_are_changed_while_they_train_and_lose_nothing(bed: Any, programs: Any, until: Any) -> None:
    names = list(bed.pids())
    bed.start_paced(ROUNDS, "--quorum", "1", "--round-timeout", "90s", seconds=0.4)
    until(lambda: bed.call(names[0], Client.run).round >= 2)

    for values in (
        ("logging.level=debug", "mixing.strategy=pool", "mixing.pool_interval=50ms", "mixing.hops=1"),
        ("delivery.max_in_flight=16", "relay.inbox_limit=1024", "link.queue_cells=512", "mixing.hops=2"),
        ("membership.gossip_interval=500ms", "training.keep_checkpoints=1", "metrics.neighbour_labels=on"),
    ):  # fmt: skip
        done = bed.ask("--all", "config", "set", *values)
        assert {name: len(change["changed"]) for name, change in done.items()} == dict.fromkeys(
            names, len(values)
        )
    refused = programs.run("peerctl", "--testbed", bed.folder, "--all", "config", "set", "mixing.hops=1",
                           "link.listen=0.0.0.0:1")  # fmt: skip
    assert refused.returncode == 4
    assert refused.stderr.count("link.listen: needs a restart") == 4
    shown = bed.ask("--all", "config", "show", "--changed")
    assert {config["relay.inbox_limit"]["value"] for config in shown.values()} == {1024}
    assert {config["mixing.strategy"]["origin"] for config in shown.values()} == {"runtime"}

    _hang_up_with_a_bad_file(bed, names[1], until)
    _hang_up_with_a_good_file(bed, names[1], until)
    assert set(bed.ask("--all", "config", "reload")) == set(names)
    back = bed.ask("--all", "config", "show", "--changed")
    assert all("runtime" not in {one["origin"] for one in config.values()} for config in back.values())

    changed_until = bed.call(names[0], Client.run).round
    until(lambda: bed.call(names[0], Client.run).round > changed_until + 1)
    bed.ask("--all", "run", "stop")
    runs = bed.ask("--all", "run", "show")
    rounds = min(len(run["results"]) for run in runs.values())
    assert changed_until - 1 <= rounds < ROUNDS, "it went on all the time"
    accuracies = set()
    for run in runs.values():
        results = run["results"][:rounds]
        assert [result["round"] for result in results] == list(range(1, rounds + 1))
        assert {result["closed_by"] for result in results} == {"complete"}
        assert sum(result["gave_up"] for result in results) == 0
        accuracies.add(tuple(result["accuracy"] for result in results))
    assert len(accuracies) == 1, "all averaged the same"
    _logs_of_all(bed, names)


def _hang_up_with_a_bad_file(bed: Any, name: str, until: Any) -> None:
    file = bed.folder / f"{name}.toml"
    good = file.read_text()
    before = bed.ask("--context", name, "config", "show")
    file.write_text(good + "\n[nothing]\n")
    os.kill(bed.pids()[name], signal.SIGHUP)
    event = until(lambda: last(bed, name, "configuration not reloaded"))
    assert event["detail"].startswith(f"{file}: ")
    assert bed.ask("--context", name, "config", "show") == before
    (line,) = bed.lines("--context", name, "logs", "--level", "error")
    assert line["fields"]["error"] == event["detail"]
    file.write_text(good)


def _hang_up_with_a_good_file(bed: Any, name: str, until: Any) -> None:
    """What the file says then holds, also over what was set; what needs a restart is told of."""
    file, log = bed.folder / f"{name}.toml", bed.folder / "own.log"
    text = file.read_text()
    for before, after in (
        ('level = "info"', 'level = "debug"'),
        ('file = ""\nmax_bytes = 10000000', f'file = "{log}"\nmax_bytes = 10000'),
        ("backups = 5", "backups = 2"),
        ("replay_capacity = 64000000", "replay_capacity = 5000000"),
    ):
        assert text.count(before) == 1
        text = text.replace(before, after)
    file.write_text(text)
    os.kill(bed.pids()[name], signal.SIGHUP)
    event = until(lambda: last(bed, name, "configuration reloaded"))
    assert event["detail"].endswith("needs a restart: relay.replay_capacity")
    config = bed.ask("--context", name, "config", "show")
    assert config["mixing.hops"]["origin"] != "runtime"
    assert config["logging.file"] == {"value": str(log), "default": "", "origin": "file", "effect": "now"}
    assert config["relay.replay_capacity"]["value"] == 64_000_000
    until(lambda: log.is_file() and log.stat().st_size)
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    waiting = bed.ask("--context", name, "config", "diff")["waiting"]
    assert [one["key"] for one in waiting] == ["relay.replay_capacity"]


def _logs_of_all(bed: Any, names: list[str]) -> None:
    lines = bed.lines("--all", "logs", "-n", "0")
    assert {line["by"] for line in lines} == set(names)
    for name in names:
        told = [line["event"] for line in lines if line["by"] == name]
        assert "peer is up" in told
        assert told.count("configuration set") == 3
        assert "configuration reloaded" in told
    text = json.dumps(lines)
    assert "BEGIN" not in text
    size = sum(path.stat().st_size for path in bed.folder.glob("own.log*"))
    assert size <= 3 * 10_000 + 6_000


def test_a_log_file_that_cannot_be_written_is_one_line_at_the_start(programs: Any, tmp_path: Path) -> None:
    programs.ok("peerctl", "network", "create", tmp_path / "net")
    state = tmp_path / "a"
    programs.ok("peerd", "init", "--state-dir", state, "--name", "a", "--address", "127.0.0.1:1")
    bundle = tmp_path / "a.bundle"
    programs.ok("peerctl", "network", "sign", tmp_path / "net", state / "request.json", "--out", bundle)
    file = tmp_path / "peerd.toml"
    file.write_text(f'[logging]\nfile = "{tmp_path}"\n')
    line = programs.fails(2, "peerd", "run", "--state-dir", state, "--bundle", bundle, "--config", file)
    assert line == f"peerd: logging.file: {tmp_path} cannot be written: Is a directory"
