"""The authority's commands, with real keys in real folders; peers are asked by stand-ins of the client."""

from __future__ import annotations

import json
import stat
import time
from pathlib import Path
from typing import Any

import pytest

from ctl.client import Client
from peerd.errors import UnavailableError
from peerd.membership import Authority, Bundle, Identity, PeerState
from peerd.membership.recordfile import read_records
from peerd.membership.records import Kind, open_record
from peerd.pb import peers_pb2


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


@pytest.fixture
def enrolled(lab: Path, peerctl: Any, tmp_path: Path) -> Path:
    """The network, with alice and bob."""
    paths = [str(request(tmp_path, name)) for name in ("alice", "bob")]
    peerctl.json("network", "enroll", str(lab), *paths)
    return lab


class Told:
    """What was published, to whom."""

    def __init__(self) -> None:
        self.records: dict[str, list[bytes]] = {}
        self.unavailable: set[str] = set()
        self.knows = False

    def answer(self, client: Client, records: list[bytes]) -> int:
        if client.endpoint.name in self.unavailable:
            raise UnavailableError(f"{client.endpoint.name}: no daemon answers")
        self.records[client.endpoint.name] = records
        return 0 if self.knows else len(records)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, peers: Any) -> Told:
    """Peers alice and bob, known to the contexts file; alice is the current one."""
    made = Told()
    for name in ("alice", "bob"):
        peers.add(name)

    async def publish(client: Client, records: list[bytes]) -> int:
        return made.answer(client, records)

    monkeypatch.setattr(Client, "publish", publish)
    return made


def kinds(records: list[bytes]) -> list[Kind]:
    return [opened.kind for record in records if (opened := open_record(record))]


# -- signing in ------------------------------------------------------------------------------------


def test_from_nothing_to_bundles(peerctl: Any, lab: Path, tmp_path: Path) -> None:
    alice, bob = request(tmp_path, "alice"), request(tmp_path, "bob", 9102)
    shown = peerctl.json("network", "enroll", str(lab), str(alice), str(bob))
    assert shown["enrolled"] == ["alice", "bob"]
    for name, path in shown["bundles"].items():
        bundle = Bundle.load(Path(path)).install(tmp_path / f"state-{name}")
        assert [peer.name for peer in bundle.roster] == ["alice", "bob"]
        assert bundle.network.max_hops == 4
    roster = peerctl.json("network", "show", str(lab))
    assert [(p["name"], p["addresses"], p["delegate"]) for p in roster["peers"]] == [
        ("alice", ["192.0.2.1:9101"], False),
        ("bob", ["192.0.2.1:9102"], False),
    ]
    text = peerctl("network", "show", str(lab)).stdout
    assert "lab: at most 4 hops, body 8192 bytes, epochs of 3600s, 2 peers enrolled" in text
    assert roster["peers"][0]["peer_id"] in text
    assert roster["peers"][0]["valid_until"] in text


def test_signing_and_renewing(peerctl: Any, lab: Path, tmp_path: Path) -> None:
    alice, out = request(tmp_path, "alice"), tmp_path / "alice.bundle"
    shown = peerctl.json("network", "sign", str(lab), str(alice), "--out", str(out))
    assert (shown["name"], shown["bundle"]) == ("alice", str(out))
    first = Bundle.load(out).install(tmp_path / "state-alice")
    assert shown["peer_id"] == first.peer_id.hex()
    assert shown["valid_until"] == f"{first.chain[0].not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}"
    assert (lab / "bundles" / "alice.bundle").read_bytes() == out.read_bytes()
    text = peerctl("network", "sign", str(lab), str(alice)).stdout
    assert f"peerd join --state-dir DIR {lab / 'bundles' / 'alice.bundle'}" in text
    second = Bundle.load(lab / "bundles" / "alice.bundle").install(tmp_path / "state-alice")
    assert second.chain[0].not_valid_before_utc > first.chain[0].not_valid_before_utc


def test_all_or_none(peerctl: Any, lab: Path, tmp_path: Path) -> None:
    alice, bob = request(tmp_path, "alice"), request(tmp_path, "bob")
    peerctl.json("network", "enroll", str(lab), str(alice))
    message = peerctl.error(4, "network", "enroll", str(lab), str(bob), str(alice))
    assert "alice: this peer is enrolled already; `peerctl network sign` gives it a new bundle" in message
    assert [p["name"] for p in peerctl.json("network", "show", str(lab))["peers"]] == ["alice"]


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


def test_operator(peerctl: Any, lab: Path, tmp_path: Path) -> None:
    out = tmp_path / "ops"
    arguments = ("network", "operator", str(lab), "ops", "--role", "viewer", "--out", str(out))
    shown = peerctl.json(*arguments)
    assert shown["cert"] == str(out / "ops.pem")
    assert stat.S_IMODE(Path(shown["key"]).stat().st_mode) == 0o600
    peerctl.json("context", "add", "alice", "--address", "h:1", "--operator", shown["cert"])
    assert "exists already" in peerctl.error(4, *arguments)
    (known,) = peerctl.json("network", "show", str(lab))["operators"]
    assert (known["name"], known["role"]) == ("ops", "viewer")


# -- revoking --------------------------------------------------------------------------------------


def test_revoking_writes_a_record_and_says_how_to_tell_it(peerctl: Any, enrolled: Path) -> None:
    shown = peerctl.json("network", "revoke", str(enrolled), "bob")
    path = enrolled / "records" / "revoke-bob.record"
    assert shown == {"revoked": "bob", "kind": "peer", "record": str(path), "published": None}
    assert kinds(read_records(path)) == [Kind.REVOCATION]
    text = peerctl("--on", "alice,carol", "network", "revoke", str(enrolled), "bob").stdout
    assert f"    peerctl --on alice,carol network publish {path}" in text
    state = peerctl.json("network", "show", str(enrolled))
    assert [p["name"] for p in state["peers"]] == ["alice"]
    assert [(r["kind"], r["name"]) for r in state["revoked"]] == [("peer", "bob")]
    assert state["revoked"][0]["id"] in peerctl("network", "show", str(enrolled)).stdout


def test_revoking_and_telling_it_at_once(peerctl: Any, enrolled: Path, told: Told) -> None:
    shown = peerctl.json("--all", "network", "revoke", str(enrolled), "bob", "--publish")
    assert shown["published"] == {"alice": 1, "bob": 1}
    assert told.records["alice"] == read_records(Path(shown["record"]))
    told.knows = True
    text = peerctl("network", "revoke", str(enrolled), "bob", "--publish").stdout
    assert text == "Revoked peer bob.\nalice: knew it already\n"


def test_when_nobody_can_be_told_the_record_is_there_all_the_same(
    peerctl: Any, enrolled: Path, told: Told
) -> None:
    told.unavailable = {"alice"}
    result = peerctl("network", "revoke", str(enrolled), "bob", "--publish")
    assert result.exit_code == 5
    path = enrolled / "records" / "revoke-bob.record"
    lines = result.stderr.splitlines()
    assert lines == [
        "peerctl: alice: no daemon answers",
        f"peerctl: nobody was told yet; try again: peerctl network publish {path}",
    ]
    assert kinds(read_records(path)) == [Kind.REVOCATION]


def test_nothing_is_signed_for_peers_that_are_not_known(peerctl: Any, enrolled: Path, told: Told) -> None:
    message = peerctl.error(3, "--on", "nobody", "network", "revoke", str(enrolled), "bob", "--publish")
    assert "no endpoint 'nobody'" in message
    assert len(peerctl.json("network", "show", str(enrolled))["peers"]) == 2


def test_a_peer_by_its_id_and_an_operator(peerctl: Any, enrolled: Path, tmp_path: Path) -> None:
    stranger = "ab" * 16
    assert peerctl.json("network", "revoke", str(enrolled), stranger)["revoked"] == stranger
    peerctl.json("network", "operator", str(enrolled), "ops", "--out", str(tmp_path / "ops"))
    shown = peerctl.json("network", "revoke", str(enrolled), "ops", "--kind", "operator")
    assert Path(shown["record"]).name == "revoke-operator-ops.record"
    state = peerctl.json("network", "show", str(enrolled))
    assert [(r["kind"], r["name"]) for r in state["revoked"]] == [("peer", ""), ("operator", "ops")]
    assert state["operators"] == []


# -- delegates and tokens --------------------------------------------------------------------------


def test_a_delegate(peerctl: Any, enrolled: Path, told: Told, tmp_path: Path) -> None:
    shown = peerctl.json("network", "delegate", str(enrolled), "alice", "--days", "7", "--publish")
    assert shown["published"] == {"alice": 1}
    assert kinds(told.records["alice"]) == [Kind.DELEGATION]
    Bundle.load(Path(shown["bundle"])).install(tmp_path / "state-alice")
    assert PeerState.load(tmp_path / "state-alice").is_delegate
    alice, bob = peerctl.json("network", "show", str(enrolled))["peers"]
    assert (alice["delegate"], alice["delegate_until"]) == (True, shown["valid_until"])
    assert (bob["delegate"], bob["delegate_until"]) == (False, None)
    assert f"until {shown['valid_until']}" in peerctl("network", "show", str(enrolled)).stdout
    text = peerctl("network", "delegate", str(enrolled), "alice").stdout
    assert text.startswith("alice may sign in others until 20")


def test_inviting(peerctl: Any, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    async def invite(client: Client, name: str, expires: float) -> peers_pb2.InviteResponse:
        asked.append((client.endpoint.name, name, expires))
        return peers_pb2.InviteResponse(token="peerd-join.abc.h:1", expires_in_seconds=expires)

    monkeypatch.setattr(Client, "invite", invite)
    text = peerctl("network", "invite").stdout
    assert text == (
        "Good for one newcomer, for 1h00m. On its host:\n"
        "    peerd join --state-dir DIR --token peerd-join.abc.h:1\n"
    )
    shown = peerctl.json("--context", "bob", "network", "invite", "--name", "dora", "--expires", "15m")
    assert shown == {"token": "peerd-join.abc.h:1", "expires_in_seconds": 900.0}
    assert asked == [("alice", "", 3600.0), ("bob", "dora", 900.0)]


# -- another key -----------------------------------------------------------------------------------


def test_the_cas_key_changes_in_two_steps(peerctl: Any, enrolled: Path, told: Told, tmp_path: Path) -> None:
    peerctl.json("network", "operator", str(enrolled), "ops", "--out", str(tmp_path / "ops"))
    bundle = Bundle.load(enrolled / "bundles" / "alice.bundle").install(tmp_path / "state-alice")
    first = peerctl.json("network", "rotate-ca", str(enrolled), "--publish")
    assert (first["finished"], first["operators"], len(first["authorities"])) == (False, ["ops"], 2)
    assert kinds(told.records["alice"]) == [Kind.AUTHORITY, Kind.CERTIFICATE, Kind.CERTIFICATE]
    text = peerctl("network", "rotate-ca", str(enrolled)).stdout
    assert f"peerctl network operator {enrolled} ops --out FOLDER" in text
    assert f"peerctl network rotate-ca {enrolled} --finish" in text
    shown = peerctl("network", "show", str(enrolled)).stdout
    assert "until rotate-ca --finish" in shown
    last = peerctl.json("network", "rotate-ca", str(enrolled), "--finish", "--publish")
    assert last["authorities"] == first["authorities"][:1]
    assert kinds(told.records["alice"]) == [Kind.AUTHORITY]
    Bundle.load(Path(last["bundles"]["alice"])).install(tmp_path / "state-alice")
    state = PeerState.load(tmp_path / "state-alice")
    assert state.authorities != bundle.authorities
    assert [ca["signs"] for ca in peerctl.json("network", "show", str(enrolled))["authorities"]] == [True]


# -- publishing ------------------------------------------------------------------------------------


def test_files_of_records_are_told(peerctl: Any, enrolled: Path, told: Told) -> None:
    paths = [
        peerctl.json("network", "revoke", str(enrolled), "bob")["record"],
        peerctl.json("network", "delegate", str(enrolled), "alice")["record"],
    ]
    assert peerctl.json("network", "publish", *paths) == {"records": 2, "accepted": 2}
    assert kinds(told.records["alice"]) == [Kind.REVOCATION, Kind.DELEGATION]
    text = peerctl("--all", "network", "publish", *paths).stdout
    assert text == "alice: 2 of 2 records new there\nbob: 2 of 2 records new there\n"
    told.unavailable = {"bob"}
    assert "no daemon answers" in peerctl.error(5, "--context", "bob", "network", "publish", *paths)


def test_tables_say_what_to_do_next(peerctl: Any, tmp_path: Path) -> None:
    folder = tmp_path / "n"
    assert "peerctl network sign" in peerctl("network", "create", str(folder)).stdout
    alice = request(tmp_path, "alice")
    assert "alice.bundle" in peerctl("network", "enroll", str(folder), str(alice)).stdout
    shown = peerctl("network", "operator", str(folder), "ops", "--out", str(tmp_path)).stdout
    assert "peerctl context add" in shown


def test_every_command_explains_itself_with_an_example(peerctl: Any) -> None:
    offline = ["create", "enroll", "sign", "show", "operator", "revoke", "delegate", "rotate-ca"]
    commands = [*offline, "publish", "invite"]
    listed = peerctl("network", "--help").stdout
    for command in commands:
        assert f"  {command}" in listed
        help_text = peerctl("network", command, "--help").stdout
        assert "Example" in help_text
        assert f"network {command}" in help_text


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
        (3, ["enroll", "{lab}", "{tmp}/gone.json"], "gone.json: no such file (an enrolment request"),
        (2, ["enroll", "{lab}", "{tmp}"], "cannot be read"),
        (2, ["enroll", "{lab}", "{lab}/ca.key"], "ca.key: not a valid enrolment request"),
        (2, ["sign", "{lab}", "{lab}/ca.key"], "ca.key: not a valid enrolment request"),
        (3, ["sign", "{lab}", "{tmp}/gone.json"], "gone.json: no such file (an enrolment request"),
        (3, ["show", "{tmp}/nowhere"], "make a network with `peerctl network create`"),
        (2, ["operator", "{lab}", "ops", "--role", "king"], "'king' is not one of"),
        (3, ["revoke", "{lab}", "nobody"], "nobody: no peer of this name is enrolled"),
        (3, ["revoke", "{lab}", "nobody", "--kind", "operator"], "nobody: no operator of this name"),
        (3, ["delegate", "{lab}", "nobody"], "nobody: no peer of this name is enrolled"),
        (2, ["delegate", "{lab}", "nobody", "--days", "0"], "--days"),
        (4, ["rotate-ca", "{lab}", "--finish"], "no change of the CA is under way"),
        (3, ["publish", "{tmp}/gone.record"], "gone.record: no such file"),
        (2, ["publish", "{lab}/network.json"], "network.json: not a file of records"),
        (2, ["invite", "--expires", "0"], "must be more than 0"),
        (3, ["invite"], "names no peer"),
        (3, ["revoke", "{lab}", "nobody", "--publish"], "names no peer"),
    ],
)
def test_what_cannot_be(
    peerctl: Any, lab: Path, tmp_path: Path, code: int, arguments: list[str], message: str
) -> None:
    filled = [argument.format(lab=lab, tmp=tmp_path) for argument in arguments]
    assert message in peerctl.error(code, "network", *filled)


def test_a_file_that_cannot_be_written_is_one_clear_line(peerctl: Any, lab: Path, tmp_path: Path) -> None:
    alice = request(tmp_path, "alice")
    out = str(tmp_path / "no" / "folder" / "alice.bundle")
    assert "cannot be written" in peerctl.error(2, "network", "sign", str(lab), str(alice), "--out", out)
    (lab / "records").write_bytes(b"")
    assert "cannot be written" in peerctl.error(2, "network", "revoke", str(lab), "alice")
    assert Authority.load(lab).revoked[0].at <= time.time()  # and asking again completes it
    (lab / "records").unlink()
    peerctl.json("network", "revoke", str(lab), "alice")
    json.dumps(peerctl.json("network", "show", str(lab)))
