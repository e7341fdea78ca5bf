from __future__ import annotations

import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from hypothesis import given, settings
from hypothesis import strategies as st

from peerd.errors import InvalidInputError
from peerd.membership import certificates
from peerd.membership.records import (
    BY_AUTHORITY,
    KEY_BYTES,
    MAX_RECORD_BYTES,
    Kind,
    authority_id,
    certificate_record,
    join_records,
    key_of,
    open_record,
    operator_id,
    peek,
    run_record,
    run_spec_message,
    run_spec_of,
    sign_revocation,
    signed_run,
    split_records,
    varint,
)
from peerd.pb import gossip_pb2, runs_pb2
from peerd.types import RunSpec


@pytest.fixture(scope="module")
def one_of_each(lab):
    return {
        Kind.AUTHORITY: lab.authority(lab.new_ca()[1]),
        Kind.DELEGATION: lab.delegation(1),
        Kind.CERTIFICATE: lab.certificate(1),
        Kind.REVOCATION: lab.revocation(1),
        Kind.DESCRIPTOR: lab.descriptor(1),
        Kind.RUN: lab.run(1),
    }


def test_every_kind_has_its_key(lab, one_of_each):
    peer = lab.peer(1).id
    for kind in (Kind.DELEGATION, Kind.CERTIFICATE, Kind.REVOCATION, Kind.DESCRIPTOR):
        assert peek(one_of_each[kind])[0] == key_of(kind, peer)
    assert peek(one_of_each[Kind.RUN])[0] == key_of(Kind.RUN, bytes(15) + b"\x01")
    _, ca = lab.new_ca()
    assert peek(lab.authority(ca))[0] == key_of(Kind.AUTHORITY, authority_id(ca))
    assert {len(peek(encoded)[0]) for encoded in one_of_each.values()} == {KEY_BYTES}


def test_the_kind_is_the_field_number():
    fields = gossip_pb2.Record.DESCRIPTOR.fields_by_name
    assert {name.upper(): field.number for name, field in fields.items()} == dict(Kind.__members__)


def test_the_versions(lab, one_of_each):
    wall_ms = round(lab.wall * 1000)
    for kind in (Kind.AUTHORITY, Kind.REVOCATION, Kind.RUN):
        assert peek(one_of_each[kind])[1] == wall_ms
    assert peek(lab.descriptor(1, version=5))[1] == int(lab.wall) + 5
    link = lab.link(1)
    assert peek(certificate_record(link))[1] == BY_AUTHORITY + certificates.not_before(link)
    _, delegate = lab.delegate(1)
    assert peek(lab.delegation(1))[1] - certificates.not_before(delegate) in (0, 1)


def test_a_certificate_of_the_ca_beats_any_of_a_delegate(lab):
    earlier = lab.certificate(3)
    later = lab.certificate(3, lab.delegate(1), instead_of=lab.link(3))
    assert peek(later)[0] == peek(earlier)[0]
    assert peek(later)[1] < peek(earlier)[1]


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_no_bytes_crash_the_reader(data):
    assert peek(data) is None or len(data) > 40


@settings(deadline=None)
@given(st.sampled_from(list(Kind)), st.binary(max_size=600))
def test_nor_do_well_formed_envelopes_of_nonsense(kind, data):
    field = kind.name.lower()
    nested = gossip_pb2.Record.DESCRIPTOR.fields_by_name[field].message_type
    record = gossip_pb2.Record()
    if nested is None:
        setattr(record, field, data)
    else:
        message = getattr(record, field)
        message.SetInParent()
        setattr(message, nested.fields[0].name, data)
    peek(record.SerializeToString(deterministic=True))


@settings(deadline=None)
@given(st.sampled_from(list(Kind)), st.data())
def test_mutations_crash_nothing(one_of_each, kind, data):
    encoded = bytearray(one_of_each[kind])
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.integers(0, len(encoded) - 1))
        encoded[position] = data.draw(st.integers(0, 255))
    peek(bytes(encoded[: data.draw(st.integers(1, len(encoded)))]))


def test_there_is_one_way_to_write_a_record(one_of_each):
    """Who passes it on can add nothing: no unknown field, no second body, no longer length."""
    for kind, encoded in one_of_each.items():
        assert peek(encoded) is not None
        unknown = b"\xfa\x01\x03abc"  # field 31
        assert peek(encoded + unknown) is None
        assert peek(encoded + encoded) is None
        assert peek(encoded + one_of_each[Kind(kind % 6 + 1)]) is None
        body = encoded[1 + len(varint(len(encoded) - 3)) :]
        if kind not in (Kind.DELEGATION, Kind.CERTIFICATE):
            inside = encoded[:1] + varint(len(body + unknown)) + body + unknown
            assert peek(inside) is None
        assert peek(encoded[:1] + b"\x80" + encoded[1:]) is None


def test_what_is_too_long_is_none(lab):
    assert peek(lab.run(1, spec=RunSpec(run_id="ab" * 16, task="x", data_dir="d" * 4000))) is not None
    long = lab.run(1, spec=RunSpec(run_id="ab" * 16, task="x", data_dir="d" * MAX_RECORD_BYTES))
    assert peek(long) is None
    assert open_record(long) is None


def test_a_date_before_1970_is_no_version(lab):
    link = lab.link(1)
    builder = x509.CertificateBuilder(
        link.issuer, link.subject, link.public_key(), 1,
        datetime.datetime(1955, 1, 1), datetime.datetime(2955, 1, 1), list(link.extensions),
    )  # fmt: skip
    assert peek(certificate_record(builder.sign(lab.key, hashes.SHA256()))) is None


def test_an_operators_id_is_of_its_key(lab):
    key = lab.operator_key.public_key()
    assert operator_id(key) == operator_id(lab.operator("viewer").public_key())
    assert operator_id(key) != operator_id(lab.key.public_key())
    assert peek(sign_revocation("lab", operator_id(key), "olga", 1.0, lab.key)) == (
        key_of(Kind.REVOCATION, operator_id(key)),
        1000,
    )


def test_a_run_as_the_control_api_carries_it(lab):
    record = lab.run(1)
    assert run_record(signed_run(record)) == record
    assert gossip_pb2.SignedRun.FromString(signed_run(record)).certificate
    assert run_record(b"\xff") is None


# -- specs -------------------------------------------------------------------------------------------


SPEC = RunSpec(
    run_id="0123456789abcdef" * 2, task="digits-cnn", rounds=7, shards=4, stale="use", stale_rounds=3
)


def test_a_spec_comes_back():
    assert run_spec_of(run_spec_message(SPEC)) == SPEC


def test_who_does_not_know_of_stale_fragments_means_the_default():
    message = run_spec_message(SPEC)
    message.ClearField("stale")
    message.ClearField("stale_rounds")
    assert run_spec_of(message).stale == "drop"
    assert run_spec_of(message).stale_rounds == 1


@pytest.mark.parametrize("streaming", [0.0, 0.1, 0.5])
def test_zero_that_is_not_the_default_is_told_from_nothing(streaming):
    spec = RunSpec(run_id=SPEC.run_id, task="x", streaming=streaming)
    message = run_spec_message(spec)
    assert message.HasField("streaming") is (streaming != RunSpec(run_id=SPEC.run_id, task="x").streaming)
    assert run_spec_of(message) == spec


def test_a_spec_with_options_comes_back_and_is_always_written_alike():
    options = {f"option_{letter}": letter for letter in "zebra"}
    spec = RunSpec(
        run_id=SPEC.run_id, task="mine:make", task_options=options, partition="shards", classes_per_peer=3,
        schedule="step", decay=0.1, decay_rounds=4, local_batches=9, evaluation="holdout", holdout=0.3,
        privacy_clip=0.5, noise_multiplier=2.0, privacy_delta=1e-6,
    )  # fmt: skip
    assert run_spec_of(run_spec_message(spec)) == spec
    turned = RunSpec(run_id=SPEC.run_id, task="x", task_options=dict(reversed(options.items())))
    plain = RunSpec(run_id=SPEC.run_id, task="x", task_options=options)
    one, other = (run_spec_message(s).SerializeToString(deterministic=True) for s in (turned, plain))
    assert one == other


def test_how_a_run_ends_and_begins_comes_back():
    spec = RunSpec(
        run_id=SPEC.run_id, task="x", patience=5, min_improvement=0.001, target_accuracy=0.9,
        initial_run="ab" * 16, initial_round=7, initial_sha256="cd" * 32,
    )  # fmt: skip
    assert run_spec_of(run_spec_message(spec)) == spec
    plain = run_spec_message(RunSpec(run_id=SPEC.run_id, task="x"))
    assert not any(50 <= field.number < 60 for field, _ in plain.ListFields())


def test_who_does_not_know_of_later_fields_means_their_defaults():
    message = run_spec_message(SPEC)
    for field in message.DESCRIPTOR.fields:
        if field.number > 18:
            message.ClearField(field.name)
    assert run_spec_of(message) == SPEC


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("run_id", "x"),
        ("schedule", "warm"),
        ("evaluation", "none"),
        ("holdout", 1.0),
        ("decay", 2.0),
        ("rounds", 0),
        ("alpha", float("nan")),
        ("partition", "by hand"),
        ("stale", "keep"),
    ],
)
def test_a_bad_spec_names_its_field(field, value):
    message = run_spec_message(SPEC)
    setattr(message, field, value)
    with pytest.raises(InvalidInputError, match=field):
        run_spec_of(message)


def test_every_field_of_a_spec_is_in_the_message():
    assert set(RunSpec.__struct_fields__) == {field.name for field in runs_pb2.RunSpec.DESCRIPTOR.fields}


# -- lists of records ----------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.lists(st.binary(max_size=400)))
def test_a_list_comes_back(records):
    assert split_records(join_records(records)) == (records, True)


@settings(deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=200), min_size=1), st.data())
def test_of_a_file_that_is_broken_off_the_beginning_is_read(records, data):
    whole = join_records(records)
    length = data.draw(st.integers(0, len(whole) - 1))
    found, complete = split_records(whole[:length])
    assert found == records[: len(found)]
    assert complete == (join_records(found) == whole[:length])


@settings(deadline=None)
@given(st.binary(max_size=100))
def test_no_bytes_crash_the_list(data):
    found, complete = split_records(data)
    assert not complete or sum(map(len, found)) < max(len(data), 1)


def test_a_list_is_the_message(one_of_each):
    records = list(one_of_each.values())
    message = gossip_pb2.Records.FromString(join_records(records))
    assert [record.SerializeToString(deterministic=True) for record in message.records] == records


@settings(deadline=None)
@given(st.integers(0, 2**64 - 1))
def test_numbers_as_protobuf_writes_them(number):
    encoded = gossip_pb2.Known(version=number).SerializeToString()
    assert encoded == (b"\x10" + varint(number) if number else b"")
