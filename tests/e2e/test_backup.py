"""A peer is backed up beside its running daemon, is lost with its host, and comes back from the file."""

from __future__ import annotations

import subprocess

import pytest

from ctl.client import Client

ROUNDS = 6


@pytest.mark.timeout(360)
def test_a_peer_that_is_lost_comes_back_and_goes_on_with_the_run(testbed, programs, until, tmp_path):
    testbed.up(3, "--hops", "1", paced=True)
    names = list(testbed.pids())
    lost, others = names[1], [names[0], *names[2:]]
    folder = testbed.folder / "peers" / lost
    testbed.start_paced(ROUNDS, "--grace", "3s", seconds=1.0)
    until(lambda: testbed.call(lost, Client.run).round >= 2, every=0.1)
    line = programs.run("peerd", "backup", "--state-dir", folder, "--out", tmp_path / "b").stderr
    assert line.startswith(f"Backed up {lost}: ")
    assert (tmp_path / "b").stat().st_mode & 0o777 == 0o600
    assert "another peerd runs" in programs.fails(
        4, "peerd", "restore", "--state-dir", folder, tmp_path / "b"
    )
    before = testbed.call(lost, Client.status)
    programs.ok("peerctl", "testbed", "kill", "--dir", testbed.folder, lost)
    folder.rename(tmp_path / "lost")
    folder.mkdir()
    said = programs.ok("peerd", "restore", "--state-dir", folder, tmp_path / "b")
    assert said.startswith(f"Restored {lost} as of ")
    assert not (folder / "mixkeys.json").exists()
    programs.ok("peerctl", "testbed", "start", "--dir", testbed.folder, lost)
    assert testbed.call(lost, Client.status).peer_id == before.peer_id

    def all_have_ended():
        runs = [testbed.call(name, Client.run) for name in names]
        return runs if all(run.state == "finished" for run in runs) else None

    runs = until(all_have_ended, seconds=150, every=0.5)
    assert {run.results[-1].round for run in runs} == {ROUNDS}
    assert all(run.results[-1].accuracy > 0.9 for run in runs)
    for name in others:
        dropped = testbed.call(name, Client.status).traffic.dropped
        assert "replay" not in dropped


def test_from_one_program_to_another_and_over_nothing(programs, tmp_path):
    alice = tmp_path / "alice"
    programs.ok("peerd", "init", "--state-dir", alice, "--name", "alice", "--address", "192.0.2.1:9101")
    packed = subprocess.run(
        ["peerd", "backup", "--state-dir", alice, "--out", "-"], stdout=subprocess.PIPE, check=True,
        env=programs.environment,
    ).stdout  # fmt: skip
    back = ["peerd", "restore", "--state-dir", tmp_path / "back", "-"]
    subprocess.run(back, input=packed, check=True, env=programs.environment)
    assert (tmp_path / "back/identity.json").read_bytes() == (alice / "identity.json").read_bytes()
    again = subprocess.run(back, input=packed, capture_output=True, env=programs.environment)
    assert again.returncode == 4
    assert b"there is a peer's state here already" in again.stderr
    assert "no such backup" in programs.fails(
        3, "peerd", "restore", "--state-dir", tmp_path / "x", tmp_path / "y"
    )
    assert "cannot be written" in programs.fails(
        2, "peerd", "backup", "--state-dir", alice, "--out", tmp_path / "nowhere/b"
    )
    keys = (alice / "identity.json").read_bytes()
    assert "in the state directory" in programs.fails(
        2, "peerd", "backup", "--state-dir", alice, "--force", "--out", alice / "identity.json"
    )
    assert (alice / "identity.json").read_bytes() == keys
    assert "peerd init" in programs.fails(
        3, "peerd", "backup", "--state-dir", tmp_path, "--out", tmp_path / "b"
    )
    assert not (tmp_path / "b").exists()
    programs.ok("peerd", "backup", "--state-dir", alice, "--out", tmp_path / "b")
    again = ["peerd", "backup", "--state-dir", alice, "--out", tmp_path / "b"]
    assert "--force overwrites it" in programs.fails(4, *again)
    programs.ok(*again, "--force")


def test_a_restore_that_is_killed_leaves_no_peer_and_the_next_one_cleans_up(programs, until, tmp_path):
    alice, back = tmp_path / "alice", tmp_path / "back"
    programs.ok("peerd", "init", "--state-dir", alice, "--name", "alice", "--address", "192.0.2.1:9101")
    programs.ok("peerd", "backup", "--state-dir", alice, "--out", tmp_path / "b")
    begun = (tmp_path / "b").read_bytes()[: 3 * 512]  # the keys, and that there is more
    restore = ["peerd", "restore", "--state-dir", back, "-"]
    with subprocess.Popen(restore, stdin=subprocess.PIPE, env=programs.environment) as process:
        process.stdin.write(begun)
        process.stdin.flush()
        until(lambda: list(tmp_path.glob(".back.restore-*/identity.json")))
        process.kill()
    assert not back.exists()
    assert list(tmp_path.glob(".back.restore-*/identity.json")) != []
    programs.ok("peerd", "restore", "--state-dir", back, tmp_path / "b")
    assert (back / "identity.json").read_bytes() == (alice / "identity.json").read_bytes()
    assert list(tmp_path.glob(".back.restore-*")) == []
