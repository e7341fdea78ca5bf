from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctl.churn import Schedule, Step
from ctl.experiment.churn import figures
from ctl.experiment.churn.figures import Wait

SCHEDULE = Schedule(
    4, 4, (Step(2, "join", "dora"), Step(2, "kill", "carol")),
)  # fmt: skip
"""alice and bob are steady."""


def two_rounds(made: Any, alice_closes: float = 20.0, bob_begins: float = 12.0) -> None:
    """Round 1 is quick; in round 2 carol dies at 13, of which alice knows at 14."""
    for name in ("alice", "bob", "carol"):
        made.says(name, 0.0)
        made.closes(name, 1, 5.0, 1.0)
    made.event("alice", 14.0, "carol", "dead")
    made.closes("alice", 2, alice_closes, alice_closes - 11.0)
    made.closes("bob", 2, 25.0, 25.0 - bob_begins)


def test_no_death_no_wait(made: Any) -> None:
    made.closes("alice", 1, 5.0, 1.0)
    made.event("alice", 3.0, "carol", "left")
    assert figures.waits(made.record, ["alice", "bob"]) == []


def test_after_the_death_is_known_every_moment_counts(made: Any) -> None:
    two_rounds(made)
    assert figures.waits(made.record, ["alice"]) == [Wait("alice", 2, 6.0)]


def test_waiting_for_somebody_alive_does_not_count(made: Any) -> None:
    two_rounds(made, bob_begins=17.0)
    assert figures.waits(made.record, ["alice"]) == [Wait("alice", 2, 3.0)]


def test_a_living_peer_that_had_not_begun_was_waited_for(made: Any) -> None:
    two_rounds(made, bob_begins=21.0)
    assert figures.waits(made.record, ["alice"]) == [Wait("alice", 2, 0.0)]


def test_who_is_held_dead_or_gone_is_not_expected(made: Any) -> None:
    two_rounds(made, bob_begins=21.0)
    made.event("alice", 15.0, "bob", "left")
    assert figures.waits(made.record, ["alice"]) == [Wait("alice", 2, 6.0)]
    made.event("alice", 16.0, "bob", "alive")
    assert figures.waits(made.record, ["alice"]) == [Wait("alice", 2, 0.0)]


def test_a_silent_peer_that_is_not_known_dead_yet_was_waited_for(made: Any) -> None:
    """dora contributes, and is killed before she sends anything; alice has not noticed when she closes."""
    two_rounds(made)
    made.says("dora", 10.0, contributes_from=2)
    assert figures.waits(made.record, ["alice"]) == [Wait("alice", 2, 0.0)]


def test_who_only_listens_is_not_expected(made: Any) -> None:
    two_rounds(made)
    made.says("dora", 10.0, contributes_from=0)
    assert figures.waits(made.record, ["alice"]) == [Wait("alice", 2, 6.0)]
    made.says("dora", 11.0, contributes_from=3)
    assert figures.waits(made.record, ["alice"]) == [Wait("alice", 2, 6.0)]
    made.says("dora", 21.0, contributes_from=1)  # said after that round
    assert figures.waits(made.record, ["alice"]) == [Wait("alice", 2, 6.0)]


def test_of_several_deaths_the_last_counts(made: Any) -> None:
    two_rounds(made)
    made.event("alice", 18.0, "dora", "dead")
    made.event("alice", 22.0, "erin", "dead")  # after the round
    assert figures.waits(made.record, ["alice"]) == [Wait("alice", 2, 2.0)]


@given(
    st.lists(st.tuples(st.floats(0, 100), st.sampled_from(["dead", "left", "alive", "suspect"])), max_size=6),
    st.lists(st.tuples(st.floats(1, 100), st.floats(0, 1)), min_size=1, max_size=5),
)
def test_a_wait_is_never_longer_than_the_exchange_nor_than_since_the_death(
    maker: Any, changes: list[tuple[float, str]], rounds: list[tuple[float, float]]
) -> None:
    made = maker()
    for at, what in changes:
        made.event("alice", at, "carol", what)
    for number, (at, share) in enumerate(sorted(rounds), 1):
        made.closes("alice", number, at, at * share)
        made.closes("bob", number, at + share, at * share)
    for wait in figures.waits(made.record, ["alice"]):
        closed = made.record.closed["alice"][wait.round]
        assert 0.0 <= wait.seconds <= made.record.results["alice"][wait.round].exchange_seconds + 1e-9
        deaths = [at for at, what in changes if what == "dead" and at <= closed]
        assert wait.seconds <= closed - max(deaths) + 1e-9


def whole(made: Any, name: str, rounds: range, first: int = 1) -> None:
    for number in rounds:
        made.closes(name, number, 10.0 * number, 1.0, contributes_from=first)
    made.says(name, 100.0, first, "finished")


def test_survivors_have_closed_every_round(made: Any) -> None:
    whole(made, "alice", range(1, 5))
    whole(made, "bob", range(1, 5))
    made.closes("dora", 2, 20.0, 1.0, contributes_from=0, listened=True)
    whole(made, "dora", range(3, 5), first=3)
    assert figures.completed(made.record, SCHEDULE) == {"alice": True, "bob": True, "dora": True}


@pytest.mark.parametrize("spoiled", ["missing", "listened", "unfinished", "absent", "late"])
def test_who_has_missed_a_round_has_not(made: Any, spoiled: str) -> None:
    whole(made, "alice", range(1, 5))
    whole(made, "dora", range(3, 5), first=3)
    if spoiled == "missing":
        made.closes("bob", 1, 10.0, 1.0)
        whole(made, "bob", range(3, 5))
    elif spoiled == "listened":
        whole(made, "bob", range(1, 4))
        made.closes("bob", 4, 40.0, 1.0, listened=True)
        made.says("bob", 100.0, 1, "finished")
    elif spoiled == "unfinished":
        whole(made, "bob", range(1, 5))
        made.says("bob", 101.0)
    elif spoiled == "late":
        whole(made, "bob", range(1, 5))
        made.record.results.pop("dora")
    done = figures.completed(made.record, SCHEDULE)
    assert [name for name, ok in done.items() if not ok] == ["dora" if spoiled == "late" else "bob"]


def test_late_joiners_are_compared_in_the_second_round_of_their_own(made: Any) -> None:
    for name, accuracy in (("alice", 0.9), ("bob", 0.92)):
        for number in range(1, 5):
            made.closes(name, number, 10.0 * number, 1.0, accuracy=accuracy if number == 4 else 0.1)
    made.closes("dora", 2, 20.0, 1.0, contributes_from=0, listened=True, accuracy=0.1)
    made.closes("dora", 3, 30.0, 1.0, contributes_from=3, accuracy=0.1)
    made.closes("dora", 4, 40.0, 1.0, contributes_from=3, accuracy=0.901)
    assert figures.late_joiners(made.record, SCHEDULE) == [
        {"name": "dora", "listened_round": 2, "contributes_from": 3, "accuracy_after_two": 0.901,
         "cohort_accuracy": 0.91, "reached": True}
    ]  # fmt: skip


def test_one_that_never_contributed_says_so(made: Any) -> None:
    (joiner,) = figures.late_joiners(made.record, SCHEDULE)
    assert joiner["name"] == "dora"
    assert {joiner[key] for key in joiner if key != "name"} == {None}


def test_the_final_accuracy_is_of_those_who_were_there(made: Any) -> None:
    assert figures.final_accuracy(made.record, SCHEDULE) is None
    for name, accuracy in (("alice", 0.9), ("bob", 0.8), ("carol", 0.1)):
        made.closes(name, 4, 40.0, 1.0, accuracy=accuracy)
    assert figures.final_accuracy(made.record, SCHEDULE) == pytest.approx(0.85)


def test_given_up_is_summed_over_all_lives(made: Any) -> None:
    made.status("alice", 1.0, gave_up=1)
    made.status("alice", 2.0, gave_up=3)
    made.status("carol", 1.0, gave_up=2)
    made.status("carol", 9.0, life=2, gave_up=4)
    assert figures.gave_up(made.record) == 9
    detail = {peer["name"]: peer for peer in figures.per_peer(made.record, SCHEDULE)}
    assert [detail[name]["gave_up"] for name in SCHEDULE.names] == [3, 0, 6, 0]
    assert [detail[name]["fate"] for name in SCHEDULE.names] == [["steady"], ["steady"], ["kill"], ["join"]]
