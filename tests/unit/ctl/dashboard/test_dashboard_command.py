"""`peerctl dashboard` as far as it needs no browser; tests/e2e has the rest."""

from __future__ import annotations

from typing import Any

import pytest

from ctl.commands import dashboard as command
from ctl.targets import Settings


def test_nothing_but_loopback(peers: Any, peerctl: Any) -> None:
    peers.add("alice")
    said = peerctl.error(2, "dashboard", "--no-open", "--listen", "0.0.0.0:0")
    assert said.startswith("--listen 0.0.0.0:0: only loopback")
    assert "is not host:port" in peerctl.error(2, "dashboard", "--no-open", "--listen", "nonsense")


def test_without_a_peer_there_is_nothing_to_show(peerctl: Any) -> None:
    assert "names no peer" in peerctl.error(3, "dashboard", "--no-open")


def test_it_is_for_all_peers_unless_some_are_named(peers: Any) -> None:
    for name in ("alice", "bob", "carol"):
        peers.absent(name)

    def names(settings: Settings) -> list[str]:
        return [endpoint.name for endpoint in command._whole_network(settings).endpoints]

    assert names(Settings()) == ["alice", "bob", "carol"]
    assert names(Settings(on="carol,alice")) == ["carol", "alice"]
    assert names(Settings(context="bob")) == ["bob"]


@pytest.mark.parametrize(
    ("platform", "environment", "has"),
    [
        ("linux", {}, False),
        ("linux", {"DISPLAY": ":0"}, True),
        ("linux", {"WAYLAND_DISPLAY": "wayland-0"}, True),
        ("darwin", {}, True),
    ],
)
def test_a_browser_without_windows_is_not_opened(
    monkeypatch: pytest.MonkeyPatch, platform: str, environment: dict[str, str], has: bool
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.platform", platform)
    assert command._has_browser() is has
