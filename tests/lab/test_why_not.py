"""Why a machine cannot make networks, on a machine that may be able to."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from lab import LabError, Wan, netns, why_not


@pytest.fixture(autouse=True)
def able(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine where all is well."""
    (tmp_path / "tun").touch()
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(netns, "_program", lambda: "/sbin/ip")
    monkeypatch.setattr(netns, "TUN", tmp_path / "tun")
    monkeypatch.setattr(netns, "_setns", lambda fd: None)


def refuse(fd: int) -> NoReturn:
    raise PermissionError(1, "Operation not permitted")


@pytest.mark.parametrize(
    ("where", "what", "value", "reason"),
    [
        (sys, "platform", "darwin", "network namespaces need Linux, and this is darwin"),
        (os, "geteuid", lambda: 1000, "network namespaces need root"),
        (netns, "_program", lambda: None, "the program `ip` is missing (package iproute2)"),
        (netns, "TUN", Path("/nowhere/tun"), "/nowhere/tun is missing"),
        (netns, "TUN", Path("/"), "/ cannot be opened: Is a directory"),
        (netns, "_setns", refuse, "network namespaces cannot be entered: Operation not permitted"),
    ],
)
def test_what_is_missing_is_said_in_one_line_and_nothing_is_made(
    monkeypatch: pytest.MonkeyPatch, where: object, what: str, value: object, reason: str
) -> None:
    assert why_not() is None
    monkeypatch.setattr(where, what, value)
    assert why_not() == reason
    with pytest.raises(LabError) as refused, Wan(hosts=("a",), name="unable"):
        pass
    assert str(refused.value) == reason
