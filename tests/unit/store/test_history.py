from __future__ import annotations

import os

import pytest

from peerd.errors import InvalidInputError, NotFoundError
from peerd.status import RoundResult, RunStatus
from peerd.store import History
from peerd.store.history import RUNS
from peerd.types import RunSpec


def status(run_id: str, accuracy: float = 0.5) -> RunStatus:
    result = RoundResult(round=1, accuracy=accuracy, test_samples=9)
    return RunStatus(
        spec=RunSpec(run_id=run_id, task="digits-cnn"), state="finished", ended_by="target", results=(result,)
    )


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "runs"


def test_nobody_else_may_look_in(folder):
    before = os.umask(0o022)
    try:
        History(folder).write(status("ab" * 16))
    finally:
        os.umask(before)
    assert [p.stat().st_mode & 0o777 for p in (folder, folder / ("ab" * 16))] == [0o700, 0o700]


def test_a_run_is_found_by_its_first_digits_as_it_stood_last(folder):
    history = History(folder)
    history.write(status("ab" * 16))
    history.write(status("ab" * 16, 0.75))
    history.write(status("ac" * 16))
    assert history.read("ab") == history.read("ab" * 16) == status("ab" * 16, 0.75)
    with pytest.raises(InvalidInputError, match="2 runs begin so; give more digits"):
        history.read("a")
    with pytest.raises(NotFoundError, match="run ff: this peer took part in no such run; known: acac"):
        history.read("ff")


def test_the_last_ones_are_remembered_and_what_belongs_to_older_ones_goes(folder):
    history = History(folder)
    for number in range(RUNS + 3):
        run_id = f"{number:032x}"
        history.write(status(run_id))
        (folder / run_id / "round-0000001.safetensors").write_bytes(b"model")
        os.utime(folder / run_id / "results.json", (number, number))
    assert len(list(folder.iterdir())) == RUNS
    assert not (folder / ("0" * 32)).exists()


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff\xfe", b"[" * 9000, b'{"state": "\x80"}'])
def test_broken_results_are_one_line(folder, data):
    history = History(folder)
    history.write(status("ab" * 16))
    (folder / ("ab" * 16) / "results.json").write_bytes(data)
    with pytest.raises(InvalidInputError, match="corrupt results") as error:
        history.read("ab")
    assert "\n" not in str(error.value)
    history.write(status("ab" * 16))
    assert history.read("ab").state == "finished"


def test_other_folders_are_none_of_its_business(folder):
    (folder / "notes").mkdir(parents=True)
    (folder / "notes" / "results.json").write_bytes(b"mine")
    with pytest.raises(NotFoundError, match="known: none"):
        History(folder).read("no")
