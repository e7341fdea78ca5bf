from __future__ import annotations

import errno
import os

import msgspec
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


REST = {"shard": 2, "shards": 5, "announced": True, "finished": False}


def vector(value: float, size: int = 100):
    return np.full(size, value, dtype=np.float32)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "run"


@given(
    hnp.arrays(np.float32, st.integers(0, 50), elements=st.floats(width=32)),
    st.integers(0, 7),
    st.integers(0, 9),
    st.booleans(),
    st.booleans(),
)
@settings(deadline=None)  # the disk may be slow
def test_what_was_saved_comes_back_bit_for_bit(
    tmp_path_factory, values, round_number, shard, announced, finished
):
    checkpoint = Checkpoint(tmp_path_factory.mktemp("run"))
    rest = {"shard": shard, "shards": 10, "announced": announced, "finished": finished}
    checkpoint.save(SPEC, round_number, values, **rest)
    saved = checkpoint.load()
    assert saved.spec == SPEC
    assert saved.round == round_number
    assert (saved.shard, saved.shards) == (shard, 10)
    assert (saved.announced, saved.finished) == (announced, finished)
    assert saved.vector.dtype == np.float32
    assert saved.vector.tobytes() == values.tobytes()
    saved.vector[:] = 0  # the caller's own copy


def test_none_before_the_first(folder):
    assert Checkpoint(folder).load() is None


def test_the_latest_wins_and_two_vectors_at_most_are_kept(folder):
    checkpoint = Checkpoint(folder)
    for number in (1, 2, 3, 3, 1, 5):
        checkpoint.save(SPEC, number, vector(number), **REST)
        saved = Checkpoint(folder).load()
        assert (saved.round, saved.vector[0]) == (number, number)
    assert len(list(folder.iterdir())) == 3


@pytest.mark.parametrize("rounds", [(1, 2), (1, 3), (2, 2)])
@pytest.mark.parametrize("crash_at", [1, 2])
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(errno.ENOSPC, "No space left on device")])
def test_a_crash_in_the_middle_or_a_full_disk_leaves_the_earlier_one(
    folder, monkeypatch, rounds, crash_at, error
):
    checkpoint = Checkpoint(folder)
    checkpoint.save(SPEC, rounds[0], vector(rounds[0]), **REST)
    calls = 0
    write = module.write_atomic

    def crash(*args):
        nonlocal calls
        calls += 1
        if calls == crash_at:
            raise error
        write(*args)

    monkeypatch.setattr(module, "write_atomic", crash)
    with pytest.raises((KeyboardInterrupt, OSError)):
        checkpoint.save(SPEC, rounds[1], vector(99.0), **REST)
    saved = Checkpoint(folder).load()
    assert (saved.round, saved.vector[0]) == (rounds[0], rounds[0])
    checkpoint.save(SPEC, rounds[1], vector(rounds[1]), **REST)
    assert Checkpoint(folder).load().round == rounds[1]


def test_what_a_killed_process_left_half_written_is_cleared_away(folder):
    checkpoint = Checkpoint(folder)
    checkpoint.save(SPEC, 1, vector(1.0), **REST)
    for name in (".run.json.x1", ".model-1.f32.abc"):
        (folder / name).write_bytes(b"half")
    assert checkpoint.load().round == 1
    checkpoint.save(SPEC, 2, vector(2.0), **REST)
    assert sorted(path.name for path in folder.iterdir()) == ["model-0.f32", "model-1.f32", "run.json"]


def test_before_the_first_round_there_is_no_vector(folder):
    Checkpoint(folder).save(SPEC, 0, vector(0.0, size=0), **REST)
    saved = Checkpoint(folder).load()
    assert (saved.round, saved.vector.shape) == (0, (0,))


@given(st.integers(0, 399), st.integers(0, 7))
@settings(deadline=None)  # the disk may be slow
def test_any_bit_flip_in_the_vector_is_noticed(tmp_path_factory, byte, bit):
    folder = tmp_path_factory.mktemp("run")
    Checkpoint(folder).save(SPEC, 1, vector(1.0), **REST)
    (path,) = folder.glob("*.f32")
    data = bytearray(path.read_bytes())
    data[byte] ^= 1 << bit
    path.write_bytes(data)
    with pytest.raises(InvalidInputError, match="digest"):
        Checkpoint(folder).load()


@pytest.mark.parametrize("change", ["shorter", "longer", "huge", "gone"])
def test_a_vector_of_another_length_or_none_is_corrupt(folder, change):
    Checkpoint(folder).save(SPEC, 1, vector(1.0), **REST)
    (path,) = folder.glob("*.f32")
    if change == "gone":
        path.unlink()
    elif change == "huge":
        os.truncate(path, 1 << 40)  # a hole: reading it would take all memory
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
        b'{"spec": {"run_id": "0123456789abcdef0123456789abcdef", "task": "digits-cnn"}, "round": 1,'
        b' "parameters": 100, "sha256": "", "file": "model-0.f32"}',  # of the first version
    ],
)
def test_a_broken_record_is_corrupt_and_can_be_replaced(folder, record):
    checkpoint = Checkpoint(folder)
    checkpoint.save(SPEC, 1, vector(1.0), **REST)
    (folder / "run.json").write_bytes(record)
    with pytest.raises(InvalidInputError, match="corrupt checkpoint") as error:
        checkpoint.load()
    assert "\n" not in str(error.value)
    checkpoint.save(SPEC, 2, vector(2.0), **REST)
    assert checkpoint.load().round == 2


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        (b'"round":1', b'"round":8'),
        (b'"round":1', b'"round":-1'),
        (b'"shard":2', b'"shard":5'),
        (b'"shard":2', b'"shard":-1'),
        (b'"finished":false', b'"finished":0'),
        (b'"parameters":100', b'"parameters":1073741825'),
    ],
)
def test_a_record_that_makes_no_sense_is_corrupt(folder, good, bad):
    checkpoint = Checkpoint(folder)
    checkpoint.save(SPEC, 1, vector(1.0), **REST)
    path = folder / "run.json"
    record = path.read_bytes()
    assert good in record
    path.write_bytes(record.replace(good, bad))
    with pytest.raises(InvalidInputError, match="corrupt checkpoint"):
        checkpoint.load()


def test_a_record_that_names_a_file_outside_is_refused(folder):
    checkpoint = Checkpoint(folder)
    checkpoint.save(SPEC, 1, vector(1.0), **REST)
    path = folder / "run.json"
    path.write_bytes(path.read_bytes().replace(b"model-0.f32", b"../model.f32"))
    with pytest.raises(InvalidInputError, match="another file"):
        checkpoint.load()


def test_files_are_the_owners_alone(folder):
    Checkpoint(folder).save(SPEC, 1, vector(1.0), **REST)
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


def test_that_it_is_finished_can_be_said_without_the_model(folder):
    checkpoint = Checkpoint(folder)
    checkpoint.save(SPEC, 2, None, **{**REST, "finished": True})
    assert checkpoint.load() is None, "there is nothing to say it of"
    checkpoint.save(SPEC, 2, vector(2), **{**REST, "finished": False})
    checkpoint.save(msgspec.structs.replace(SPEC, run_id="0" * 32), 2, None, **{**REST, "finished": True})
    assert not checkpoint.load().finished, "another run's"
    checkpoint.save(SPEC, 2, None, **{**REST, "finished": True})
    saved = checkpoint.load()
    assert saved.finished and (saved.round, saved.vector.tolist()) == (2, vector(2).tolist())
