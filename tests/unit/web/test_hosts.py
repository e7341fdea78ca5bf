from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerd.web import is_loopback, name_of, names_no_domain


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("localhost", "localhost"),
        ("LOCALHOST:9103", "localhost"),
        ("127.0.0.1:9103", "127.0.0.1"),
        ("[::1]:9103", "::1"),
        ("[::1]", "::1"),
        ("Peer-1.example.org:80", "peer-1.example.org"),
        ("", ""),
        ("127.0.0.1:", ""),
        ("127.0.0.1:999999", ""),
        ("user@127.0.0.1", ""),
        ("127.0.0.1 evil.example", ""),
        ("::1", ""),
        ("[::1", ""),
        ("localhost\n", ""),
        ("a" * 254, ""),
    ],
)
def test_the_name_of_a_host_header(host: str, name: str) -> None:
    assert name_of(host) == name


@given(st.text(max_size=300))
def test_whatever_a_host_header_says_a_name_is_harmless(host: str) -> None:
    name = name_of(host)
    assert len(name) <= 253
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789._-:")


@given(st.ip_addresses(), st.integers(0, 65_535))
def test_every_address_is_nobodys_name(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int
) -> None:
    host = f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"
    assert names_no_domain(name_of(host))
    assert is_loopback(name_of(host)) == address.is_loopback


@pytest.mark.parametrize(
    "name", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "127.1", "0x7f000001", ""]
)
def test_a_name_that_a_site_may_own_is_no_address(name: str) -> None:
    assert not names_no_domain(name)
    assert not is_loopback(name)
