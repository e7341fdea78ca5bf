"""What a run says of itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from peerd.learning import Layout
from peerd.learning.actions import RoundsStatus, Stage
from peerd.learning.progress import Progress
from peerd.status import RunStatus
from peerd.types import RunSpec

ROUNDS = RoundsStatus("running", 3, Stage.EXCHANGING, 4, 1, 2, 1, 5, 6, (), "target")


@pytest.fixture
def make(make_spec: Callable[..., RunSpec]) -> Callable[..., Progress]:
    def progress(*, listening: bool = False) -> Progress:
        return Progress(make_spec(), start_round=2, listening=listening, announced=True, payload_bytes=900)

    return progress


def status(
    progress: Progress, rounds: RoundsStatus | None = None, layout: Layout | None = None, **changes: Any
) -> RunStatus:
    fields: dict[str, Any] = {"contributes_from": 2, "epsilon": 0.5, "model_digest": "ab"}
    return progress.status(rounds, layout, (1, 2, 3, 0, -2), **fields | changes)


@pytest.mark.parametrize(("listening", "cohort"), [(False, 4), (True, 3)])
def test_while_the_trainer_starts_it_says_who_is_there(
    make: Callable[..., Progress], listening: bool, cohort: int
) -> None:
    said = status(make(listening=listening))
    assert (said.state, said.stage, said.round) == ("starting", "starting", 2)
    assert (said.cohort, said.listeners) == (cohort, 2)
    assert (said.announced, said.payload_bytes, said.epsilon, said.model_digest) == (True, 900, 0.5, "ab")


def test_then_its_rounds_say_how_it_stands(make: Callable[..., Progress], layout: Layout) -> None:
    said = status(make(), ROUNDS, layout)
    assert (said.state, said.stage, said.round, said.cohort, said.listeners) == (
        "running", "exchanging", 3, 4, 1,
    )  # fmt: skip
    assert (said.parameters, said.fragments) == (10, 3)
    assert (said.fragments_received, said.fragments_expected, said.rounds_skipped) == (5, 6, 1)
    assert said.ended_by == ""


@pytest.mark.parametrize(
    ("state", "error", "of_use", "ended_by"),
    [("finished", "", True, "target"), ("stopped", "", False, ""), ("failed", "no memory", False, "")],
)
def test_how_it_ended_counts_more_than_what_its_rounds_say(
    make: Callable[..., Progress], layout: Layout, state: str, error: str, of_use: bool, ended_by: str
) -> None:
    progress = make()
    assert progress.is_of_use
    progress.end(state, error)
    said = status(progress, ROUNDS, layout, contributes_from=-3)
    assert (said.state, said.stage, said.error, said.ended_by) == (state, "done", error, ended_by)
    assert said.contributes_from == 3
    assert progress.is_of_use == of_use


def test_the_first_error_stays(make: Callable[..., Progress]) -> None:
    progress = make()
    progress.end("failed", "no memory")
    progress.end("stopped")
    assert status(progress).error == "no memory"
