from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from peerd.errors import InvalidInputError
from peerd.store import Releases
from peerd.store.releases import KEPT_RUNS

ONE, OTHER = "ab" * 16, "cd" * 16


@pytest.fixture
def path(tmp_path):
    return tmp_path / "releases.json"


def test_what_was_counted_is_known_after_a_restart(path):
    assert Releases(path).count(ONE) == 0
    assert [Releases(path).add(run) for run in (ONE, ONE, OTHER, ONE)] == [1, 2, 1, 3]
    assert (Releases(path).count(ONE), Releases(path).count(OTHER)) == (3, 1)
    assert path.stat().st_mode & 0o777 == 0o600


def test_two_at_once_lose_nothing(path):
    releases = Releases(path)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(releases.add, [ONE, OTHER] * 20))
    assert (releases.count(ONE), releases.count(OTHER)) == (20, 20)


def test_the_oldest_runs_are_forgotten_at_last(path, monkeypatch):
    monkeypatch.setattr("peerd.store.releases.KEPT_RUNS", 3)
    releases = Releases(path)
    runs = [f"{number:032x}" for number in range(4)]
    for run in (*runs[:3], runs[0], runs[3]):
        releases.add(run)
    assert [releases.count(run) for run in runs] == [2, 0, 1, 1]
    assert KEPT_RUNS == 1_000


def test_a_full_file_can_still_be_read(path):
    runs = {f"{number:032x}": 1 << 53 for number in range(KEPT_RUNS)}
    path.write_text(str(runs).replace("'", '"'))
    assert Releases(path).count(f"{KEPT_RUNS - 1:032x}") == 1 << 53


@pytest.mark.parametrize(
    "data", [b"", b"[]", b'{"ab": 1}', b'{"%s": -1}' % ONE.encode(), b"\xff", b" " * (2 << 20)]
)
def test_what_cannot_be_read_is_not_taken_for_nothing(path, data):
    path.write_bytes(data)
    for ask in (Releases(path).count, Releases(path).add):
        with pytest.raises(InvalidInputError, match=r"releases\.json: (corrupt|larger)"):
            ask(ONE)
    assert path.read_bytes() == data
