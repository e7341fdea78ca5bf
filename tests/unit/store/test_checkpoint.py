from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import peerd.store.checkpoint as module
from peerd.errors import InvalidInputError
from peerd.store import Checkpoint
from peerd.types import RunSpec

SPEC = RunSpec(run_id="0123456789abcdef" * 2, task="digits-cnn", rounds=7)


def vector(value: float, size: int = 100):
    return np.full(size, value, dtype=np.float32)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "run"


@given(hnp.arrays(np.float32, st.integers(0, 50), elements=st.floats(width=32)), st.integers(0, 10**6))
@settings(deadline=None)  # the disk may be slow
def test_what_was_saved_comes_back_bit_for_bit(tmp_path_factory, values, round_number):
    checkpoint = Checkpoint(tmp_path_factory.mktemp("run"))
    checkpoint.save(SPEC, round_number, values)
    saved = checkpoint.load()
    assert saved.spec == SPEC
    assert saved.round == round_number
    assert saved.vector.dtype == np.float32
    assert saved.vector.tobytes() == values.tobytes()
    saved.vector[:] = 0  # the caller's own copy


def test_none_before_the_first(folder):
    assert Checkpoint(folder).load() is None


def test_the_latest_wins_and_two_vectors_at_most_are_kept(folder):
    checkpoint = Checkpoint(folder)
    for number in (1, 2, 3, 3, 1, 5):
        checkpoint.save(SPEC, number, vector(number))
        saved = Checkpoint(folder).load()
        assert (saved.round, saved.vector[0]) == (number, number)
    assert len(list(folder.iterdir())) == 3


@pytest.mark.parametrize("rounds", [(1, 2), (1, 3), (2, 2)])
@pytest.mark.parametrize("crash_at", [1, 2])
def test_a_crash_in_the_middle_leaves_the_earlier_one(folder, monkeypatch, rounds, crash_at):
    checkpoint = Checkpoint(folder)
    checkpoint.save(SPEC, rounds[0], vector(rounds[0]))
    calls = 0
    write = module.write_atomic

    def crash(*args):
        nonlocal calls
        calls += 1
        if calls == crash_at:
            raise KeyboardInterrupt
        write(*args)

    monkeypatch.setattr(module, "write_atomic", crash)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(SPEC, rounds[1], vector(99.0))
    saved = Checkpoint(folder).load()
    assert (saved.round, saved.vector[0]) == (rounds[0], rounds[0])


@given(st.integers(0, 399), st.integers(0, 7))
@settings(deadline=None)  # the disk may be slow
def test_any_bit_flip_in_the_vector_is_noticed(tmp_path_factory, byte, bit):
    folder = tmp_path_factory.mktemp("run")
    Checkpoint(folder).save(SPEC, 1, vector(1.0))
    (path,) = folder.glob("*.f32")
    data = bytearray(path.read_bytes())
    data[byte] ^= 1 << bit
    path.write_bytes(data)
    with pytest.raises(InvalidInputError, match="digest"):
        Checkpoint(folder).load()


@pytest.mark.parametrize("change", ["shorter", "longer", "gone"])
def test_a_vector_of_another_length_or_none_is_corrupt(folder, change):
    Checkpoint(folder).save(SPEC, 1, vector(1.0))
    (path,) = folder.glob("*.f32")
    if change == "gone":
        path.unlink()
    else:
        data = path.read_bytes()
        path.write_bytes(data[:-4] if change == "shorter" else data + bytes(4))
    with pytest.raises(InvalidInputError, match="corrupt checkpoint"):
        Checkpoint(folder).load()


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"{}",
        b"\xff\xfe",
        b'{"file": "../../etc/passwd"}',
        b"[" * 9000,
        b'{"\x80": 1}',
        b'{"file": "\x80"}',
    ],
)
def test_a_broken_record_is_corrupt_and_can_be_replaced(folder, record):
    checkpoint = Checkpoint(folder)
    checkpoint.save(SPEC, 1, vector(1.0))
    (folder / "run.json").write_bytes(record)
    with pytest.raises(InvalidInputError, match="corrupt checkpoint") as error:
        checkpoint.load()
    assert "\n" not in str(error.value)
    checkpoint.save(SPEC, 2, vector(2.0))
    assert checkpoint.load().round == 2


def test_a_record_that_names_a_file_outside_is_refused(folder):
    checkpoint = Checkpoint(folder)
    checkpoint.save(SPEC, 1, vector(1.0))
    path = folder / "run.json"
    path.write_bytes(path.read_bytes().replace(b"model-0.f32", b"../model.f32"))
    with pytest.raises(InvalidInputError, match="another file"):
        checkpoint.load()


def test_files_are_the_owners_alone(folder):
    Checkpoint(folder).save(SPEC, 1, vector(1.0))
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
