from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peerd.membership import certificates
from peerd.membership.records import NewAuthority, authority_id, sign
from peerd.membership.trust import Trust, has_signed


@pytest.fixture(scope="module")
def cas(lab):
    """Of three keys, the lab's own first; as `lab.new_ca` makes them."""
    return [(lab.key, lab.ca), lab.new_ca(), lab.new_ca()]


def test_what_a_ca_in_force_has_signed(lab, cas):
    trust = lab.trust(cas[0][1], cas[1][1])
    for number, (key, ca) in enumerate(cas):
        signature = sign(key, b"data")
        assert trust.verifies(signature, b"data") == (number < 2)
        assert trust.signer(signature, b"data") == (authority_id(ca) if number < 2 else None)
        assert not trust.verifies(signature, b"other data")
        assert trust.issued(lab.link(1, (key, ca))) == (number < 2)
        assert trust.in_force(authority_id(ca)) == (number < 2)
    assert not trust.verifies(b"", b"data")


def test_what_a_delegate_has_issued_is_not_issued_by_a_ca(lab):
    trust = lab.trust()
    delegate = lab.delegate(1)
    assert trust.issued(delegate[1])
    assert not trust.issued(lab.link(2, delegate))


def test_all_that_are_in_force_are_trusted_by_tls(lab, cas):
    trust = lab.trust(cas[0][1], cas[1][1])
    assert trust.pem == certificates.pem(cas[0][1]) + certificates.pem(cas[1][1])
    assert trust.authorities == (cas[0][1], cas[1][1])


def test_only_a_ca_can_be_trusted(lab):
    for certificate in (lab.link(1), lab.operator(), lab.delegate(1)[1]):
        with pytest.raises(ValueError, match="CA"):
            Trust("lab", [certificate])


def test_an_issuer_that_is_over_has_issued_nothing(lab):
    trust = lab.trust()
    leaf = lab.link(1)
    end = lab.ca.not_valid_after_utc.timestamp()
    assert trust.issuer(leaf, lab.wall) == trust.issuer(leaf) == authority_id(lab.ca)
    assert trust.issuer(leaf, end + 1) is None


def test_a_change_of_the_key_in_two_steps(lab, cas):
    (_, first), (_, second), _ = cas
    trust = lab.trust()
    assert trust.add(NewAuthority(second, lab.wall + 10, False))
    assert trust.authorities == (first, second)
    assert not trust.add(NewAuthority(second, lab.wall + 10, False))
    assert trust.add(NewAuthority(second, lab.wall + 20, True))
    assert trust.authorities == (second,)
    assert trust.retired_at == lab.wall + 20
    assert not trust.add(NewAuthority(second, lab.wall + 20, True))


def test_who_starts_with_the_new_one_ends_the_same(lab, cas):
    trust = lab.trust(cas[1][1])
    assert not trust.add(NewAuthority(cas[1][1], lab.wall + 20, True))
    assert trust.authorities == (cas[1][1],)


def test_one_that_came_after_is_not_retired(lab, cas):
    trust = lab.trust()
    trust.add(NewAuthority(cas[1][1], lab.wall + 10, False))
    trust.add(NewAuthority(cas[2][1], lab.wall + 30, False))
    trust.add(NewAuthority(cas[1][1], lab.wall + 20, True))
    assert trust.authorities == (cas[1][1], cas[2][1])


@settings(deadline=None)
@given(st.permutations(range(4)))
def test_the_order_of_arrival_does_not_matter(lab, cas, order):
    notices = [
        NewAuthority(cas[1][1], lab.wall + 10, False),
        NewAuthority(cas[1][1], lab.wall + 20, True),
        NewAuthority(cas[2][1], lab.wall + 30, False),
        NewAuthority(cas[2][1], lab.wall + 40, True),
    ]
    trust = lab.trust()
    for number in order:
        trust.add(notices[number])
    assert trust.authorities == (cas[2][1],)


def test_one_that_is_retired_is_gone(lab, cas):
    trust = lab.trust(cas[0][1], cas[1][1])
    trust.retire(authority_id(cas[0][1]))
    trust.retire(authority_id(cas[0][1]))
    assert trust.authorities == (cas[1][1],)


@settings(deadline=None)
@given(st.binary(max_size=80), st.binary(max_size=80))
def test_no_signature_crashes(lab, signature, data):
    assert not has_signed(lab.ca, signature, data)


def test_no_two_cas_sign_alike(cas):
    for (key, _), (_, ca) in itertools.permutations(cas, 2):
        assert not has_signed(ca, sign(key, b"data"), b"data")
