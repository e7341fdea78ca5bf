from __future__ import annotations

import os
import ssl
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerd.errors import InvalidInputError
from peerd.membership import PeerState, client_ssl_context, peer_of, server_ssl_context

ID = bytes(range(16))


@pytest.fixture
def state(authority, tmp_path) -> PeerState:
    authority.enroll_local("bob", "192.0.2.1:9102", tmp_path / "bob").install(tmp_path / "bob")
    return PeerState.load(tmp_path / "bob")


@pytest.mark.parametrize("make", [server_ssl_context, client_ssl_context])
def test_tls_1_3_only_and_certificates_required(state, make):
    context = make(state)
    assert context.minimum_version is ssl.TLSVersion.TLSv1_3
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert len(context.get_ca_certs()) == 1  # ours; the system's are nobody here


def test_the_server_gives_no_session_tickets(state):
    assert server_ssl_context(state).num_tickets == 0


@pytest.mark.parametrize("memory", [True, False])
def test_the_key_is_left_in_no_file(state, monkeypatch, tmp_path, memory):
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    if not memory:
        monkeypatch.delattr(os, "memfd_create")
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    client_ssl_context(state)
    assert list(folder.iterdir()) == []
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors


def test_a_broken_ca_is_one_clear_line(state):
    from dataclasses import replace

    for pem in (b"", b"nonsense", b"\xff"):
        with pytest.raises(InvalidInputError, match="bad CA") as error:
            server_ssl_context(replace(state, ca_pem=pem))
        assert "\n" not in str(error.value)


def test_a_certificate_names_its_peer():
    names = (("DNS", "bob.peerd"), ("URI", f"peerd://peer/{ID.hex()}"))
    assert peer_of({"subjectAltName": names}) == ID


@pytest.mark.parametrize(
    "certificate",
    [
        None,
        {},
        {"subjectAltName": ()},
        {"subjectAltName": (("URI", f"peerd://operator/admin/{ID.hex()}"),)},
        {"subjectAltName": (("DNS", f"peerd://peer/{ID.hex()}"),)},
        {"subjectAltName": (("URI", f"peerd://peer/{ID.hex()}/x"),)},
        {"subjectAltName": (("URI", f"peerd://peer/{ID.hex().upper()}"),)},
        {"subjectAltName": (("URI", f"peerd://peer/{ID.hex()}\n"),)},
        {"subjectAltName": (("URI", "peerd://peer/abcd"),)},
    ],
)
def test_other_certificates_name_no_peer(certificate):
    assert peer_of(certificate) is None


@given(st.lists(st.tuples(st.sampled_from(["URI", "DNS"]), st.text(max_size=60)), max_size=5))
def test_no_names_crash(names):
    assert peer_of({"subjectAltName": tuple(names)}) is None
