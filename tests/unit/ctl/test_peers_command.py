"""`peerctl peers`: what one sees of the others."""

from __future__ import annotations

from typing import Any

import pytest

from peerd.pb import peers_pb2


@pytest.fixture
def alice(peers: Any) -> Any:
    made = peers.add("alice")
    made.peers = [
        peers_pb2.Peer(
            name="zoe", state="joining", damped=True, since_seconds=83.0, address="192.0.2.200:59101",
            outbound="connecting", inbound="up", link_rtt_seconds=0.012, epoch=498_777, version=1_800_000_000,
            software="0.1.0", run_id="ab" * 16, loop_quality=0.5, clock_skew_seconds=-0.25, queue_depth=7,
        ),
        peers_pb2.Peer(
            name="bob", state="alive", run_id="ab" * 16, contributes_from=4, clock_skew_seconds=0.0
        ),
        peers_pb2.Peer(name="dora", state="revoked"),
    ]  # fmt: skip
    return made


@pytest.mark.usefixtures("alice")
def test_by_name_with_everything_in_json(peerctl: Any) -> None:
    shown = {peer["name"]: peer for peer in peerctl.json("peers")}
    assert list(shown) == ["bob", "dora", "zoe"]
    assert set(shown["zoe"]) == {field.name for field in peers_pb2.Peer.DESCRIPTOR.fields}
    assert (shown["zoe"]["version"], shown["zoe"]["damped"]) == (1_800_000_000, True)
    assert (shown["bob"]["clock_skew_seconds"], shown["dora"]["clock_skew_seconds"]) == (0.0, None)


@pytest.mark.usefixtures("alice")
def test_all_columns_where_there_is_room(peerctl: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    lines = [line.split() for line in peerctl("peers").stdout.splitlines()]
    assert [line[0] for line in lines[2:]] == ["bob", "dora", "zoe"]
    assert lines[4] == [
        "zoe", "joining,", "damped", "1m23s", "1800000000", "498777", "12", "ms", "-250", "ms", "listens",
        "50", "%", "0.1.0", "192.0.2.200:59101", "connecting", "up", "7",
    ]  # fmt: skip
    assert lines[2][:6] == ["bob", "alive", "0", "+0", "from", "4"]


@pytest.mark.usefixtures("alice")
@pytest.mark.parametrize("columns", [100, 80, 60])
def test_a_narrow_terminal_shows_what_matters_most(
    peerctl: Any, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = peerctl("peers").stdout.splitlines()
    assert max(map(len, lines)) <= columns
    for title in ("Peer", "State", "Since", "Version", "Link RTT"):
        assert title in lines[0]
