"""Which model a run is taken up again with, and the spec of the run that begins with it."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from ctl.fanout import Answer
from ctl.text import RUN_DIGITS
from peerd.config import convert
from peerd.errors import InvalidInputError, NotFoundError
from peerd.pb import runs_pb2
from peerd.types import RunSpec

Checkpoint = runs_pb2.Checkpoint


def choose(
    answers: Sequence[Answer[list[Checkpoint]]], run_id: str, round_number: int | None, best: bool
) -> Checkpoint:
    """Of the last run where none is named, the newest round that most of these peers have. NotFoundError,
    InvalidInputError."""
    found = [one for answer in answers for one in answer.value if one.spec.run_id.startswith(run_id)]
    runs = list(dict.fromkeys(one.spec.run_id for one in found))
    if not runs:
        raise NotFoundError(f"no checkpoint of run {run_id}" if run_id else "there are no checkpoints")
    last = [answer.value[-1].spec.run_id for answer in answers if answer.value]
    run = Counter(last).most_common(1)[0][0] if not run_id else runs[0]
    if run_id and len(runs) > 1:
        raise InvalidInputError(f"run {run_id}: {len(runs)} runs begin so; give more digits")
    of_run = [one for one in found if one.spec.run_id == run]
    wanted = [one for one in of_run if (not best or one.best) and round_number in (None, one.round)]
    if not wanted:
        rounds = ", ".join(map(str, sorted({one.round for one in of_run})))
        raise NotFoundError(f"run {run[:RUN_DIGITS]}: no checkpoint of round {round_number}; there: {rounds}")
    copies = Counter((one.round, one.sha256) for one in wanted)
    (number, digest), _ = max(copies.items(), key=lambda item: (item[1], item[0][0]))
    return next(one for one in wanted if (one.round, one.sha256) == (number, digest))


def go_on_from(checkpoint: Checkpoint, rounds: int | None, **changes: Any) -> RunSpec:
    """A new run of the same settings: `rounds` more, or those that were left. InvalidInputError."""
    from peerd.membership.records import run_spec_of

    spec = run_spec_of(checkpoint.spec)
    rounds = rounds or spec.rounds - checkpoint.round
    if rounds <= 0:
        raise InvalidInputError(
            f"all {spec.rounds} rounds of run {spec.run_id[:RUN_DIGITS]} are done; "
            "say how many more: --rounds N"
        )
    changes = {name: value for name, value in changes.items() if value is not None}
    if changes.get("patience") == 0:  # then what counts as an improvement is of no matter either
        changes.setdefault("min_improvement", 0.0)
    changes |= {
        "run_id": secrets.token_hex(16),
        "rounds": rounds,
        "initial_run": spec.run_id,
        "initial_round": checkpoint.round,
        "initial_sha256": checkpoint.sha256,
    }
    return convert(msgspec.to_builtins(spec) | changes, RunSpec, "run")
