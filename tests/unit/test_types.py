from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerd.config import convert
from peerd.errors import InvalidInputError
from peerd.types import DropReason, PacketKind, RunSpec

RUN = "0123456789abcdef" * 2


def spec(**fields: Any) -> RunSpec:
    return convert({"run_id": RUN, "task": "digits-cnn"} | fields, RunSpec, "run")


@pytest.mark.parametrize("names", [PacketKind, DropReason])
def test_labels_are_plain_words_and_unique(names: type[PacketKind] | type[DropReason]) -> None:
    values = [member.value for member in names]
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", value) for value in values)
    assert [member.name.lower() for member in names] == values
    assert len(set(values)) == len(names.__members__)


def test_the_wire_id_is_the_first_eight_bytes() -> None:
    assert spec().wire_id == 0x0123456789ABCDEF
    assert spec(run_id="f" * 16 + "0" * 16).wire_id == 2**64 - 1
    assert spec(run_id="0" * 32).wire_id == 0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("run_id", RUN[:-1]),
        ("run_id", RUN + "0"),
        ("run_id", RUN.upper()),
        ("run_id", RUN[:-1] + "\n"),
        ("run_id", RUN + "\n"),
        ("run_id", "../" + RUN[3:]),
        ("task", 3),
        ("rounds", 0),
        ("rounds", 10**7),
        ("seed", -1),
        ("seed", 2**63),
        ("partition", "random"),
        ("alpha", 0.0),
        ("alpha", float("nan")),
        ("samples_per_round", -1),
        ("test_samples", -1),
        ("batch_size", 0),
        ("local_epochs", 0),
        ("learning_rate", 0.0),
        ("learning_rate", float("inf")),
        ("quorum", 0.0),
        ("quorum", 1.01),
        ("grace_seconds", 0.0),
        ("round_timeout_seconds", 90_000.0),
        ("round_timeout_seconds", "300"),
        ("task_options", {"Size": "1"}),
        ("task_options", {"size": "1" * 201}),
        ("task_options", {f"a{number}": "1" for number in range(17)}),
        ("task_options", {"size": 1}),
        ("partition", "odd"),
        ("classes_per_peer", 0),
        ("schedule", "warm"),
        ("decay", 0.0),
        ("decay_rounds", 0),
        ("local_batches", -1),
        ("evaluation", "none"),
        ("holdout", 1.0),
        ("privacy_clip", -1.0),
        ("privacy_clip", float("nan")),
        ("noise_multiplier", -1.0),
        ("noise_multiplier", float("inf")),
        ("privacy_delta", 0.0),
        ("privacy_delta", 1.0),
        ("patience", -1),
        ("patience", 1001),
        ("min_improvement", -0.1),
        ("target_accuracy", 1.1),
        ("target_accuracy", float("nan")),
        ("initial_run", "../x"),
        ("initial_round", -1),
        ("initial_sha256", "00" * 31),
    ],
)
def test_what_a_run_may_not_ask_for_is_one_line_that_names_it(field: str, value: object) -> None:
    with pytest.raises(InvalidInputError, match=rf"^run: {field}(\[...\])?: ") as raised:
        spec(**{field: value})
    assert "\n" not in str(raised.value)


def test_a_run_needs_an_id_and_a_task_and_knows_no_other_fields() -> None:
    with pytest.raises(InvalidInputError, match=r"missing required field `run_id`"):
        convert({"task": "digits-cnn"}, RunSpec, "run")
    with pytest.raises(InvalidInputError, match=r"missing required field `task`"):
        convert({"run_id": RUN}, RunSpec, "run")
    with pytest.raises(InvalidInputError, match=r"unknown field `epochs`"):
        spec(epochs=3)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"noise_multiplier": 1.0}, "set privacy_clip above 0, too"),
        ({"privacy_clip": 1.0, "noise_multiplier": 1e-4}, "use 0 to clip only, or 0.001 and more"),
        ({"privacy_delta": 1e-6}, "privacy_delta says nothing without noise"),
        ({"privacy_clip": 1.0, "privacy_delta": 1e-6}, "set noise_multiplier above 0, too"),
    ],
)
def test_privacy_that_makes_no_sense_is_one_line(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidInputError, match=says) as raised:
        spec(**fields)
    assert "\n" not in str(raised.value)
    assert not spec(privacy_clip=1.0).noised
    assert spec(privacy_clip=1.0, noise_multiplier=1e-3, privacy_delta=1e-6).noised


@pytest.mark.parametrize(
    "changes",
    [
        {"initial_run": "ab" * 16},
        {"initial_round": 3},
        {"initial_run": "ab" * 16, "initial_sha256": "cd" * 32},
    ],
)
def test_an_initial_model_is_named_whole(changes: dict[str, object]) -> None:
    with pytest.raises(InvalidInputError, match="belong together: all or none"):
        spec(**changes)


def test_an_improvement_is_for_those_who_have_patience() -> None:
    assert spec(patience=2, min_improvement=0.1).patience == 2
    with pytest.raises(InvalidInputError, match="give patience, too"):
        spec(min_improvement=0.1)


def test_a_spec_does_not_change() -> None:
    with pytest.raises(AttributeError):
        spec().rounds = 7


specs = st.builds(
    spec,
    run_id=st.binary(min_size=16, max_size=16).map(bytes.hex),
    task=st.sampled_from(["digits-cnn", "mnist-cnn"]),
    data_dir=st.text(max_size=20),
    rounds=st.integers(1, 1_000_000),
    seed=st.integers(0, 2**63 - 1),
    quorum=st.floats(0.01, 1.0),
    alpha=st.floats(0.01, 100.0),
)


@given(specs)
def test_a_spec_survives_json_unchanged(before: RunSpec) -> None:
    assert msgspec.json.decode(msgspec.json.encode(before), type=RunSpec) == before
    assert 0 <= before.wire_id < 2**64
