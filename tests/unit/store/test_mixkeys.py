from __future__ import annotations

import json
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from peerd.store import MixKeyFile, boot_id
from peerd.store.mixkeys import KEY_BYTES, MAX_BYTES

BOOT = "0b0b0b0b-0000-4000-8000-0b0b0b0b0b0b"
PRIVATE = st.binary(min_size=KEY_BYTES, max_size=KEY_BYTES)
NUMBERS = st.integers(0, 2**62)
PAIR = {7: b"7" * KEY_BYTES, 8: b"8" * KEY_BYTES}


@pytest.fixture
def file(tmp_path):
    return MixKeyFile(tmp_path, BOOT)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "mixkeys.json"


def test_before_the_first_save_there_is_nothing(file):
    assert file.load() == (0, {})


@given(NUMBERS, st.dictionaries(NUMBERS, PRIVATE, max_size=5))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
def test_what_was_saved_comes_back(file, version, keys):
    file.save(version, keys)
    assert file.load() == (version, keys)


def test_the_file_is_the_owners_alone(file, path):
    file.save(1, PAIR)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_key_that_is_left_out_is_gone_with_the_next_save(file, tmp_path):
    file.save(1, PAIR)
    file.save(2, {8: PAIR[8]})
    assert file.load() == (2, {8: PAIR[8]})
    on_disk = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert json.dumps("Nzc3Nzc3").encode()[1:-1] not in on_disk  # base64 of 777777


def test_no_key_outlives_the_kernel(file, tmp_path):
    """The tags that go with it may not have reached the disk."""
    file.save(41, PAIR)
    assert MixKeyFile(tmp_path, "another-life").load() == (41, {})


def test_without_a_boot_id_no_key_outlives_the_process(tmp_path):
    MixKeyFile(tmp_path, "").save(41, PAIR)
    assert MixKeyFile(tmp_path, "").load() == (41, {})
    assert MixKeyFile(tmp_path, BOOT).load() == (41, {})


def test_the_boot_id_is_the_same_while_the_kernel_lives():
    assert boot_id() == boot_id()
    assert len(boot_id()) in (0, 36)


def valid(loaded):
    version, keys = loaded
    return (
        0 <= version <= 2**62
        and all(0 <= epoch <= 2**62 for epoch in keys)
        and all(type(private) is bytes and len(private) == KEY_BYTES for private in keys.values())
    )


@given(st.binary(max_size=300))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
def test_no_bytes_crash_it(file, path, data):
    path.write_bytes(data)
    assert file.load() is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


@given(st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
def test_a_file_changed_anywhere_is_none_or_still_a_valid_one(file, path, data):
    file.save(5, PAIR)
    good = path.read_bytes()
    how = data.draw(st.sampled_from(["cut", "flip", "field", "key"]))
    if how == "cut":
        broken = good[: data.draw(st.integers(0, len(good) - 1))]
    elif how == "flip":
        at = data.draw(st.integers(0, len(good) - 1))
        broken = good[:at] + data.draw(st.binary(min_size=1, max_size=2)) + good[at + 1 :]
    else:
        content = json.loads(good)
        into = content if how == "field" else content["keys"][0]
        into[data.draw(st.sampled_from([*into, "more"]))] = data.draw(JSON)
        broken = json.dumps(content).encode()
    path.write_bytes(broken)
    loaded = file.load()
    assert loaded is None or valid(loaded)
    if how == "cut":
        assert loaded is None


@pytest.mark.parametrize(
    "content",
    [
        {"version": -1, "boot": BOOT, "keys": []},
        {"version": 2**64, "boot": BOOT, "keys": []},
        {"version": 1, "boot": BOOT, "keys": [{"epoch": -7, "private": "Nzc3" * 10 + "Nzc="}]},
        {"version": 1, "boot": BOOT, "keys": [{"epoch": 7, "private": "Nzc3"}]},
        {"version": 1, "boot": BOOT, "keys": [{"epoch": 7, "private": "Nzc3" * 11}]},
    ],
    ids=str,
)
def test_what_no_descriptor_could_say_is_corrupt(file, path, content):
    """A version that does not fit one once would have ended every start of the daemon."""
    path.write_text(json.dumps(content))
    assert file.load() is None


def test_a_huge_file_is_corrupt_too(file, path):
    path.write_bytes(b" " * (MAX_BYTES + 1))
    assert file.load() is None


def test_a_folder_in_its_place_cannot_be_read(file, path):
    path.mkdir()
    assert file.load() is None
    with pytest.raises(OSError, match="directory"):
        file.save(1, PAIR)


def test_a_save_that_was_killed_leaves_no_private_key_behind(file, tmp_path, monkeypatch):
    """The half-written file beside it would have kept its keys long after their epochs."""
    file.save(1, {7: PAIR[7]})
    monkeypatch.setattr("pathlib.Path.replace", die)
    monkeypatch.setattr("pathlib.Path.unlink", die)
    with pytest.raises(KilledError):
        file.save(2, PAIR)
    monkeypatch.undo()
    assert len(list(tmp_path.iterdir())) == 2
    assert MixKeyFile(tmp_path, BOOT).load() == (1, {7: PAIR[7]})
    assert [path.name for path in tmp_path.iterdir()] == ["mixkeys.json"]


def test_a_disk_that_refuses_leaves_the_earlier_file(file, tmp_path, monkeypatch):
    file.save(1, PAIR)

    def refuse(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="No space"):
        file.save(2, {8: PAIR[8]})
    monkeypatch.undo()
    assert file.load() == (1, PAIR)
    assert [path.name for path in tmp_path.iterdir()] == ["mixkeys.json"]


class KilledError(BaseException):
    pass


def die(*_arguments, **_options):
    raise KilledError
