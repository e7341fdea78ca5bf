"""Every refusal is counted, one in a minute of each kind is logged."""

from __future__ import annotations

from collections import Counter
from typing import get_args

import pytest

from peerd.control.refusals import Reason, Refusals
from peerd.errors import DeniedError, InvalidInputError
from peerd.observe.tally import CONTROL_REFUSALS


class Log:
    def __init__(self):
        self.lines = []

    def warning(self, event, **fields):
        self.lines.append((event, fields))

    def exception(self, event, **fields):
        self.lines.append((event, fields))


def test_all_are_counted_and_few_are_logged():
    now, log, counted = [0.0], Log(), Counter()
    refusals = Refusals(log, lambda reason: counted.update([reason]), lambda: now[0])

    def deny(times):
        for _ in range(times):
            with pytest.raises(DeniedError), refusals.noting("denied", "/a/B", "bob"):
                raise DeniedError("x" * 1000)

    deny(500)
    with pytest.raises(InvalidInputError), refusals.noting("malformed", "/a/C", "eve"):
        raise InvalidInputError("no request")
    with refusals.noting("malformed", "/a/C", "eve"):
        pass
    now[0] = 60.0
    deny(2)
    assert counted == {"denied": 502, "malformed": 1}
    denied, malformed, again = log.lines
    assert denied == ("control call refused", {
        "reason": "denied", "method": "/a/B", "caller": "bob", "detail": "x" * 200, "skipped": 0,
    })  # fmt: skip
    assert malformed[1]["reason"] == "malformed"
    assert again[1]["skipped"] == 499


def test_an_error_of_its_own_is_logged_as_one():
    log, counted = Log(), Counter()
    refusals = Refusals(log, lambda reason: counted.update([reason]))
    for _ in range(9):
        refusals.failed("/a/B")
    assert counted == {"failed": 9}
    assert log.lines == [("control call failed", {"method": "/a/B", "skipped": 0})]


def test_each_reason_has_its_count_in_the_metrics():
    assert get_args(Reason) == CONTROL_REFUSALS
