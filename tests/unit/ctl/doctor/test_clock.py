from __future__ import annotations

import ctypes

import pytest

from ctl.doctor.clock import TIME_ERROR, check_clock, clock_state


@pytest.mark.parametrize(
    ("state", "levels"), [(TIME_ERROR, ["warn"]), (0, ["ok"]), (1, ["ok"]), (4, ["ok"]), (None, [])]
)
def test_what_the_kernel_says_is_told(state: int | None, levels: list[str]) -> None:
    findings = list(check_clock("here", state))
    assert [finding.level for finding in findings] == levels
    assert all((finding.about, finding.check) == ("here", "clock") for finding in findings)


def test_this_kernel_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert clock_state() in (None, *range(TIME_ERROR + 1))
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    assert clock_state() is None, "no Linux"
