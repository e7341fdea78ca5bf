from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from ctl.support.redaction import REDACTED, Redactor, metrics
from peerd.membership import certificates

HOSTS = frozenset({"alice.example", "127.0.0.1"})


def redactor(include: bool = False, home: str = "/home/kim") -> Redactor:
    return Redactor(include, HOSTS, Path(home), "kims-laptop")


@pytest.mark.parametrize(
    "text",
    [
        certificates.key_pem(ec.generate_private_key(ec.SECP256R1())).decode(),
        "peerd-join.abcdefghijklmnopqrstuvwxyz234567.192.0.2.1:9103",
        "ab" * 16, "AB" * 32,
        "dGhpcyBpcyBhIHNlY3JldCBrZXkgb2YgMzIgYnl0ZXMgaW4gYmFzZTY0Cg==",
        "-----BEGIN PRIVATE KEY-----\nMIGH cut off",
    ],
)  # fmt: skip
def test_what_looks_like_a_secret_is_gone(text: str) -> None:
    found = redactor()
    told = found.text(f"before {text} after")
    assert text not in told and REDACTED in told
    assert found.counts["secrets"] >= 1
    for line in text.splitlines():
        assert line not in told or len(line) < 10 or line.startswith("before")


@pytest.mark.parametrize(
    "address",
    ["192.0.2.7", "127.0.0.1", "[2001:db8::1]", "[fe80::1%eth0]", "[::1]", "alice.example"],
)
def test_addresses_are_replaced_the_same_by_the_same(address: str) -> None:
    found = redactor()
    told = found.text(f"at {address}:9101, then {address}:9102; and {address}")
    assert address.strip("[]") not in told and "9101" not in told
    assert told == "at host-1:port-1, then host-1:port-2; and host-1"
    assert found.data({"a": [f"{address}:9101"]}) == {"a": ["host-1:port-1"]}


def test_with_addresses_they_stay_and_secrets_go() -> None:
    told = redactor(include=True).text(f"alice.example:9101 192.0.2.7 {'ab' * 16}")
    assert told == f"alice.example:9101 192.0.2.7 {REDACTED}"


@pytest.mark.parametrize(
    "text",
    [
        "10:15:30 round closed", "2026-11-29T10:13:47.318240Z", "version 1.2.3", "1.2.3.4567",
        "notalice.example.org", "alice.example-2", "peerd_cells_total{direction=\"sent\"} 12", "99.5 %",
        "exchange_seconds=14.3 fragments=245/245", "999.1.1.1", "sha256", "/srv/data/mnist",
    ],
)  # fmt: skip
def test_what_is_none_stays(text: str) -> None:
    assert redactor().text(text) == text


def test_home_and_host_name() -> None:
    assert redactor().text("/home/kim/peer on kims-laptop") == "~/peer on this-host"
    assert redactor().text("/home/kimberly") == "/home/kimberly"


def test_fields_are_judged_by_their_names() -> None:
    digest = "ab" * 32
    data = {
        "peer_id": "cd" * 16, "run_id": "ef" * 16, "model_digest": digest, "spec": {"initial_sha256": digest},
        "other": digest, "join_token": "short", "private_key": "", "nested": [{"password": "x", "n": 1}],
        "keepalive_seconds": 1.0, "flag": True, "none": None, "raw": b"key",
    }  # fmt: skip
    told = redactor().data(data)
    for name in (
        "peer_id",
        "run_id",
        "model_digest",
        "spec",
        "keepalive_seconds",
        "flag",
        "none",
        "private_key",
    ):
        assert told[name] == data[name]
    for name in ("other", "join_token", "raw"):
        assert told[name] == REDACTED
    assert told["nested"] == [{"password": REDACTED, "n": 1}]


def test_an_id_field_with_something_else_in_it_is_text() -> None:
    assert redactor().data({"peer_id": "at 192.0.2.1:80"}) == {"peer_id": "at host-1:port-1"}


Json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=60),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=20,
)


@given(Json)
def test_the_shape_stays_and_twice_is_once(value: object) -> None:
    found = redactor()
    told = found.data(value)
    json.dumps(told)
    assert type(told) is type(value)
    if isinstance(value, list):
        assert len(told) == len(value)
    assert found.data(told) == told


@given(st.ip_addresses(), st.integers(1, 65535), st.sampled_from(["{}", "{}:{}", "[{}]:{}", "at {}:{}, and"]))
def test_no_address_survives(address: object, port: int, form: str) -> None:
    bare = ":" in str(address) and form.startswith(("{}:", "at"))  # with a port that would be another address
    text = form.format(f"[{address}]" if bare else address, port)
    told = redactor().text(text)
    assert str(address) not in told and "host-" in told


def test_metrics_of_single_neighbours_are_left_out() -> None:
    text = (
        '# HELP peerd_neighbour_up x\npeerd_neighbour_up{neighbour="bob"} 1\npeerd_links{direction="in"} 1\n'
    )
    assert metrics(text) == 'peerd_links{direction="in"} 1\n'
