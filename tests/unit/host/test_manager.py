from __future__ import annotations

import os
import socket

import pytest

from peerd.host import ServiceManager


@pytest.fixture
def heard(tmp_path):
    """A service manager's socket, and what was said to it so far."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.setblocking(False)

        def read() -> list[str]:
            said = []
            while True:
                try:
                    said.append(sock.recv(4096).decode())
                except BlockingIOError:
                    return said

        read.address = str(tmp_path / "notify")
        yield read


def test_what_the_manager_says_is_taken_from_the_environment(heard):
    environment = {"NOTIFY_SOCKET": heard.address, "WATCHDOG_USEC": "3000000", "HOME": "/"}
    environment["WATCHDOG_PID"] = str(os.getpid())
    manager = ServiceManager.of(environment)
    assert manager.watchdog_seconds == 3.0
    assert environment == {"HOME": "/"}, "the trainer is told nothing of it"
    manager.ready()
    manager.stopping()
    assert heard() == ["READY=1", "STOPPING=1\nSTATUS=stopping"]


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"NOTIFY_SOCKET": ""},
        {"NOTIFY_SOCKET": "relative", "WATCHDOG_USEC": "3000000"},
        {"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "soon"},
        {"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"},
        {"NOTIFY_SOCKET": "/" + "x" * 200},
    ],
)
def test_without_a_manager_or_its_watchdog_nothing_happens(environment):
    manager = ServiceManager.of(dict(environment))
    assert manager.watchdog_seconds == 0.0
    manager.ready()
    manager.alive("well")
    manager.stopping()


def test_an_abstract_address():
    name = f"peerd-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind("\0" + name)
        sock.settimeout(5)
        ServiceManager(f"@{name}").ready()
        assert sock.recv(100) == b"READY=1"


def test_signs_of_life_say_how_it_goes_when_that_is_another(heard):
    manager = ServiceManager(heard.address, 3.0)
    for status in ("2 of 3", "2 of 3", "3 of 3\nREADY=1"):
        manager.alive(status)
    assert heard() == ["STATUS=2 of 3\nWATCHDOG=1", "WATCHDOG=1", "STATUS=3 of 3 READY=1\nWATCHDOG=1"]


def test_without_a_watchdog_only_what_changes_is_said(heard):
    manager = ServiceManager(heard.address)
    for status in ("2 of 3", "2 of 3", "3 of 3"):
        manager.alive(status)
    assert heard() == ["STATUS=2 of 3", "STATUS=3 of 3"]


def test_a_manager_that_does_not_read_holds_nobody_up(heard):
    manager = ServiceManager(heard.address, 3.0)
    for number in range(10_000):  # more than its socket takes
        manager.alive(str(number))
    said = heard()
    assert 0 < len(said) < 10_000
    manager.alive("9999")
    assert heard() == ["STATUS=9999\nWATCHDOG=1"], "what was lost is said again"


def test_a_reload_is_over_even_if_it_fails(heard):
    with pytest.raises(ValueError), ServiceManager(heard.address).reloading():
        raise ValueError
    first, second = heard()
    kind, moment = first.split("\n")
    assert (kind, second) == ("RELOADING=1", "READY=1")
    assert moment.startswith("MONOTONIC_USEC=")
    assert int(moment.partition("=")[2]) > 0
