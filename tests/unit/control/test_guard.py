from __future__ import annotations

import time

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from peerd.config import NetworkConfig
from peerd.control.guard import READ_ONLY, by_roster, check_role
from peerd.errors import DeniedError
from peerd.membership import Authority, certificates
from peerd.membership.ledger import Ledger
from peerd.membership.roster import Roster
from peerd.membership.trust import Trust
from peerd.pb import config_pb2, logs_pb2, mixing_pb2, node_pb2, peers_pb2, runs_pb2

METHODS = [
    f"/{service.full_name}/{method.name}"
    for pb in (node_pb2, mixing_pb2, peers_pb2, runs_pb2, config_pb2, logs_pb2)
    for service in pb.DESCRIPTOR.services_by_name.values()
    for method in service.methods
]
ADMIN = [b"peerd://operator/admin/ops"]
VIEWER = [b"peerd://operator/viewer/eve"]


@pytest.mark.parametrize("method", METHODS)
def test_roles_over_tcp(method):
    check_role(method, "ssl", ADMIN)
    if method in READ_ONLY:
        check_role(method, "ssl", VIEWER)
    else:
        with pytest.raises(DeniedError, match="viewer"):
            check_role(method, "ssl", VIEWER)


def test_every_read_only_name_is_a_real_method():
    assert set(METHODS) >= READ_ONLY


@pytest.mark.parametrize(
    "sans",
    [
        [],
        [b"peerd://peer/" + b"0" * 32],
        [b"peerd://operator/admin"],
        [b"peerd://operator/admin/a/b"],
        [b"https://operator/admin/ops"],
        [b"DNS:admin"],
    ],
)
def test_a_certificate_that_is_not_an_operators_may_call_nothing(sans):
    for method in [*METHODS, "/grpc.health.v1.Health/Check"]:
        with pytest.raises(DeniedError, match="not an operator's"):
            check_role(method, "ssl", sans)


def test_the_unix_socket_is_guarded_by_the_file_system():
    for method in METHODS:
        check_role(method, "", [])


@given(st.lists(st.binary(max_size=60), max_size=5))
def test_no_bytes_in_a_certificate_crash_the_check(sans):
    with pytest.raises(DeniedError):
        check_role("/peerd.v1.Runs/Start", "ssl", sans)


@pytest.fixture
def authority(tmp_path):
    return Authority.create(tmp_path / "net", NetworkConfig(name="lab"))


def certified(authority, tmp_path, folder):
    authority.operator("ops", "admin", tmp_path / folder)
    """PEM."""
    return certificates.pem(Ledger.load(tmp_path / "net").operators[-1].certificate)


def test_an_operator_is_good_until_revoked(authority, tmp_path):
    roster = Roster("lab", Trust("lab", authority.authorities), 10, bytes(16))
    is_good, ops = by_roster(roster), certified(authority, tmp_path, "a")
    assert is_good(ops)
    for record in authority.revoke_operator("ops"):
        roster.offer(record, time.time())
    assert not is_good(ops)
    assert is_good(certified(authority, tmp_path, "b")), "another key of the same name"


def test_an_operator_goes_with_the_ca(authority, tmp_path):
    roster = Roster("lab", Trust("lab", authority.authorities), 10, bytes(16))
    is_good, before = by_roster(roster), certified(authority, tmp_path, "a")
    for record in authority.rotate_ca().records:
        roster.offer(record, time.time())
    after = certified(authority, tmp_path, "b")
    assert is_good(before)
    assert is_good(after)
    for record in authority.finish_rotation().records:
        roster.offer(record, time.time())
    assert not is_good(before)
    assert is_good(after)


def test_others_are_not_good(authority, tmp_path):
    other = Authority.create(tmp_path / "other", NetworkConfig(name="lab"))
    is_good = by_roster(Roster("lab", Trust("lab", other.authorities), 10, bytes(16)))
    assert not is_good(certified(authority, tmp_path, "a"))
    key = ec.generate_private_key(ec.SECP384R1())
    ca, ca_key = authority.authorities[0], authority._signing_key()
    strange = certificates.operator_certificate("x", "admin", key.public_key(), ca, ca_key)
    assert not is_good(certificates.pem(strange))
