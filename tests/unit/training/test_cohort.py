"""All learners of a run in one process: the conversation with it, over bytes."""

from __future__ import annotations

import io
import json
from typing import Any

import msgspec
import numpy as np
import pytest

from peerd.training.cohort import serve
from peerd.training.session import open_learner
from peerd.types import RunSpec

SPEC = RunSpec(run_id="0" * 32, task="synthetic", task_options={"parameters": "50"}, learning_rate=0.1)


def line(vector: np.ndarray | None = None, **request: Any) -> bytes:
    data = b"" if vector is None else vector.astype("<f4").tobytes()
    return json.dumps(request | {"floats": len(data) // 4}).encode() + b"\n" + data


def opened(learners: list[int], **changes: Any) -> bytes:
    spec = msgspec.to_builtins(msgspec.structs.replace(SPEC, **changes))
    return line(type="Open", spec=spec, shards=4, learners=learners)


def talk(*requests: bytes) -> list[tuple[dict[str, Any], np.ndarray]]:
    out = io.BytesIO()
    serve(io.BytesIO(b"".join(requests)), out)
    out.seek(0)
    replies = []
    while text := out.readline():
        reply = json.loads(text)
        replies.append((reply, np.frombuffer(out.read(4 * reply["floats"]), "<f4")))
    return replies


def test_each_learner_is_the_one_that_a_peer_has() -> None:
    start = open_learner(SPEC, 0, 4).vector()
    replies = talk(
        opened([2, 0]),
        line(start, type="Train", learner=0, round=1),
        line(start, type="Train", learner=1, round=1),
        line(start, type="Evaluate", learner=1),
    )
    assert [reply["floats"] for reply, _ in replies] == [50, 50, 50, 0]
    assert np.array_equal(replies[0][1], start)
    for (reply, trained), shard in zip(replies[1:3], (2, 0), strict=True):
        expected, outcome = open_learner(SPEC, shard, 4).train(1, start)
        assert np.array_equal(trained, expected)
        assert reply["answer"]["loss"] == pytest.approx(outcome.loss)
    assert not np.array_equal(replies[1][1], replies[2][1])
    assert replies[3][0]["answer"]["accuracy"] == pytest.approx(
        open_learner(SPEC, 0, 4).evaluate(start, 0).accuracy
    )


def test_what_goes_wrong_is_told_and_it_goes_on() -> None:
    start = np.zeros(50, np.float32)
    replies = talk(
        line(start, type="Train", learner=0, round=1),
        opened([0], task_options={"parameters": "none"}),
        opened([0], task="no-such-task"),
        line(type="Sing"),
        opened([0]),
        line(start, type="Train", learner=1, round=1),
    )
    bad = "InvalidInputError"
    assert [reply.get("kind") for reply, _ in replies] == [bad, bad, "NotFoundError", bad, None, bad]
    assert "no learner 0: there are 0" in replies[0][0]["error"]


def test_half_a_model_is_the_end() -> None:
    with pytest.raises(EOFError, match="100 bytes of a model of 50 floats"):
        talk(opened([0]), line(np.zeros(50), type="Evaluate", learner=0)[:-100])
