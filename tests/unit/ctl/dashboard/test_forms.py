from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ctl.dashboard
from ctl.dashboard import forms
from ctl.dashboard.choices import choices
from peerd.errors import InvalidInputError
from peerd.pb import mixing_pb2
from peerd.presets import PRESETS

PAGE = (Path(ctl.dashboard.__file__).parent / "static" / "dashboard.html").read_text(encoding="utf-8")


def fields_of(form: str) -> set[str]:
    """Names of a form's fields, as the page has them."""
    text = PAGE[PAGE.index(f'id="{form}"') :]
    return set(re.findall(r'<(?:input|select) name="([a-z_]+)"', text[: text.index("</form>")]))


def test_what_the_start_form_sends_is_a_spec() -> None:
    spec = forms.run_spec(
        {
            "task": " digits-cnn ", "rounds": "7", "alpha": "0.1", "partition": "dirichlet", "seed": "",
            "grace_seconds": "1500ms", "aggregator": "median", "target_accuracy": "0.98",
        }
    )  # fmt: skip
    assert (spec.task, spec.rounds, spec.alpha, spec.partition) == ("digits-cnn", 7, 0.1, "dirichlet")
    assert (spec.grace_seconds, spec.aggregator, spec.target_accuracy) == (1.5, "median", 0.98)
    assert spec.local_epochs == 5, "the task's default"
    assert forms.run_spec({"task": "digits-cnn"}).run_id != forms.run_spec({"task": "digits-cnn"}).run_id


def test_every_field_of_the_page_is_understood_and_no_other_is_promised() -> None:
    assert fields_of("start-form") == set(forms.RUN_FIELDS)
    mixing = fields_of("mix-form") - {"peers"}
    known = {field.name for field in mixing_pb2.UpdateMixingRequest.DESCRIPTOR.fields}
    assert mixing <= known
    assert known - mixing == {"direct", "max_delay_seconds", "loop_alarm_loss", "queue_limit"}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "task: which one?"),
        ({"task": "nonsense"}, "unknown task 'nonsense'"),
        ({"task": "digits-cnn", "rounds": "many"}, "rounds: 'many' is not a whole number"),
        ({"task": "digits-cnn", "rounds": "1.5"}, "rounds: '1.5' is not a whole number"),
        ({"task": "digits-cnn", "rounds": "0"}, "rounds"),
        ({"task": "digits-cnn", "learning_rate": "quick"}, "learning_rate: 'quick' is not a number"),
        ({"task": "digits-cnn", "learning_rate": "nan"}, "learning_rate"),
        ({"task": "digits-cnn", "grace_seconds": "soon"}, "grace_seconds: 'soon' is not a duration"),
        ({"task": "digits-cnn", "partition": "fair"}, "allowed: dirichlet, iid"),
        ({"task": "digits-cnn", "encoding": "top-k", "aggregator": "median"}, "compares fragments"),
        ({"task": "digits-cnn", "run_id": "ab" * 16}, "run_id: no such field"),
        ({"task": "digits-cnn", "data_dir": "data"}, "data_dir 'data': must be absolute"),
    ],
)
def test_wrong_fields_of_a_run_are_one_clear_line(fields: dict[str, str], said: str) -> None:
    with pytest.raises(InvalidInputError) as raised:
        forms.run_spec(fields)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_what_the_mixing_form_sends_is_an_update() -> None:
    update = forms.mixing_update(
        {"preset": "strong", "hops": "2", "mean_delay_seconds": "50ms", "direct": "off", "pool_rate": ""}
    )
    given = {field.name: value for field, value in update.ListFields()}
    assert given == {"preset": "strong", "hops": 2, "mean_delay_seconds": 0.05, "direct": False}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "nothing is changed"),
        ({"hops": " "}, "nothing is changed"),
        ({"hops": "three"}, "hops: 'three' is not a whole number"),
        ({"hops": "-1"}, "mixing: "),
        ({"hops": "99999999999999999999"}, "mixing: "),
        ({"direct": "1"}, "direct: '1' is neither on nor off"),
        ({"mean_delay_seconds": "-1s"}, "mean_delay_seconds: '-1s' is not a duration"),
        ({"password": "x"}, "password: no such field"),
    ],
)
def test_wrong_fields_of_mixing_are_one_clear_line(fields: dict[str, str], said: str) -> None:
    with pytest.raises(InvalidInputError) as raised:
        forms.mixing_update(fields)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


@given(st.binary(max_size=200))
def test_a_body_is_a_request_or_refused(body: bytes) -> None:
    try:
        request = forms.read(body)
    except InvalidInputError as error:
        assert str(error).startswith("not a request of this page: ")
    else:
        assert isinstance(request.fields, dict)


@given(st.dictionaries(st.sampled_from([*forms.RUN_FIELDS, "hops", "direct", "x"]), st.text(max_size=20)))
def test_fields_are_taken_or_refused(fields: dict[str, str]) -> None:
    assert forms.read(json.dumps({"fields": fields}).encode()).fields == fields
    for take in (forms.run_spec, forms.mixing_update):
        try:
            take(fields)
        except InvalidInputError as error:
            assert "Traceback" not in str(error)


def test_who_is_meant() -> None:
    assert forms.chosen([], ["alice", "bob"]) == ["alice", "bob"]
    assert forms.chosen(["bob"], ["alice", "bob"]) == ["bob"]
    with pytest.raises(InvalidInputError, match=r"^no such peer: 'eve'; known: alice, bob$"):
        forms.chosen(["alice", "eve"], ["alice", "bob"])


def test_the_lists_offer_what_is_taken() -> None:
    offered = choices()
    assert offered["presets"] == {name: dict(fields) for name, fields in PRESETS.items()}
    for name in ("task", "partition", "aggregator"):
        for value in offered[name]:
            stale = {"task": "digits-cnn"} if value != "weighted-by-age" else None
            if stale is not None:
                forms.run_spec(stale | {name: value})
    assert set(offered["needs_data"]) <= set(offered["task"])
    for strategy in offered["strategy"]:
        assert forms.mixing_update({"strategy": strategy}).strategy == strategy
