"""`peerctl config`, against peers that speak the real control API."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import grpc
import pytest

from peerd.pb import config_pb2

Setting = config_pb2.Setting
Change = config_pb2.SettingChange


def config(file: str = "/etc/peerd/peerd.toml") -> config_pb2.ConfigStatus:
    def setting(key: str, value: Any, default: Any, origin: str, effect: str = "now") -> Setting:
        return Setting(
            key=key, value=json.dumps(value), default=json.dumps(default), origin=origin, effect=effect
        )

    return config_pb2.ConfigStatus(
        file=file,
        settings=[
            setting("state_dir", "/var/lib/peerd", "", "option", "restart"),
            setting("link.listen", "0.0.0.0:9101", "127.0.0.1:9101", "file", "restart"),
            setting("mixing.hops", 3, 3, "file"),
            setting("mixing.mean_delay_seconds", 0.08, 0.05, "runtime"),
            setting("mixing.direct", False, False, "default"),
            setting("training.tasks", ["a", "b"], ["a"], "file", "next run"),
        ],
    )


@pytest.fixture
def alice(peers: Any) -> Any:
    peer = peers.add("alice")
    peer.config = config()
    return peer


@pytest.mark.usefixtures("alice")
def test_the_configuration_in_force_is_a_file_with_where_each_value_came_from(peerctl: Any) -> None:
    text = peerctl("config", "show").stdout
    assert tomllib.loads(text) == {
        "state_dir": "/var/lib/peerd",
        "link": {"listen": "0.0.0.0:9101"},
        "mixing": {"hops": 3, "mean_delay_seconds": 0.08, "direct": False},
        "training": {"tasks": ["a", "b"]},
    }
    lines = text.splitlines()
    assert lines[0] == "# config file: /etc/peerd/peerd.toml"
    (hops,) = [line for line in lines if line.startswith("hops")]
    assert hops.endswith("# file; as by default")
    (delay,) = [line for line in lines if line.startswith("mean_delay_seconds")]
    assert delay.endswith("# runtime; default 0.05")
    assert "direct = false" in lines


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["mixing"], {"mixing": {"hops": 3, "mean_delay_seconds": 0.08, "direct": False}}),
        (["mixing.hops"], {"mixing": {"hops": 3}}),
        (["mixing.mean"], {"mixing": {"mean_delay_seconds": 0.08}}),
        (["mixing", "--changed"], {"mixing": {"mean_delay_seconds": 0.08}}),
        (["mixing", "--defaults"], {"mixing": {"hops": 3, "mean_delay_seconds": 0.05, "direct": False}}),
    ],
)
@pytest.mark.usefixtures("alice")
def test_parts_of_it(peerctl: Any, arguments: list[str], expected: Any) -> None:
    assert tomllib.loads(peerctl("config", "show", *arguments).stdout) == expected


@pytest.mark.usefixtures("alice")
def test_for_programs_it_is_by_key(peerctl: Any, peers: Any) -> None:
    data = peerctl.json("config", "show", "training")
    assert data == {
        "training.tasks": {"value": ["a", "b"], "default": ["a"], "origin": "file", "effect": "next run"}
    }
    peers.add("bob").config = config("")
    both = peerctl.json("--all", "config", "show", "--changed")
    assert list(both) == ["alice", "bob"]
    assert "mixing.hops" not in both["bob"]
    text = peerctl("--all", "config", "show", "mixing").stdout
    assert "# alice, config file: /etc/peerd/peerd.toml" in text
    assert "# bob, config file: none" in text


@pytest.mark.usefixtures("alice")
def test_what_is_not_there_is_said(peerctl: Any) -> None:
    result = peerctl("config", "show", "mixng")
    assert result.exit_code == 2
    assert "mixng: no such section or key; sections: state_dir, link, mixing, training" in result.stderr
    assert peerctl("config", "show", "--changed", "--defaults").exit_code == 2


def test_what_a_peer_sends_does_not_steer_the_terminal(peers: Any, peerctl: Any) -> None:
    peers.add("alice").config = config_pb2.ConfigStatus(
        file="/a\x1b[31m\nb = 1",
        settings=[Setting(key="a.b", value='"\\u001b[31m"', default="{", origin="x\ny", effect="now")],
    )
    text = peerctl("config", "show").stdout
    assert "\x1b" not in text
    assert tomllib.loads(text) == {"a": {"b": "\x1b[31m"}}


def test_a_file_is_validated_without_a_daemon(home: Path, peerctl: Any) -> None:
    file = home / "peerd.toml"
    file.write_text("[mixing]\nhops = 3\n")
    assert peerctl("config", "validate", str(file)).stdout == f"{file}: no mistakes\n"
    assert peerctl.json("config", "validate", str(file)) == {"file": str(file), "valid": True}
    file.write_text("[mixing]\nhops = 99\n")
    result = peerctl("config", "validate", str(file))
    assert result.exit_code == 2
    assert result.stderr == (
        f"peerctl: {file}: mixing.hops: Expected `int` <= 16; allowed: a whole number from 1 to 16\n"
    )
    file.write_text('[mixing]\nhops = 99\nhop = 1\n[logging]\nlevel = "loud"\n')
    result = peerctl("config", "validate", str(file))
    first, *rest = result.stderr.splitlines()
    assert (result.exit_code, first) == (2, f"peerctl: {file}: 3 mistakes")
    assert [line.split(": ")[1] for line in rest] == ["mixing.hops", "mixing.hop", "logging.level"]
    told = json.loads(peerctl("config", "validate", str(file), "-o", "json").stderr)["error"]
    assert (told["exit_code"], len(told["tail"])) == (2, 3)


def test_a_file_that_is_none(home: Path, peerctl: Any) -> None:
    assert peerctl("config", "validate", str(home / "none.toml")).exit_code == 3
    big = home / "big.toml"
    big.write_text("#" * ((1 << 20) + 1))
    assert "larger than 1048576 bytes; not a config file" in peerctl("config", "validate", str(big)).stderr
    big.write_bytes(b"\xff\xfe")
    assert "cannot be read" in peerctl("config", "validate", str(big)).stderr


def test_what_differs_from_a_file(alice: Any, home: Path, peerctl: Any) -> None:
    alice.change = config_pb2.ConfigChange(
        file="/etc/peerd/peerd.toml",
        changed=[Change(key="mixing.hops", before="3", after="2", effect="now"),
                 Change(key="training.tasks", before='["a"]', after='["a", "b"]', effect="next run")],
        waiting=[Change(key="link.listen", before='"a:1"', after='"b:2"', effect="restart")],
    )  # fmt: skip
    lines = peerctl("config", "diff").stdout.splitlines()
    assert lines[0].split() == ["Peer", "Key", "In", "force", "In", "the", "file", "Takes", "effect"]
    assert lines[2].split() == ["alice", "mixing.hops", "3", "2", "now"]
    assert lines[3].endswith('["a", "b"]   with the next run')
    assert lines[4].split()[1:] == ["link.listen", '"a:1"', '"b:2"', "after", "a", "restart"]
    data = peerctl.json("config", "diff")
    assert data["waiting"] == [{"key": "link.listen", "before": "a:1", "after": "b:2", "effect": "restart"}]
    file = home / "new.toml"
    file.write_text("[mixing]\nhops = 2\n")
    peerctl("config", "diff", str(file))
    file.write_text("")
    peerctl("config", "diff", str(file))
    assert [(r.given, dict(r.values), r.name) for r in alice.asked] == [
        (False, {}, ""), (False, {}, ""), (True, {"mixing.hops": "2"}, str(file)), (True, {}, str(file)),
    ]  # fmt: skip
    file.write_text("[mixing]\nhops = 0\n")
    assert peerctl("config", "diff", str(file)).exit_code == 2
    assert len(alice.asked) == 4


def test_values_are_set_as_their_keys_want_them(alice: Any, peerctl: Any) -> None:
    alice.change = config_pb2.ConfigChange(
        changed=[Change(key="mixing.hops", before="3", after="2", effect="now")],
        notes=["mixing.hops: a note\nof two lines"],
    )
    result = peerctl("config", "set", "mixing.hops=2", "mixing.mean_delay=80ms", "--persist")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] == "alice: mixing.hops: a note of two lines"
    (request,) = alice.asked
    assert dict(request.values) == {"mixing.hops": "2", "mixing.mean_delay_seconds": "0.08"}
    assert request.persist
    alice.change = config_pb2.ConfigChange()
    assert peerctl("config", "set", "logging.level=info").stdout == "alice: nothing differs\n"
    assert not alice.asked[-1].persist


def test_what_is_wrong_is_not_asked_and_what_is_refused_is_told_peer_by_peer(
    alice: Any, peers: Any, peerctl: Any
) -> None:
    for arguments in (["mixing.hops=0"], ["hops"], ["mixing.hops=1", "mixing.hops=2"], []):
        assert peerctl("config", "set", *arguments).exit_code == 2
    assert alice.asked == []
    bob = peers.add("bob")
    bob.refuse = (grpc.StatusCode.FAILED_PRECONDITION, "link.listen: needs a restart")
    result = peerctl("--all", "config", "set", "link.listen=0.0.0.0:1")
    assert result.exit_code == 4
    assert result.stderr == "peerctl: bob: link.listen: needs a restart\n"
    assert len(alice.asked) == 1


def test_a_reload_tells_what_changed_and_what_waits(alice: Any, peerctl: Any) -> None:
    alice.change = config_pb2.ConfigChange(
        file="/f", waiting=[Change(key="link.listen", before='"a:1"', after='"b:2"', effect="restart")]
    )
    assert "after a restart" in peerctl("config", "reload").stdout
    alice.refuse = (grpc.StatusCode.INVALID_ARGUMENT, "/f: mixing.hops: no")
    result = peerctl("config", "reload")
    assert (result.exit_code, result.stderr) == (2, "peerctl: alice: /f: mixing.hops: no\n")


def test_the_shell_completes_keys_and_choices() -> None:
    environment = os.environ | {
        "_PEERCTL_COMPLETE": "bash_complete",
        "COMP_WORDS": "peerctl config set logging.le",
        "COMP_CWORD": "3",
    }
    code = "from ctl.main import main; main()"
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert result.stdout.split() == ["plain,logging.level="]
