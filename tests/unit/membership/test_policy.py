from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerd.errors import InvalidInputError
from peerd.membership.policy import DialPolicy

PUBLIC = DialPolicy((), "192.0.2.1:9101")
LOCAL = DialPolicy((), "127.0.0.1:9101")


@pytest.mark.parametrize(
    "ip", ["93.184.216.34", "192.0.2.7", "10.0.0.7", "192.168.1.1", "100.64.0.1", "2001:db8::1", "fd00::7"]
)
def test_by_default_hosts_are_dialled_private_networks_too(ip):
    assert PUBLIC.permits(ip)
    assert LOCAL.permits(ip)


@pytest.mark.parametrize(
    "ip",
    [
        "0.0.0.0",
        "0.1.2.3",
        "169.254.169.254",  # where clouds keep the secrets of their hosts
        "224.0.0.1",
        "239.1.2.3",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "fe80::1",
        "fe80::1%eth0",
        "ff02::1",
        "64:ff9b::7f00:1",  # NAT64 to 127.0.0.1
        "::127.0.0.1",
        "::ffff:169.254.169.254",
        "::ffff:0.0.0.0",
    ],
)
def test_but_not_what_no_host_is(ip):
    assert not PUBLIC.permits(ip)
    assert not LOCAL.permits(ip)


@pytest.mark.parametrize("ip", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
@pytest.mark.parametrize(
    ("listen", "permitted"),
    [
        ("127.0.0.1:9101", True),
        ("[::1]:9101", True),
        ("localhost:9101", True),
        ("0.0.0.0:9101", False),
        ("[::]:9101", False),
        ("192.0.2.1:9101", False),
        ("alice.example.org:9101", False),
    ],
)
def test_loopback_only_for_who_listens_there(ip, listen, permitted):
    assert DialPolicy((), listen).permits(ip) == permitted


def test_ranges_replace_the_default():
    policy = DialPolicy(("192.0.2.0/24", "2001:db8::/32", "127.0.0.1"), "192.0.2.1:9101")
    for ip in ("192.0.2.7", "::ffff:192.0.2.7", "2001:db8::1", "127.0.0.1"):
        assert policy.permits(ip)
    for ip in ("192.0.3.7", "10.0.0.1", "2001:db9::1", "127.0.0.2", "::1", "::ffff:10.0.0.1"):
        assert not policy.permits(ip)


def test_a_range_may_be_written_as_mapped_or_by_a_host_in_it():
    policy = DialPolicy(("::ffff:192.0.2.0/120", "10.1.2.3/8"), "192.0.2.1:9101")
    assert policy.permits("192.0.2.7") and policy.permits("::ffff:192.0.2.7") and policy.permits("10.9.9.9")
    assert not policy.permits("192.0.3.7")


@pytest.mark.parametrize("text", ["", "everywhere", "192.0.2.0/33", "192.0.2.0/24,10.0.0.0/8", "300.1.1.1"])
def test_what_is_no_range_is_told(text):
    with pytest.raises(InvalidInputError, match="dial_allow"):
        DialPolicy((text,), "192.0.2.1:9101")


@given(st.text(max_size=40))
def test_what_is_no_address_is_not_dialled(text):
    try:
        ipaddress.ip_address(text)
    except ValueError:
        assert not PUBLIC.permits(text)
        assert not DialPolicy(("0.0.0.0/0", "::/0"), "192.0.2.1:9101").permits(text)


@given(st.ip_addresses())
def test_mapped_addresses_are_judged_like_what_they_lead_to(address):
    if address.version == 4:
        for policy in (PUBLIC, LOCAL, DialPolicy(("64.0.0.0/2",), "192.0.2.1:9101")):
            assert policy.permits(str(address)) == policy.permits(f"::ffff:{address}")
    else:
        PUBLIC.permits(str(address))
