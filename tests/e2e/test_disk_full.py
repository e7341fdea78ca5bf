"""One peer's disk is full for a while: it relays on and says so, and is whole when there is room again."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from ctl.client import Client

ROOM_MIB = 24
"""For all that a peer writes in a short run, and little more."""


@pytest.fixture
def small_disk(tmp_path):
    """Mount a file system with little room on a folder; always unmounted."""
    mounted: list[Path] = []

    def mount(folder: Path) -> None:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={ROOM_MIB}m,mode=700", "tmpfs", folder],
            capture_output=True,
            text=True,
        )
        if done.returncode:
            pytest.skip(f"mounting a tmpfs needs root: {done.stderr.strip()}")
        mounted.append(folder)

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "--lazy", folder], check=True)


def fill(folder: Path) -> Path:
    """Until not a byte more fits."""
    path = folder / "filler"
    with path.open("wb", buffering=0) as file:
        for size in (1 << 16, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
    return path


@pytest.mark.timeout(240)
def test_a_full_disk_stops_nothing_but_writing(testbed, programs, until, small_disk):
    testbed.up(3, "--hops", "1", paced=True)
    names = list(testbed.pids())
    peer, others = names[1], [names[0], *names[2:]]
    state = testbed.folder / "peers" / peer

    def status():
        return testbed.call(peer, Client.status)

    programs.ok("peerctl", "testbed", "kill", "--dir", testbed.folder, peer)
    kept = testbed.folder / "kept"
    shutil.copytree(state, kept, ignore=shutil.ignore_patterns("control.sock"))
    small_disk(state)
    shutil.copytree(kept, state, dirs_exist_ok=True)
    programs.ok("peerctl", "testbed", "start", "--dir", testbed.folder, peer)
    testbed.start_paced(200, "--grace", "3s")
    until(lambda: testbed.call(peer, Client.run).round >= 3, every=0.1)
    assert not status().alarms

    filler = fill(state)
    until(lambda: list(status().alarms) == ["disk"])
    forwarded, number = status().traffic.packets["forwarded"], testbed.call(peer, Client.run).round
    until(lambda: status().traffic.packets["forwarded"] > forwarded + 100)
    until(lambda: testbed.call(peer, Client.run).round > number + 1)
    assert all(testbed.call(name, Client.status).peers_alive == 2 for name in names)

    filler.unlink()
    until(lambda: not status().alarms, seconds=30)
    number = testbed.call(peer, Client.run).round
    until(lambda: testbed.call(peer, Client.run).round > number + 1)

    # What was written since is whole: killed and started again, it goes on where it was.
    os.kill(testbed.pids()[peer], signal.SIGKILL)
    programs.ok("peerctl", "testbed", "start", "--dir", testbed.folder, peer)
    run = until(lambda: (run := testbed.call(peer, Client.run)).round > number and run)
    assert run.state in ("starting", "running")
    for name in others:
        assert "gave_up" not in testbed.call(name, Client.status).traffic.dropped
    programs.ok("peerctl", "--testbed", testbed.folder, "--context", peer, "run", "stop")
