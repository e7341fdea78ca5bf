from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctl.top.keys import LONGEST, SEQUENCES, Keys


@pytest.mark.parametrize(("sequence", "key"), SEQUENCES.items())
def test_sequences_whole_and_in_pieces(sequence: str, key: str) -> None:
    data = f"\x1b{sequence}".encode()
    assert Keys().feed(data) == [key]
    keys = Keys()
    assert [found for byte in data for found in keys.feed(bytes([byte]))] == [key]
    assert not keys.pending


def test_an_escape_alone_is_a_key_after_a_moment() -> None:
    keys = Keys()
    assert keys.feed(b"\x1b") == [] and keys.pending
    assert keys.flush() == ["escape"] and not keys.pending
    assert keys.flush() == []


def test_plain_keys() -> None:
    assert Keys().feed("aß/ \r\n\x7f\x08".encode()) == [
        "a", "ß", "/", "space", "enter", "enter", "backspace", "backspace",
    ]  # fmt: skip
    assert Keys().feed(b"\x00\x01\xff\xfe") == []


def test_sequences_that_no_key_of_ours_sends_are_no_letters() -> None:
    assert Keys().feed(b"\x1b[1;5Cq") == ["q"]
    assert Keys().feed(b"\x1b[<0;10;20Mq") == ["q"]  # a click


@given(st.binary(max_size=60))
def test_any_bytes_in_any_pieces_say_the_same_and_nothing_is_kept(data: bytes) -> None:
    whole, piecemeal = Keys(), Keys()
    characters = data.decode("utf-8", "ignore")
    once = whole.feed(characters.encode())
    assert once == [key for one in characters for key in piecemeal.feed(one.encode())]
    for keys in (whole, piecemeal):
        assert len(keys._sequence) <= LONGEST
