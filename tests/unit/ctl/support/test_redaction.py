from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from ctl.support.redaction import REDACTED, Redactor, metrics
from peerd.membership import certificates


def mixed(text: str) -> bool:
    """Whether it looks as 32 bytes do but once in thousands: digits among its letters."""
    return any(c in "234567" for c in text) and any(c.isalpha() for c in text)


HOSTS = frozenset({"alice.example", "127.0.0.1"})


def redactor(include: bool = False, home: str = "/home/kim") -> Redactor:
    return Redactor(include, HOSTS, Path(home), "kims-laptop")


@pytest.mark.parametrize(
    "text",
    [
        certificates.key_pem(ec.generate_private_key(ec.SECP256R1())).decode(),
        "peerd-join.abcdefghijklmnopqrstuvwxyz234567.192.0.2.1:9103",
        "ab" * 16, "AB" * 32, "0x" + "ab" * 16,
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
    [
        "192.0.2.7",
        "127.0.0.1",
        "[2001:db8::1]",
        "[fe80::1%eth0]",
        "[fe80::1%br-a.5]",
        "[::1]",
        "alice.example",
        "[::ffff:192.0.2.1]",
        "[64:ff9b::192.0.2.1]",
        "Alice.Example",
        "never-told.corp.example",
        "192.000.002.001",
    ],
)
def test_addresses_are_replaced_the_same_by_the_same(address: str) -> None:
    found = redactor()
    told = found.text(f"at {address}:9101, then {address}:9102; and {address}")
    assert "9101" not in told
    if address.startswith("never-told"):  # a port is what tells that it is one
        told = told.replace(f"and {address}", "and host-1")
    assert told == "at host-1:port-1, then host-1:port-2; and host-1"
    assert found.data({"a": [f"{address}:9101"]}) == {"a": ["host-1:port-1"]}


def test_an_address_is_whole_and_the_same_however_it_is_written() -> None:
    text = "::ffff:192.0.2.1 192.0.2.1 ::FFFF:c000:201, 2001:DB8::1 2001:db8:0:0::1. (::1) ::ffff:192.0.2.2."
    assert redactor().text(text) == "host-1 host-1 host-1, host-2 host-2. (host-3) host-4."


def test_a_host_with_the_name_of_a_peer_goes_where_it_is_one() -> None:
    hosts, peers = frozenset({"alice", "bob.example"}), frozenset({"alice"})
    told = Redactor(False, hosts, Path("/root"), "here", peers).text("alice: ALICE:9101, bob: bob.example")
    assert told == "alice: host-2:port-1, bob: host-1"


def test_with_addresses_they_stay_and_secrets_go() -> None:
    told = redactor(include=True).text(f"alice.example:9101 192.0.2.7 {'ab' * 16}")
    assert told == f"alice.example:9101 192.0.2.7 {REDACTED}"


@pytest.mark.parametrize(
    "text",
    [
        "10:15:30 round closed", "2026-11-29T10:13:47.318240Z", "version 1.2.3", "1.2.3.4567",
        "notalice.example.org", "alice.example-2", "peerd_cells_total{direction=\"sent\"} 12", "99.5 %",
        "test_x.py:12", "f.g.py:12",
        "key=3", "keepalive: 1", "seconds=1.5", "2 of 3", "std::vector",
        "exchange_seconds=14.3 fragments=245/245", "999.1.1.1", "sha256", "/srv/data/mnist",
    ],
)  # fmt: skip
def test_what_is_none_stays(text: str) -> None:
    assert redactor().text(text) == text


def test_home_and_host_name() -> None:
    assert redactor().text("/home/kim/peer on kims-laptop") == "~/peer on this-host"
    assert redactor().text("/home/kimberly/x") == "/home/user-1/x"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("password: hunter2", "password: [redacted]"),
        ("--password hunter2", "--password [redacted]"),
        ("peerd join --token abc", "peerd join --token [redacted]"),
        ("pwd=hunter2", "pwd=[redacted]"),
        ("Authorization: Bearer abcdef123456", "Authorization: Bearer [redacted]"),
        ("https://kim:hunter2@host/x", "https://[redacted]@host/x"),
        ("ipv6:%5B2001:db8::5%5D:99", "ipv6:host-1:port-1"),
        ("dns:///srv.corp.example:99", "dns:///host-1:port-1"),
        ("kim@srv.corp.example:22", "kim@host-1:port-1"),
        ("run: 12, mixing.hops: 3, peer: carol", "run: 12, mixing.hops: 3, peer: carol"),
        ("/a/file.py:12", "/a/file.py:12"),
    ],
)
def test_other_ways_to_write_what_is_to_be_hidden(text: str, shown: str) -> None:
    assert redactor().text(text) == shown


def test_homes_of_others() -> None:
    text = "/home/eve/data, /Users/Eve Smith/data and /home/bob; '/home/eve'"
    assert (
        redactor().text(text)
        == "/home/user-1/data, /Users/user-2 Smith/data and /home/user-3; '/home/user-1'"
    )
    told = redactor().data({"training": {"data_dir": "/Users/Eve Smith/data"}, "x": "/home/kim/a b"})
    assert told == {"training": {"data_dir": "/Users/user-1/data"}, "x": "~/a b"}


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


def test_settings_are_no_secrets_because_they_have_keys() -> None:
    settings = {
        "mixing.hops": {"key": "mixing.hops", "value": 3, "origin": "file"},
        "membership.advertise": {"value": "alice.example:9511", "default": ""},
        "some.access_token": {"value": "short", "default": ""},
        "nested": {"secrets": {"a": {"b": ["one", "two"]}}},
    }
    assert redactor().data(settings) == {
        "mixing.hops": settings["mixing.hops"],
        "membership.advertise": {"value": "host-1:port-1", "default": ""},
        "some.access_token": {"value": REDACTED, "default": ""},
        "nested": {"secrets": {"a": {"b": [REDACTED, REDACTED]}}},
    }


@pytest.mark.parametrize(
    "text",
    [
        "password=hunter2", 'token="hunter2"', '{"private_key": "hunter2", "n": 1}', "passphrase = hunter2",
        '{\\"secret\\": \\"hunter2\\"}', "auth_token='hunter2'", "MIX_KEY=hunter2,",
    ],
)  # fmt: skip
def test_what_a_text_calls_a_secret_is_one(text: str) -> None:
    told = redactor().text(text)
    assert "hunter2" not in told
    assert REDACTED in told


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


def ends_as_a_host(name: str) -> bool:
    return name.rpartition(".")[2].isalpha()


labels = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,12}[a-z0-9])?", fullmatch=True)
host_names = st.lists(labels, min_size=2, max_size=4).map(".".join).filter(ends_as_a_host)
addresses = st.one_of(
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(str),
    st.ip_addresses(v=6).map(lambda address: address.exploded.upper()),
    st.ip_addresses(v=4).map(lambda address: f"::ffff:{address}"),
    st.ip_addresses(v=4).map(lambda address: f"64:ff9b::{address}"),
)
around = st.sampled_from([
    "{}", "at {}", "({})", "{}, and", "'{}'", '"{}"', "{}.", "a={}", "peer {}; round", "from\n{}\nto",
    "/data/{}/x",
])  # fmt: skip
keys_of_32_bytes = st.binary(min_size=32, max_size=32)
secrets = st.one_of(
    keys_of_32_bytes.map(bytes.hex),
    keys_of_32_bytes.map(lambda key: key.hex().upper()),
    keys_of_32_bytes.map(lambda key: base64.b64encode(key).decode()).filter(mixed),
    keys_of_32_bytes.map(lambda key: base64.urlsafe_b64encode(key).decode().rstrip("=")).filter(mixed),
    keys_of_32_bytes.map(lambda key: base64.b32encode(key).decode().lower().rstrip("=")).filter(mixed),
    keys_of_32_bytes.map(lambda key: f"peerd-join.{base64.b32encode(key).decode().lower()}.192.0.2.1:9103"),
    keys_of_32_bytes.map(
        lambda key: (
            f"-----BEGIN PRIVATE KEY-----\n{base64.b64encode(key).decode()}\n-----END PRIVATE KEY-----"
        )
    ),
)


@given(addresses, st.none() | st.integers(1, 65535), around)
def test_no_address_survives(address: str, port: int | None, form: str) -> None:
    written = address if port is None else f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    found = redactor()
    told = found.text(form.format(written))
    expected = "host-1" if port is None else "host-1:port-1"
    assert told == form.format(expected)
    assert found.data({"x": [form.format(written)]}) == {"x": [told]}


@given(host_names, st.booleans(), around, st.sampled_from([str, str.upper, str.title]))
def test_no_name_of_a_host_survives(name: str, told_of: bool, form: str, case: Callable[[str], str]) -> None:
    hosts = frozenset({name}) if told_of else frozenset()
    written = case(name) if told_of else f"{name}:9101"
    if not told_of and form == "/data/{}/x":
        return  # a part of a path, which nobody calls a host
    told = Redactor(False, hosts, Path("/root"), "here").text(form.format(written))
    assert told == form.format("host-1" if told_of else "host-1:port-1")


@given(secrets, around)
def test_no_secret_survives(secret: str, form: str) -> None:
    told = redactor().text(form.format(secret))
    assert REDACTED in told
    for line in secret.splitlines():
        assert line not in told


@given(st.text("abcdefghijklmnop0123456789", min_size=4, max_size=30), st.sampled_from(
    ["password", "join_token", "client_secret", "private_key", "mix.key.passphrase", "credentials"]
))  # fmt: skip
def test_no_secret_survives_by_its_name_alone(value: str, name: str) -> None:
    secret = f"zz{value}zz"
    document = {
        "a": [{name: secret}, {name: {"value": secret}}, {name: [secret]}],
        "log": f"{name}={secret} b",
    }
    document["json"] = json.dumps({name: secret})
    assert secret not in json.dumps(redactor().data(document))


def test_metrics_of_single_neighbours_are_left_out() -> None:
    text = (
        '# HELP peerd_neighbour_up x\npeerd_neighbour_up{neighbour="bob"} 1\npeerd_links{direction="in"} 1\n'
    )
    assert metrics(text) == 'peerd_links{direction="in"} 1\n'
