from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerd.link import Cell, CellKind, CellReader, cell_bytes, encode_cell, encode_gossip, gossip_bytes
from peerd.link.cells import READ_BYTES

SIZE = 40
CELLS = st.one_of(
    st.builds(Cell, st.just(CellKind.PACKET), st.binary(min_size=SIZE, max_size=SIZE)),
    st.builds(Cell, st.sampled_from([CellKind.PING, CellKind.PONG]), st.binary(min_size=8, max_size=8)),
    st.builds(Cell, st.just(CellKind.GOSSIP), st.binary(min_size=1, max_size=SIZE - 2)),
)


def encode(cells):
    return b"".join(
        encode_gossip(cell.body, SIZE)
        if cell.kind is CellKind.GOSSIP
        else encode_cell(cell.kind, cell.body, SIZE)
        for cell in cells
    )


def feed(reader, data):
    """All cells that these bytes complete; None as soon as the stream is not ours."""
    cells = []
    while data:
        space = reader.space
        count = min(len(space), len(data))
        space[:count] = data[:count]
        data = data[count:]
        complete = reader.wrote(count)
        if complete is None:
            return None
        cells += complete
    return cells


def cut(data, lengths):
    """`data` in pieces of these lengths, the rest at the end."""
    for length in lengths:
        yield data[:length]
        data = data[length:]
    yield data


@given(st.lists(CELLS, max_size=8), st.lists(st.integers(0, 100), max_size=10))
def test_cells_come_back_however_the_stream_is_cut(cells, lengths):
    reader = CellReader(SIZE)
    got = [cell for piece in cut(encode(cells), lengths) for cell in feed(reader, piece)]
    assert got == cells


@given(CELLS)
def test_all_cells_have_one_size(cell):
    assert len(encode([cell])) == cell_bytes(SIZE)


@given(st.binary(max_size=400), st.lists(st.integers(0, 100), max_size=10))
def test_no_bytes_raise_and_little_is_held(data, lengths):
    reader = CellReader(SIZE)
    held, broken = len(reader.space), False
    for piece in filter(None, cut(data, lengths)):
        cells = feed(reader, piece)
        assert cells is None or not broken  # once broken, always broken
        broken = cells is None
        assert held - cell_bytes(SIZE) < len(reader.space) <= held < 2 * READ_BYTES
        for cell in cells or ():
            if cell.kind is CellKind.GOSSIP:
                assert 1 <= len(cell.body) <= gossip_bytes(SIZE)
            else:
                assert len(cell.body) == (SIZE if cell.kind is CellKind.PACKET else 8)


@given(CELLS, st.integers(0, 31))
def test_every_bit_flip_of_the_head_is_refused_or_another_kind(cell, bit):
    """A ping and a pong of the flipped kind may be cells too; what they do is the connection's."""
    data = bytearray(encode([cell]))
    data[bit // 8] ^= 1 << (bit % 8)
    cells = feed(CellReader(SIZE), bytes(data))
    assert cells is None or cells[0].kind is not cell.kind


@given(st.sampled_from([CellKind.PING, CellKind.PONG]), st.integers(8, SIZE - 1), st.integers(1, 255))
def test_padding_of_a_ping_must_be_zeros(kind, at, value):
    data = bytearray(encode([Cell(kind, bytes(8))]))
    data[4 + at] = value
    assert feed(CellReader(SIZE), bytes(data)) is None


@pytest.mark.parametrize("length", [0, SIZE - 1, 65_535])
def test_gossip_must_fit_and_not_be_empty(length):
    data = bytearray(encode_gossip(b"x", SIZE))
    data[4:6] = length.to_bytes(2, "big")
    assert feed(CellReader(SIZE), bytes(data)) is None
    with pytest.raises(ValueError, match="does not fit"):
        encode_gossip(bytes(length), SIZE)


@given(st.integers(7, SIZE + 3), st.integers(1, 255))
def test_padding_of_gossip_must_be_zeros(at, value):
    data = bytearray(encode_gossip(b"x", SIZE))
    data[at] = value
    assert feed(CellReader(SIZE), bytes(data)) is None


@pytest.mark.parametrize("packet_bytes", [1, 1000, READ_BYTES - 4, READ_BYTES - 3, 3 * READ_BYTES])
def test_the_buffer_is_whole_cells_so_that_a_full_one_leaves_nothing(packet_bytes):
    reader = CellReader(packet_bytes)
    count, rest = divmod(len(reader.space), cell_bytes(packet_bytes))
    assert rest == 0
    assert count >= 1
    cell = encode_cell(CellKind.PACKET, os.urandom(packet_bytes), packet_bytes)
    reader.space[:] = cell * count
    assert reader.wrote(len(cell) * count) == [Cell(CellKind.PACKET, cell[4:])] * count
    assert len(reader.space) == len(cell) * count


def test_nothing_after_a_bad_cell_is_taken():
    reader = CellReader(SIZE)
    good = encode([Cell(CellKind.PACKET, bytes(SIZE))])
    assert feed(reader, bytes(cell_bytes(SIZE))) is None
    assert feed(reader, good) is None


def test_one_byte_short_is_no_cell():
    reader = CellReader(SIZE)
    packet = os.urandom(SIZE)
    data = encode_cell(CellKind.PACKET, packet, SIZE)
    assert feed(reader, data[:-1]) == []
    assert feed(reader, data[-1:]) == [Cell(CellKind.PACKET, packet)]


def test_a_body_that_does_not_fit_is_our_bug():
    with pytest.raises(ValueError, match="at most 40 bytes"):
        encode_cell(CellKind.PACKET, bytes(41), SIZE)
