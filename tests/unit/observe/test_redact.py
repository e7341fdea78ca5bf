from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerd.observe.redact import MAX_VALUE, REDACTED, looks_secret, redact
from peerd.types import DropReason, PeerId

SECRET = bytes(range(200, 232))
HEX = SECRET.hex()


def show(**event: Any) -> dict[str, Any]:
    return dict(redact(None, "info", event))


@pytest.mark.parametrize(
    "name",
    [
        "key", "mix_key", "mixKey", "private", "link_private_pem", "secret", "token", "tokens",
        "password", "passwd", "passphrase", "surb", "surb_id", "reply_surbs", "tag", "tags",
        "replay_tag", "tag_bytes", "TAG", "seed", "nonce", "mac", "credentials", "cookie", "packet",
    ],
)  # fmt: skip
def test_names_that_are_hidden(name: str) -> None:
    assert looks_secret(name)
    assert show(**{name: "open sesame"}) == {name: REDACTED}
    assert show(outer=[{name: 7}]) == {"outer": [{name: REDACTED}]}


@pytest.mark.parametrize(
    "name",
    ["stage", "staged", "vintage", "machine", "packets", "round", "reason", "path", "run", "state"],
)
def test_names_that_are_shown(name: str) -> None:
    assert not looks_secret(name)
    assert show(**{name: "fine"}) == {name: "fine"}


@pytest.mark.parametrize("value", [SECRET, bytearray(SECRET), memoryview(SECRET), PeerId(SECRET[:16])])
def test_bytes_are_never_shown(value: object) -> None:
    assert show(x=value, event=value) == {"x": REDACTED, "event": REDACTED}
    assert show(x=[(value, {"y": value})]) == {"x": [[REDACTED, {"y": REDACTED}]]}
    assert show(x={value: 1}) == {"x": {REDACTED: 1}} if isinstance(value, bytes) else True


def test_long_hex_is_hidden_wherever_it_stands() -> None:
    assert show(event=f"sent to {HEX}.") == {"event": f"sent to {REDACTED}."}
    assert show(error=ValueError(HEX.upper())) == {"error": f"ValueError: {REDACTED}"}
    assert show(event="run 1234567890abcdef") == {"event": "run 1234567890abcdef"}


def test_only_peer_shows_a_peer_id_and_nothing_longer() -> None:
    peer = HEX[:32]
    assert show(peer=peer) == {"peer": peer}
    assert show(peer=HEX) == {"peer": REDACTED}
    assert show(peer="alice") == {"peer": "alice"}
    assert show(sender=peer, event=peer) == {"sender": REDACTED, "event": REDACTED}
    assert show(x={"peer": peer}) == {"x": {"peer": REDACTED}}


def test_pem_and_bytes_literals_in_messages_are_hidden() -> None:
    pem = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA\n-----END PRIVATE KEY-----"
    assert show(error=f"bad: {pem} there") == {"error": f"bad: {REDACTED}"}
    assert show(error=f"{pem}\nthere")["error"].endswith("there")
    assert show(error=pem[:50]) == {"error": REDACTED}  # also where it is cut off
    assert show(error=KeyError(SECRET)) == {"error": f"KeyError: {REDACTED}"}
    assert show(error=repr(b'it\'s "x"')) == {"error": REDACTED}
    assert show(event="Bob's and Rob's") == {"event": "Bob's and Rob's"}


@dataclass
class Holder:
    contents: bytes


class Colour(Enum):
    RED = "red"


def test_plain_values_pass_and_all_else_is_its_type() -> None:
    plain = {"a": 1, "b": 2.5, "c": True, "d": None, "e": "text"}
    assert show(**plain) == plain
    assert show(x=DropReason.REPLAY, y=Colour.RED) == {"x": "replay", "y": "red"}
    assert show(x=Path("/var/lib/peerd")) == {"x": "/var/lib/peerd"}
    assert show(x=Holder(SECRET), y=Holder) == {"x": "<Holder>", "y": "<type>"}
    assert show(x=int.from_bytes(SECRET)) == {"x": REDACTED}
    assert show(x=float("nan"), y=float("inf")) == {"x": "nan", "y": "inf"}


def test_long_values_keep_their_ends_and_no_half_of_a_secret() -> None:
    shown = show(x="start" + "z" * 5000 + "end")["x"]
    assert len(shown) < MAX_VALUE + 10
    assert shown.startswith("startzzz")
    assert shown.endswith("zzzend")
    for before in range(MAX_VALUE // 2 - 70, MAX_VALUE // 2 + 5):
        text = "z" * before + HEX + "z" * 5000
        assert not any(HEX[i : i + 8] in show(x=text)["x"] for i in range(len(HEX) - 8))


def test_large_and_deep_containers_are_cut() -> None:
    assert show(x=list(range(1000)))["x"][-1] == "... 950 more"
    assert show(x={str(i): i for i in range(1000)})["x"]["..."] == "950 more"
    endless: list[Any] = []
    endless.append(endless)
    assert show(x=endless) == {"x": [[[["..."]]]]}


def test_text_of_strangers_breaks_neither_line_nor_terminal() -> None:
    shown = show(event="a\nb\r\x1b[31m\u202e\u2028\ud800", x="tab\t")
    assert shown == {"event": r"a\nb\r\x1b[31m\u202e\u2028\ud800", "x": r"tab\t"}
    assert show(event="Grüße, 世界") == {"event": "Grüße, 世界"}


def test_a_traceback_keeps_its_lines_but_not_its_secrets() -> None:
    text = f"Traceback:\n  File x\x1b\nValueError: {SECRET!r} {HEX}"
    assert show(exception=text) == {
        "exception": f"Traceback:\n  File x\\x1b\nValueError: {REDACTED} {REDACTED}"
    }


scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(), st.builds(object)
)
values = st.recursive(
    st.one_of(scalars, st.just(SECRET), st.just(HEX), st.just(str(SECRET))),
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.tuples(inner, inner),
        st.dictionaries(st.one_of(st.text(), st.binary(), st.integers()), inner, max_size=5),
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.one_of(st.text(), st.just("peer"), st.just("event")), values, max_size=6))
def test_whatever_is_logged_the_secret_does_not_come_out(event: dict[str, Any]) -> None:
    line = json.dumps(redact(None, "info", event), allow_nan=False)
    assert "\n" not in line
    for trace in (HEX[:16], r"\\xc8", r"\\xc9"):  # of the secret, as hex and as escapes in JSON
        assert trace not in line


@given(st.text(), st.text(alphabet="0123456789abcdef", min_size=32, max_size=128), st.text())
def test_hex_is_found_in_any_text(before: str, run: str, after: str) -> None:
    shown = str(show(event=before + run + after)["event"])
    assert run not in shown
