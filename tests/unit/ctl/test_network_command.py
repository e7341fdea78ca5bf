"""The authority's commands, with real keys in real folders."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest

from peerd.membership import Bundle, Identity


def request(folder: Path, name: str, port: int = 9101) -> Path:
    state = folder / f"state-{name}"
    state.mkdir()
    path = folder / f"{name}.json"
    path.write_bytes(Identity.create(state, name, f"192.0.2.1:{port}").request())
    return path


@pytest.fixture
def lab(tmp_path: Path, peerctl: Any) -> Path:
    folder = tmp_path / "lab"
    made = peerctl.json("network", "create", str(folder), "--max-hops", "4")
    assert made == {
        "directory": str(folder),
        "name": "lab",
        "max_hops": 4,
        "body_bytes": 8192,
        "epoch_seconds": 3600.0,
        "epoch_grace_seconds": 300.0,
    }
    return folder


def test_from_nothing_to_bundles(peerctl: Any, lab: Path, tmp_path: Path) -> None:
    alice, bob = request(tmp_path, "alice"), request(tmp_path, "bob", 9102)
    shown = peerctl.json("network", "enroll", str(lab), str(alice), str(bob))
    assert shown["enrolled"] == ["alice", "bob"]
    for name, path in shown["bundles"].items():
        bundle = Bundle.load(Path(path)).install(tmp_path / f"state-{name}")
        assert [peer.name for peer in bundle.roster] == ["alice", "bob"]
        assert bundle.network.max_hops == 4
    roster = peerctl.json("network", "show", str(lab))
    assert [(p["name"], p["addresses"]) for p in roster["peers"]] == [
        ("alice", ["192.0.2.1:9101"]),
        ("bob", ["192.0.2.1:9102"]),
    ]
    text = peerctl("network", "show", str(lab)).stdout
    assert "lab: at most 4 hops, body 8192 bytes, epochs of 3600s, 2 peers enrolled" in text
    assert roster["peers"][0]["peer_id"] in text


@pytest.mark.parametrize(
    ("options", "epoch", "grace"),
    [
        (("--epoch", "10s"), 10.0, 10.0),
        (("--epoch", "10s", "--grace", "2s"), 10.0, 2.0),
        (("--epoch", "1h"), 3600.0, 300.0),
        (("--epoch", "2m"), 120.0, 120.0),
    ],
)
def test_the_grace_follows_the_epoch(
    peerctl: Any, tmp_path: Path, options: tuple[str, ...], epoch: float, grace: float
) -> None:
    folder = str(tmp_path / "n")
    made = peerctl.json("network", "create", folder, *options)
    assert (made["epoch_seconds"], made["epoch_grace_seconds"]) == (epoch, grace)
    shown = peerctl.json("network", "show", folder)
    assert (shown["epoch_seconds"], shown["epoch_grace_seconds"]) == (epoch, grace)


def test_a_second_enrolment_says_what_was_done_before_it(peerctl: Any, lab: Path, tmp_path: Path) -> None:
    alice, bob = request(tmp_path, "alice"), request(tmp_path, "bob")
    peerctl.json("network", "enroll", str(lab), str(alice))
    message = peerctl.error(4, "network", "enroll", str(lab), str(bob), str(alice))
    assert "alice: a peer of this name is enrolled already (enrolled before it: bob)" in message
    assert [p["name"] for p in peerctl.json("network", "show", str(lab))["peers"]] == ["alice", "bob"]


def test_operator(peerctl: Any, lab: Path, tmp_path: Path) -> None:
    out = tmp_path / "ops"
    arguments = ("network", "operator", str(lab), "ops", "--role", "viewer", "--out", str(out))
    shown = peerctl.json(*arguments)
    assert shown["cert"] == str(out / "ops.pem")
    assert stat.S_IMODE(Path(shown["key"]).stat().st_mode) == 0o600
    peerctl.json("context", "add", "alice", "--address", "h:1", "--operator", shown["cert"])
    assert "exists already" in peerctl.error(4, *arguments)


def test_tables_say_what_to_do_next(peerctl: Any, tmp_path: Path) -> None:
    folder = tmp_path / "n"
    assert "peerctl network enroll" in peerctl("network", "create", str(folder)).stdout
    alice = request(tmp_path, "alice")
    assert "alice.bundle" in peerctl("network", "enroll", str(folder), str(alice)).stdout
    shown = peerctl("network", "operator", str(folder), "ops", "--out", str(tmp_path)).stdout
    assert "peerctl context add" in shown


@pytest.mark.parametrize(
    ("code", "arguments", "message"),
    [
        (2, ["create", "{tmp}/Bad Name"], "network: name: "),
        (2, ["create", "{tmp}/x", "--max-hops", "99"], "network: max_hops: "),
        (
            2,
            ["create", "{tmp}/x", "--epoch", "10s", "--grace", "11s"],
            "network: epoch_grace_seconds is at most",
        ),
        (2, ["create", "{tmp}/x", "--epoch", "0.5s"], "network: epoch_seconds: "),
        (2, ["create", "{tmp}/x", "--grace", "0.1s"], "network: epoch_grace_seconds: "),
        (2, ["create", "{tmp}/x", "--epoch", "soon"], "'soon' is not a duration"),
        (4, ["create", "{lab}"], "a network lies here already"),
        (3, ["enroll", "{lab}", "{tmp}/gone.json"], "gone.json: no such request"),
        (2, ["enroll", "{lab}", "{tmp}"], "cannot be read"),
        (2, ["enroll", "{lab}", "{lab}/ca.pem"], "ca.pem"),
        (2, ["operator", "{lab}", "ops", "--role", "king"], "'king' is not one of"),
    ],
)
def test_what_cannot_be(
    peerctl: Any, lab: Path, tmp_path: Path, code: int, arguments: list[str], message: str
) -> None:
    filled = [argument.format(lab=lab, tmp=tmp_path) for argument in arguments]
    assert message in peerctl.error(code, "network", *filled)
