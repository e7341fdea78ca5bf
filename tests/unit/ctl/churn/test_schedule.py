from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctl.churn import FULL, QUICK, Schedule, Step, demo_schedule
from ctl.commands.churn import SETTINGS
from peerd.errors import InvalidInputError


def possible(schedule: Schedule) -> None:
    """Every step finds its peer in the state that it takes."""
    there = {name: name not in schedule.late for name in schedule.names}
    left: set[str] = set()
    rounds = [step.round for step in schedule.steps]
    assert rounds == sorted(rounds) and all(1 < number < schedule.rounds for number in rounds)
    for step in schedule.steps:
        assert step.peer not in left
        assert there[step.peer] == (step.act in ("drain", "kill", "freeze"))
        if step.act != "freeze":
            there[step.peer] = not there[step.peer]
        if step.act == "drain":
            left.add(step.peer)
        assert (step.seconds > 0) == (step.act == "freeze")
    assert {name for name, here in there.items() if here} == set(schedule.finishers)


@pytest.mark.parametrize(("schedule", "quick"), [(FULL, False), (QUICK, True)])
def test_the_experiments_are_possible_and_leave_enough_mix_nodes(schedule: Schedule, quick: bool) -> None:
    possible(schedule)
    assert min(schedule.active()) >= SETTINGS[quick][0] + 2 - quick
    assert len(schedule.steady) >= 2
    assert schedule.survivors == (*schedule.steady, *schedule.late)


def test_the_full_one_is_what_the_specification_says() -> None:
    acts = [step.act for step in FULL.steps]
    assert (FULL.peers, FULL.rounds) == (10, 12)
    assert {act: acts.count(act) for act in set(acts)} == {
        "join": 2, "drain": 2, "kill": 2, "return": 1, "freeze": 1,
    }  # fmt: skip
    assert [step.seconds for step in FULL.steps if step.act == "freeze"] == [20.0]
    assert set(FULL.of("return")) < set(FULL.of("kill"))
    assert FULL.steady == ("alice", "grace", "heidi")
    assert FULL.finishers == ("alice", "carol", "erin", "grace", "heidi", "ivan", "judy")


@given(st.integers(3, 40), st.integers(1, 40), st.integers(1, 8))
def test_a_demo_is_possible_or_refused(peers: int, rounds: int, hops: int) -> None:
    try:
        schedule = demo_schedule(peers, rounds, hops)
    except InvalidInputError as error:
        assert peers < hops + 4 or rounds < 7
        assert str(error).startswith("--churn: ")
    else:
        possible(schedule)
        assert min(schedule.active()) >= hops + 2
        assert [step.act for step in schedule.steps] == ["join", "join", "drain", "kill"]


def test_without_steps_all_are_steady() -> None:
    calm = Schedule(4, 3)
    assert calm.steady == calm.survivors == calm.finishers == calm.names
    assert list(calm.active()) == [4]
    again = Schedule(4, 5, (Step(2, "kill", "bob"), Step(3, "return", "bob")))
    assert list(again.active()) == [4, 3, 4]
    assert again.finishers == again.names
