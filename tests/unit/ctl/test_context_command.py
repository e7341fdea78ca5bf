from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ctl.contexts import Contexts


@pytest.fixture
def operator(tmp_path: Path) -> Path:
    for name in ("ca.pem", "ops.pem", "ops.key"):
        (tmp_path / name).touch()
    return tmp_path / "ops.pem"


def test_add_list_use_remove(peerctl: Any, home: Path, operator: Path) -> None:
    assert peerctl("context", "add", "alice", "--address", "unix:/run/a.sock").exit_code == 0
    arguments = ("--address", "192.0.2.7:9102", "--operator", str(operator), "--peer", "bob")
    assert peerctl("context", "add", "b", *arguments).exit_code == 0
    assert peerctl.json("context", "list") == {
        "file": str(home / "contexts.toml"),
        "current": "alice",
        "operator": None,
        "endpoints": {"alice": "unix:/run/a.sock", "b": "192.0.2.7:9102"},
    }
    assert peerctl("context", "use", "b").exit_code == 0
    lines = peerctl("context", "list").stdout.splitlines()
    assert any(line.split() == ["*", "b", "192.0.2.7:9102", "bob"] for line in lines)
    assert peerctl.json("context", "remove", "b") == {"context": "b"}
    contexts = Contexts.load(home / "contexts.toml")
    assert (contexts.current, list(contexts.endpoints)) == ("", ["alice"])


def test_the_three_files_one_by_one(peerctl: Any, home: Path, operator: Path) -> None:
    folder = operator.parent
    files = ("--ca", folder / "ca.pem", "--cert", operator, "--key", folder / "ops.key")
    peerctl.json("context", "add", "bob", "--address", "h:1", *map(str, files))
    tls = Contexts.load(home / "contexts.toml").get("bob").tls
    assert tls is not None
    assert (tls.ca, tls.peer) == (folder / "ca.pem", "bob")


def test_a_name_is_not_overwritten_by_accident(peerctl: Any, home: Path) -> None:
    add = ("context", "add", "alice", "--address")
    peerctl.json(*add, "unix:/a")
    assert "there is an endpoint 'alice'" in peerctl.error(4, *add, "unix:/b")
    peerctl.json(*add, "unix:/b", "--replace")
    assert Contexts.load(home / "contexts.toml").get("alice").address == "unix:/b"


@pytest.mark.parametrize(
    ("code", "arguments", "message"),
    [
        (2, ["x", "--address", "nonsense"], "'nonsense' is not host:port"),
        (2, ["x", "--address", "h:1"], "TCP needs --operator"),
        (2, ["x", "--address", "h:1", "--ca", "/dev/null"], "--ca: /dev/null: no such file"),
        (2, ["x", "--address", "unix:/a", "--peer", "bob"], "takes no certificates"),
        (2, ["x,y", "--address", "unix:/a"], "not an endpoint's name"),
        (3, ["x", "--address", "h:1", "--operator", "/nowhere/ops.pem"], "ops.pem: no such file"),
    ],
)
def test_what_cannot_be_added(
    peerctl: Any, home: Path, code: int, arguments: list[str], message: str
) -> None:
    if "--ca" in arguments:
        code = 3
    assert message in peerctl.error(code, "context", "add", *arguments)
    assert not (home / "contexts.toml").exists()


def test_a_broken_file_is_one_line(peerctl: Any, home: Path) -> None:
    (home / "contexts.toml").write_text("[endpoints")
    for arguments in (["context", "list"], ["status"], ["context", "use", "x"]):
        assert "contexts.toml: not valid TOML" in peerctl.error(2, *arguments)
