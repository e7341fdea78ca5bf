from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerd.control.guard import READ_ONLY, check_role
from peerd.errors import DeniedError
from peerd.pb import mixing_pb2, node_pb2, peers_pb2, runs_pb2

METHODS = [
    f"/{service.full_name}/{method.name}"
    for pb in (node_pb2, mixing_pb2, peers_pb2, runs_pb2)
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
