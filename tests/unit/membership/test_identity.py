from __future__ import annotations

import base64
import hashlib
import json

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from peerd.errors import ConflictError, InvalidInputError, NotFoundError
from peerd.membership import Identity, decode_descriptor
from peerd.membership.identity import MAX_BYTES, verify_request


def test_it_comes_back_from_disk(identity, tmp_path):
    again = Identity.load(tmp_path / "alice")
    assert again.peer_id == identity.peer_id
    assert again.name == "alice"
    assert again.link_public() == identity.link_public()
    assert again.descriptor == identity.descriptor


def test_the_peer_id_is_the_head_of_the_hash_of_the_identity_key(identity):
    public = identity._identity.public_key().public_bytes_raw()
    assert identity.peer_id == hashlib.sha256(public).digest()[:16]


def test_keys_are_the_owners_alone_and_in_no_repr(identity, tmp_path, private_parts):
    path = tmp_path / "alice" / "identity.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    shown = repr(identity).encode() + str(identity).encode()
    assert not any(part in shown for part in private_parts(identity))


def test_two_identities_share_nothing(identity, tmp_path):
    other = Identity.create(tmp_path / "bob", "bob", "192.0.2.1:9102")
    assert other.peer_id != identity.peer_id
    assert other._identity.private_bytes_raw() != identity._identity.private_bytes_raw()
    assert other.link_public() != identity.link_public()


def test_keys_are_never_overwritten(identity, tmp_path):
    before = (tmp_path / "alice" / "identity.json").read_bytes()
    with pytest.raises(ConflictError, match="has keys already"):
        Identity.create(tmp_path / "alice", "alice", "192.0.2.1:9101")
    assert (tmp_path / "alice" / "identity.json").read_bytes() == before


def test_there_is_no_mix_key_among_them(identity, tmp_path):
    """Mix keys live for an epoch; an identity is forever, and kept in backups."""
    assert identity.descriptor.mix_keys == ()
    on_disk = json.loads((tmp_path / "alice" / "identity.json").read_bytes())
    assert sorted(on_disk) == ["address", "identity", "link", "name"]


def test_it_describes_itself_with_the_keys_of_the_day(identity):
    keys = ((7, bytes([9]) + bytes(31)), (8, bytes([5]) + bytes(31)))
    described = identity.describe(keys, 12)
    assert (described.peer_id, described.name) == (identity.peer_id, "alice")
    assert described.addresses == identity.descriptor.addresses
    assert (described.mix_keys, described.version) == (keys, 12)
    assert decode_descriptor(described.signed) == described
    assert identity.descriptor.mix_keys == ()  # the enrolled one is as it was


def test_it_describes_what_it_is_about_to_do(identity):
    about = {
        "leaving": True,
        "run": b"r" * 16,
        "contributes_from": 3,
        "instance": 7,
        "started_at": 1e9,
        "software": "0.1.0",
    }
    described = identity.describe((), 2, address="[2001:db8::1]:9101", **about)
    assert described.addresses == ("[2001:db8::1]:9101",)
    assert {name: getattr(described, name) for name in about} == about
    assert identity.describe((), 2).addresses == identity.descriptor.addresses
    with pytest.raises(InvalidInputError, match="address of alice"):
        identity.describe((), 2, address="nowhere")


@pytest.mark.parametrize("name", ["", "Alice", "a b", "-a", "a" * 32, "ä", "a\n", "../a"])
def test_names_that_are_not_allowed(tmp_path, name):
    with pytest.raises(InvalidInputError, match="allowed are"):
        Identity.create(tmp_path / "x", name, "192.0.2.1:9101")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("address", ["", "host", "host:", "host:70000", ":1", "host:0", "host:-1"])
def test_addresses_that_are_not_allowed(tmp_path, address):
    with pytest.raises(InvalidInputError, match="address of alice"):
        Identity.create(tmp_path / "x", "alice", address)
    assert not (tmp_path / "x").exists()


def test_a_missing_one_says_how_to_make_it(tmp_path):
    with pytest.raises(NotFoundError, match="peerd init"):
        Identity.load(tmp_path)


def test_a_state_directory_that_cannot_be_made_is_one_clear_line(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InvalidInputError, match="cannot be written"):
        Identity.create(tmp_path / "file" / "alice", "alice", "192.0.2.1:9101")


@given(st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_a_broken_key_file_is_one_line_that_quotes_nothing(identity, tmp_path, private_parts, data):
    path = tmp_path / "alice" / "identity.json"
    good = json.dumps(json.loads(path.read_bytes())).encode()
    keys = json.loads(good)
    how = data.draw(st.sampled_from(["cut", "field", "missing"]))
    if how == "cut":
        broken = good[: data.draw(st.integers(0, len(good) - 1))]
    else:
        field = data.draw(st.sampled_from(sorted(keys)))
        if how == "missing":
            del keys[field]
        else:
            keys[field] = data.draw(st.sampled_from(["", "AAAA", "!", 7, None]))
        broken = json.dumps(keys).encode()
    folder = tmp_path / "broken"
    folder.mkdir(exist_ok=True)
    (folder / "identity.json").write_bytes(broken)
    with pytest.raises(InvalidInputError) as error:
        Identity.load(folder)
    text = str(error.value).encode()
    assert b"\n" not in text
    assert not any(part in text for part in private_parts(identity))


@pytest.mark.parametrize("wrong", ["p384", "encrypted"])
def test_a_link_key_of_another_kind_is_refused(identity, tmp_path, wrong):
    curve = ec.SECP384R1() if wrong == "p384" else ec.SECP256R1()
    locked = serialization.BestAvailableEncryption(b"x")
    pem = ec.generate_private_key(curve).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption() if wrong == "p384" else locked,
    )
    path = tmp_path / "alice" / "identity.json"
    keys = json.loads(path.read_bytes())
    keys["link"] = base64.b64encode(pem).decode()
    path.write_text(json.dumps(keys))
    with pytest.raises(InvalidInputError, match="broken key file"):
        Identity.load(tmp_path / "alice")


# -- the enrolment request -----------------------------------------------------------------------


def test_the_request_carries_the_public_keys_and_no_private_one(identity, private_parts):
    data = identity.request()
    request = verify_request(data, "request")
    assert request.descriptor == identity.descriptor
    assert request.link_public == identity.link_public()
    decoded = b"".join(base64.b64decode(value) for value in json.loads(data).values() if "-----" not in value)
    assert not any(part in data + decoded for part in private_parts(identity))


@given(st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_a_request_changed_anywhere_is_refused_in_one_line(identity, data):
    request = json.loads(identity.request())
    field = data.draw(st.sampled_from(sorted(request)))
    text = request[field]
    at = data.draw(st.integers(0, 10_000)) % len(text)
    new = data.draw(st.sampled_from("ABCxyz019+/=- \n{"))
    changed = text[:at] + new + text[at + 1 :]
    request[field] = changed
    try:
        same = changed == text or base64.b64decode(changed) == base64.b64decode(text)
    except ValueError:
        same = False
    if same:
        return  # base64 has spare bits at the end
    with pytest.raises(InvalidInputError, match=r"^here: not a valid enrolment request; .*$"):
        verify_request(json.dumps(request).encode(), "here")


@given(st.binary(max_size=300))
def test_no_bytes_crash_the_request_parser(data):
    with pytest.raises(InvalidInputError, match="not a valid enrolment request"):
        verify_request(data, "here")


def test_a_huge_request_is_not_even_parsed():
    with pytest.raises(InvalidInputError, match="not a valid"):
        verify_request(b"[" * (MAX_BYTES + 1), "here")


def test_a_request_with_somebody_elses_link_key_is_refused(identity, tmp_path):
    """Otherwise mallory could have alice's link key certified as her own."""
    mallory = json.loads(Identity.create(tmp_path / "m", "mallory", "192.0.2.1:1").request())
    mallory["csr"] = json.loads(identity.request())["csr"]
    with pytest.raises(InvalidInputError, match="not a valid"):
        verify_request(json.dumps(mallory).encode(), "here")


def test_a_link_key_on_another_curve_is_refused(identity):
    key = ec.generate_private_key(ec.SECP384R1())
    csr = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    request = json.loads(identity.request())
    signed = b"peerd enrolment request v1\0" + identity.descriptor.signed + csr
    request["csr"] = csr.decode()
    request["signature"] = base64.b64encode(identity._identity.sign(signed)).decode()
    with pytest.raises(InvalidInputError, match="not a valid"):
        verify_request(json.dumps(request).encode(), "here")
