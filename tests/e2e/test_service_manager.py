"""The daemon under a service manager, as systemd is one: its socket, a watchdog, limits of the host."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest


class Manager:
    """The socket, and all that was said to it."""

    def __init__(self, path) -> None:
        self.address = str(path)
        self.said: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.address)

    def wait(self, line: str, seconds: float = 60.0) -> list[str]:
        """Until a datagram has this line: that datagram."""
        ends = time.monotonic() + seconds
        while True:
            self._socket.settimeout(max(ends - time.monotonic(), 0.01))
            lines = self._socket.recv(4096).decode().split("\n")
            self.said += lines
            if line in lines:
                return lines

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path):
    manager = Manager(tmp_path / "notify")
    yield manager
    manager.close()


@pytest.fixture(scope="module")
def enrolled(make_programs, tmp_path_factory):
    """The state directory of an enrolled peer."""
    home = tmp_path_factory.mktemp("enrolled")
    programs, folder = make_programs(home), home / "alice"
    programs.ok("peerctl", "network", "create", home / "net")
    programs.ok("peerd", "init", "--state-dir", folder, "--name", "alice", "--address", "127.0.0.1:1")
    programs.ok("peerctl", "network", "sign", home / "net", folder / "request.json")
    programs.ok("peerd", "join", "--state-dir", folder, home / "net/bundles/alice.bundle")
    return folder


@pytest.fixture
def alice(enrolled, tmp_path):
    """A copy for one test."""
    return shutil.copytree(enrolled, tmp_path / "alice")


@pytest.fixture
def start(programs, alice, tmp_path):
    started: list[subprocess.Popen[bytes]] = []

    def run(preexec=None, **environment: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "peerd", "run", "--state-dir", alice, "--listen", "127.0.0.1:0"]
        with (tmp_path / "log").open("ab") as log:
            process = subprocess.Popen(
                list(map(str, command)),
                env=programs.environment | environment,
                stderr=log,
                preexec_fn=preexec,
            )
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()


def test_a_life_as_its_service_manager_hears_of_it(start, manager, alice, programs):
    daemon = start(NOTIFY_SOCKET=manager.address, WATCHDOG_USEC="400000")
    manager.wait("READY=1")
    programs.ok("peerctl", "--endpoint", f"unix:{alice / 'control.sock'}", "status")
    manager.wait("WATCHDOG=1")
    began = time.monotonic()
    for _ in range(5):
        manager.wait("WATCHDOG=1")
    assert time.monotonic() - began < 5 * 0.4, "it is alive, and says so in time"
    assert "STATUS=alice: 0 of 0 others alive" in manager.said
    daemon.send_signal(signal.SIGTERM)
    assert "STATUS=stopping" in manager.wait("STOPPING=1")
    assert daemon.wait(30) == 0
    assert not [
        line
        for line in manager.said
        if line.partition("=")[0] not in ("READY", "STATUS", "WATCHDOG", "STOPPING")
    ]


def test_who_is_not_up_is_not_ready(start, manager, alice, tmp_path):
    (alice / "control.sock").write_text("in the way")
    assert start(NOTIFY_SOCKET=manager.address).wait(60) == 4
    with pytest.raises(TimeoutError):
        manager.wait("READY=1", 0.1)
    assert "there is a file here that is no socket" in (tmp_path / "log").read_text()


def test_the_soft_limit_is_raised_and_a_low_hard_one_is_told(start, manager, tmp_path):
    def little():
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, 200))

    daemon = start(little, NOTIFY_SOCKET=manager.address)
    manager.wait("READY=1")
    manager.wait("STATUS=alice: 0 of 0 others alive")
    assert resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE) == (200, 200)
    os.kill(daemon.pid, signal.SIGTERM)
    assert daemon.wait(30) == 0
    said = (tmp_path / "log").read_text()
    assert "a limit of this host is too low" in said
    assert "200 open files are too few for a network of 1 peers" in said
