from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from peerd.errors import InvalidInputError
from peerd.membership import certificates
from peerd.membership.ledger import FILE, Ledger, read_keys, write_keys


@pytest.fixture
def folder(authority, tmp_path):
    """Of an authority that has signed a bit of everything."""
    for name in ("alice", "bob", "carol"):
        authority.enroll_local(name, f"{name}:1", tmp_path / name)
    authority.delegate("alice")
    authority.revoke("carol")
    authority.operator("ops", "viewer", tmp_path / "ops")
    authority.rotate_ca()
    return tmp_path / "net"


def test_it_comes_back_from_disk(folder, tmp_path):
    ledger = Ledger.load(folder)
    assert [peer.name for peer in ledger.peers] == ["alice", "bob"]
    assert [peer.delegation is not None for peer in ledger.peers] == [True, False]
    ledger.save(tmp_path)
    assert Ledger.load(tmp_path) == ledger
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


def test_no_private_key_is_in_it(folder):
    assert b"PRIVATE" not in (folder / FILE).read_bytes()


@given(st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=50)
def test_a_broken_ledger_is_one_clear_line(folder, tmp_path, data):
    good = json.loads((folder / FILE).read_bytes())
    field = data.draw(st.sampled_from(sorted(good)))
    bad = data.draw(st.sampled_from([None, "", 7, {}, [""], [7], [{}], [[]]]))
    (tmp_path / FILE).write_text(json.dumps(good | {field: bad}))
    try:
        Ledger.load(tmp_path)
    except InvalidInputError as error:
        assert f"{FILE}: broken file" in str(error)
        assert "\n" not in str(error)
    else:
        assert field in ("history", "format")  # records are for peers to judge


def test_keys_of_two_cas(tmp_path):
    keys = [certificates.new_key() for _ in range(2)]
    write_keys(tmp_path, keys)
    found = [certificates.key_pem(key) for key in read_keys(tmp_path)]
    assert found == [certificates.key_pem(key) for key in keys]
