from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from peerd.errors import InvalidInputError, NotFoundError
from peerd.membership import certificates
from peerd.membership.recordfile import read_records, write_records
from peerd.membership.records import sign_revocation

KEY = certificates.new_key()
RECORD = sign_revocation("lab", bytes(16), "x", 1e9, KEY)


@given(st.lists(st.binary(min_size=16, max_size=16), min_size=1, max_size=5))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=20)
def test_records_come_back_as_they_were_signed(tmp_path, identifiers):
    records = [sign_revocation("lab", identifier, "x", 1e9, KEY) for identifier in identifiers]
    write_records(tmp_path / "a.record", records)
    assert read_records(tmp_path / "a.record") == records


@given(st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_a_broken_file_is_one_clear_line(tmp_path, data):
    path = tmp_path / "a.record"
    write_records(path, [RECORD])
    good = path.read_bytes()
    path.write_bytes(good[: data.draw(st.integers(0, len(good) - 1))])
    with pytest.raises(InvalidInputError, match=r"a\.record: not a file of records"):
        read_records(path)


@given(st.binary(max_size=100))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_no_bytes_crash(tmp_path, data):
    (tmp_path / "a.record").write_bytes(data)
    with pytest.raises(InvalidInputError):
        read_records(tmp_path / "a.record")


def test_a_missing_file(tmp_path):
    with pytest.raises(NotFoundError, match="gone"):
        read_records(tmp_path / "gone")
