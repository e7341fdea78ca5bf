from __future__ import annotations

import os
import shutil

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors import safe_open

from peerd.errors import InvalidInputError, NotFoundError
from peerd.store import Archive, digest_of
from peerd.store.archive import RUNS
from peerd.types import RunSpec

SPEC = RunSpec(run_id="0123456789abcdef" * 2, task="digits-cnn", rounds=7)
FLOATS = hnp.arrays(np.float32, st.integers(1, 50), elements=st.floats(width=32))


def vector(value: float, size: int = 20):
    return np.full(size, value, np.float32)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "runs"


@pytest.fixture
def aside():
    return []


@pytest.fixture
def archive(folder, aside):
    return Archive(folder, 2, aside.append)


def rounds(archive, run_id=SPEC.run_id):
    return [entry.round for entry in archive.entries(run_id)]


@given(FLOATS, st.integers(1, 1_000_000), st.floats(0, 1), st.integers(0, 10_000))
@settings(deadline=None)  # the disk may be slow
def test_what_was_written_comes_back_bit_for_bit(tmp_path_factory, values, number, accuracy, samples):
    archive = Archive(tmp_path_factory.mktemp("runs"), 1)
    archive.write(SPEC, number, values, accuracy, samples)
    (entry,) = archive.entries()
    assert (entry.spec, entry.round, entry.parameters) == (SPEC, number, len(values))
    assert (entry.accuracy, entry.test_samples, entry.best) == (accuracy, samples, True)
    assert entry.sha256 == digest_of(values)
    read = archive.read(entry)
    assert read.dtype == np.float32 and read.tobytes() == values.tobytes()
    read[:] = 0  # the caller's own copy


def test_nobody_else_may_look_in_also_where_an_earlier_version_let_them(archive, folder):
    before = os.umask(0o022)
    try:
        archive.write(SPEC, 1, vector(1.0), 0.5, 9)
        assert [p.stat().st_mode & 0o777 for p in (folder, folder / SPEC.run_id)] == [0o700, 0o700]
        folder.chmod(0o755)
        archive.write(SPEC, 2, vector(1.0), 0.5, 9)
    finally:
        os.umask(before)
    assert folder.stat().st_mode & 0o777 == 0o700


def test_any_safetensors_reader_understands_it(archive, folder):
    archive.write(SPEC, 3, vector(2.5), 0.75, 360)
    (path,) = folder.glob("*/*.safetensors")
    with safe_open(path, framework="numpy") as file:
        assert list(file.keys()) == ["vector"]
        assert file.get_tensor("vector").tolist() == [2.5] * 20
        said = file.metadata()
    assert (said["run_id"], said["round"], said["task"]) == (SPEC.run_id, "3", "digits-cnn")
    assert (said["accuracy"], said["sha256"]) == ("0.75", digest_of(vector(2.5)))
    assert msgspec.json.decode(said["spec"], type=RunSpec) == SPEC
    assert path.stat().st_mode & 0o777 == 0o600


@given(
    st.lists(st.sampled_from([0.1, 0.5, 0.9]), min_size=1, max_size=12),
    st.integers(1, 4),
)
@settings(deadline=None)
def test_the_newest_stay_and_the_first_of_the_best(tmp_path_factory, accuracies, keep):
    archive = Archive(tmp_path_factory.mktemp("runs"), keep)
    for number, accuracy in enumerate(accuracies, 1):
        archive.write(SPEC, number, vector(number), accuracy, 9)
    best = accuracies.index(max(accuracies)) + 1
    newest = range(max(len(accuracies) - keep, 0) + 1, len(accuracies) + 1)
    assert rounds(archive) == sorted({best, *newest})
    assert [entry.round for entry in archive.entries() if entry.best] == [best]


def test_nothing_is_written_where_none_are_to_be_kept(folder):
    archive = Archive(folder, 0)
    archive.write(SPEC, 1, vector(1), 0.5, 9)
    assert not folder.exists()
    assert archive.entries() == []


def test_how_many_are_kept_may_change_with_the_next_one_written(archive):
    for number in range(1, 5):
        archive.write(SPEC, number, vector(number), 0.5 + (number == 1) / 4, 9)
    assert rounds(archive) == [1, 3, 4]
    archive.keep = 1
    archive.write(SPEC, 5, vector(5), 0.5, 9)
    assert rounds(archive) == [1, 5]
    archive.keep = 0
    archive.write(SPEC, 6, vector(6), 0.9, 9)
    assert rounds(archive) == [1, 5]


def test_only_the_last_runs_keep_models(archive, folder):
    for number in range(RUNS + 2):
        spec = msgspec.structs.replace(SPEC, run_id=f"{number:032x}")
        archive.write(spec, 1, vector(number), 0.5, 9)
        os.utime(folder / spec.run_id, (number, number))
    assert len(archive.entries()) == RUNS
    assert archive.entries("0" * 32) == []
    assert archive.entries()[-1].spec.run_id == f"{RUNS + 1:032x}"


@given(st.data())
@settings(deadline=None, max_examples=150)
def test_any_bit_flip_is_noticed_and_leaves_the_others_alone(tmp_path_factory, data):
    aside: list[str] = []
    archive = Archive(tmp_path_factory.mktemp("runs"), 9, aside.append)
    for number in (1, 2):
        archive.write(SPEC, number, vector(number), 0.5, 9)
    path = archive._folder / SPEC.run_id / "round-0000002.safetensors"
    raw = bytearray(path.read_bytes())
    before = archive.entries()[-1]
    where = data.draw(st.integers(0, len(raw) - 1))
    raw[where] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(raw)
    if 2 in rounds(archive):  # then it is in the values, or says the same
        entry = archive.entries()[-1]
        assert entry == before
        try:
            assert archive.read(entry).tobytes() == vector(2).tobytes()
        except InvalidInputError as error:
            assert "corrupt checkpoint" in str(error) and "\n" not in str(error)
    else:
        assert len(aside) >= 1 and "corrupt checkpoint" in aside[0] and "\n" not in aside[0]
    assert archive.read(archive.entries()[0]).tobytes() == vector(1).tobytes()


@given(st.integers(0, 1000))
@settings(deadline=None)
def test_a_half_written_file_is_left_aside(tmp_path_factory, length):
    aside: list[str] = []
    archive = Archive(tmp_path_factory.mktemp("runs"), 9, aside.append)
    for number in (1, 2):
        archive.write(SPEC, number, vector(number), 0.5, 9)
    path = archive._folder / SPEC.run_id / "round-0000002.safetensors"
    raw = path.read_bytes()
    path.write_bytes(raw[: min(length, len(raw) - 1)])
    assert rounds(archive) == [1]
    assert len(aside) == 1


def test_a_file_under_another_name_is_not_taken_for_that_round(archive, folder, aside):
    archive.write(SPEC, 1, vector(1), 0.5, 9)
    (path,) = folder.glob("*/*.safetensors")
    path.rename(path.with_name("round-0000005.safetensors"))
    assert archive.entries() == []
    assert "another run or round" in aside[0]


def test_what_a_killed_process_left_is_cleared_away(archive, folder):
    archive.write(SPEC, 1, vector(1), 0.5, 9)
    leftover = folder / SPEC.run_id / ".round-0000002.safetensors.x1"
    leftover.write_bytes(b"half")
    archive.write(SPEC, 2, vector(2), 0.5, 9)
    assert not leftover.exists()
    assert rounds(archive) == [1, 2]


def test_one_that_has_gone_is_not_found(archive, folder):
    archive.write(SPEC, 1, vector(1), 0.5, 9)
    (entry,) = archive.entries()
    next(folder.glob("*/*.safetensors")).unlink()
    with pytest.raises(NotFoundError, match="no such file"):
        archive.read(entry)


def test_a_run_that_goes_while_it_is_read_is_no_failure(archive, folder, monkeypatch):
    """Another thread removes old runs."""
    for run_id in ("ab" * 16, "cd" * 16):
        archive.write(msgspec.structs.replace(SPEC, run_id=run_id), 1, vector(1), 0.5, 9)
    runs = archive._runs()
    shutil.rmtree(folder / ("ab" * 16))
    monkeypatch.setattr(archive, "_runs", lambda: runs)
    assert [entry.spec.run_id for entry in archive.entries()] == ["cd" * 16]
    monkeypatch.undo()
    shutil.rmtree(folder)
    assert archive.entries() == []
