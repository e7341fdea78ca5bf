from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerd.link import Cell, CellKind, CellReader, cell_bytes, encode_cell

SIZE = 40
CELLS = st.one_of(
    st.builds(Cell, st.just(CellKind.PACKET), st.binary(min_size=SIZE, max_size=SIZE)),
    st.builds(Cell, st.sampled_from([CellKind.PING, CellKind.PONG]), st.binary(min_size=8, max_size=8)),
)


def encode(cells):
    return b"".join(encode_cell(cell.kind, cell.body, SIZE) for cell in cells)


def cut(data, lengths):
    """`data` in pieces of these lengths, the rest at the end."""
    for length in lengths:
        yield data[:length]
        data = data[length:]
    yield data


@given(st.lists(CELLS, max_size=8), st.lists(st.integers(0, 100), max_size=10))
def test_cells_come_back_however_the_stream_is_cut(cells, lengths):
    reader = CellReader(SIZE)
    got = [cell for piece in cut(encode(cells), lengths) for cell in reader.feed(piece)]
    assert got == cells


@given(CELLS)
def test_all_cells_have_one_size(cell):
    assert len(encode([cell])) == cell_bytes(SIZE)


@given(st.binary(max_size=400), st.lists(st.integers(0, 100), max_size=10))
def test_no_bytes_raise_and_little_is_held(data, lengths):
    reader = CellReader(SIZE)
    broken = False
    for piece in cut(data, lengths):
        cells = reader.feed(piece)
        assert cells is None or not broken  # once broken, always broken
        broken = cells is None
        assert len(reader._buffer) < cell_bytes(SIZE)
        for cell in cells or ():
            assert len(cell.body) == (SIZE if cell.kind is CellKind.PACKET else 8)


@given(CELLS, st.integers(0, 31))
def test_every_bit_flip_of_the_head_is_refused_or_another_kind(cell, bit):
    """A ping and a pong of the flipped kind may be cells too; what they do is the connection's."""
    data = bytearray(encode([cell]))
    data[bit // 8] ^= 1 << (bit % 8)
    cells = CellReader(SIZE).feed(bytes(data))
    assert cells is None or cells[0].kind is not cell.kind


@given(st.sampled_from([CellKind.PING, CellKind.PONG]), st.integers(8, SIZE - 1), st.integers(1, 255))
def test_padding_of_a_ping_must_be_zeros(kind, at, value):
    data = bytearray(encode([Cell(kind, bytes(8))]))
    data[4 + at] = value
    assert CellReader(SIZE).feed(bytes(data)) is None


def test_nothing_after_a_bad_cell_is_taken():
    reader = CellReader(SIZE)
    good = encode([Cell(CellKind.PACKET, bytes(SIZE))])
    assert reader.feed(bytes(cell_bytes(SIZE))) is None
    assert reader.feed(good) is None


def test_one_byte_short_is_no_cell():
    reader = CellReader(SIZE)
    packet = os.urandom(SIZE)
    data = encode_cell(CellKind.PACKET, packet, SIZE)
    assert reader.feed(data[:-1]) == []
    assert reader.feed(data[-1:]) == [Cell(CellKind.PACKET, packet)]


def test_a_body_that_does_not_fit_is_our_bug():
    with pytest.raises(ValueError, match="at most 40 bytes"):
        encode_cell(CellKind.PACKET, bytes(41), SIZE)
