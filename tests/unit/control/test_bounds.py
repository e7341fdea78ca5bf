"""How much a caller may have at a time, whatever comes and goes."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerd.control.bounds import CALLS, IN_ALL, STREAMS, Bounds
from peerd.errors import BusyError

CALLERS = (b"", b"ops", b"eye")


@given(st.lists(st.tuples(st.sampled_from(CALLERS), st.booleans(), st.integers(0, 3)), max_size=60))
def test_no_caller_has_more_than_its_share_and_what_ends_makes_room(steps):
    """Each step opens one, or, if it can, ends the oldest of its kind."""
    bounds = Bounds(streams=3, calls=2, in_all=6)
    open_: dict[tuple[bytes, bool], list[contextlib.ExitStack]] = {}
    for caller, stream, end in steps:
        mine = open_.setdefault((caller, stream), [])
        if end == 0 and mine:
            mine.pop(0).close()
            continue
        in_all = sum(map(len, open_.values()))
        fits = len(mine) < (3 if stream else 2) and in_all < 6
        stack = contextlib.ExitStack()
        if not fits:
            with pytest.raises(BusyError):
                stack.enter_context(bounds.taken(caller, stream=stream))
            continue
        held = stack.enter_context(bounds.taken(caller, stream=stream))
        mine.append(stack)
        assert (held.streams, held.calls) == tuple(len(open_.get((caller, s), ())) for s in (True, False))
    for stacks in open_.values():
        for stack in stacks:
            stack.close()
    assert bounds._open == 0
    assert bounds._held == {}, "who has nothing is not remembered"


def test_a_call_that_fails_makes_room():
    bounds = Bounds(calls=1)
    for _ in range(3):
        with pytest.raises(RuntimeError), bounds.taken(b"ops", stream=False):
            raise RuntimeError
    with bounds.taken(b"ops", stream=False):
        pass


def test_what_is_said_names_the_bound_and_what_to_do():
    for bounds, stream, says in (
        (Bounds(streams=0), True, r"0 streams open, and may have no more: end some \(status --watch"),
        (Bounds(calls=0), False, "0 calls of this caller are being answered.* ask again later"),
        (Bounds(in_all=0), True, "0 calls and streams of all callers.* at the peer's Unix socket"),
    ):
        with pytest.raises(BusyError, match=says), bounds.taken(b"ops", stream=stream):
            pass


def test_two_hundred_watchers_have_room_with_one_certificate_and_cannot_take_it_all():
    assert STREAMS >= 200 + 50
    assert IN_ALL >= 4 * (STREAMS + CALLS)
