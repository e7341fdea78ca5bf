"""IDX files as an enemy would write them."""

from __future__ import annotations

import gzip
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerd.errors import InvalidInputError
from peerd.training.idx import MAX_BYTES, read_idx


def idx(shape: tuple[int, ...], content: bytes, kind: int = 0x08) -> bytes:
    return struct.pack(f">BBBB{len(shape)}I", 0, 0, kind, len(shape), *shape) + content


IMAGES = idx((2, 3, 4), bytes(range(24)))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("idx") / "file"


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_reads_images_and_labels(path: Path, pack: type[bytes]) -> None:
    path.write_bytes(pack(IMAGES))
    images = read_idx(path, dims=3)
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(images, np.arange(24).reshape(2, 3, 4))
    path.write_bytes(pack(idx((3,), b"\x07\x00\x09")))
    assert read_idx(path, dims=1).tolist() == [7, 0, 9]


def test_the_real_files(path: Path) -> None:
    """The head of MNIST's published training labels."""
    path.write_bytes(b"\x00\x00\x08\x01\x00\x00\x00\x03" + b"\x05\x00\x04")
    assert read_idx(path, dims=1).tolist() == [5, 0, 4]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "ends after 0 of 16"),
        (IMAGES[:15], "ends after 15 of 16"),
        (IMAGES[:-1], "ends after 23 of 24"),
        (IMAGES + b"x", "goes on after its last byte"),
        (idx((24,), bytes(24)), "not an array of bytes with 3 dimensions"),
        (idx((2, 3, 4), bytes(96), kind=0x0D), "not an array of bytes"),
        (b"\x01" + IMAGES[1:], "not an array of bytes"),
        (idx((2**32 - 1, 2**32 - 1, 2**32 - 1), b""), f"{MAX_BYTES} are allowed"),
        (idx((MAX_BYTES // 784, 28, 28), b""), "ends after 0"),
        (gzip.compress(IMAGES, mtime=0)[:-9], "not a usable IDX file"),
        (gzip.compress(IMAGES, mtime=0)[:-8] + bytes(8), "not a usable IDX file"),
        (b"\x1f\x8b\x08\x00" + bytes(40), "not a usable IDX file"),
        (b"\x1f\x8bGARBAGE", "not a usable IDX file"),
        (b"<html>404</html>" + bytes(99), "not an array of bytes"),
    ],
)
def test_broken_files_are_one_clear_line(path: Path, data: bytes, reason: str) -> None:
    path.write_bytes(data)
    with pytest.raises(InvalidInputError, match=reason) as caught:
        read_idx(path, dims=3)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="nowhere"):
        read_idx(tmp_path / "nowhere", dims=1)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(idx((MAX_BYTES // 4, 2, 2), b"ab"), id="a header that lies"),
        pytest.param(gzip.compress(idx((10, 2, 2), bytes(2**26)), compresslevel=9), id="a gzip bomb"),
    ],
)
def test_memory_grows_only_with_content_that_was_promised_and_came(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    tracemalloc.start()
    try:
        with pytest.raises(InvalidInputError):
            read_idx(path, dims=3)
        assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    finally:
        tracemalloc.stop()


@given(st.binary(max_size=64), st.booleans(), st.sampled_from([1, 3]))
def test_any_bytes_are_read_or_refused(path: Path, data: bytes, zipped: bool, dims: int) -> None:
    path.write_bytes(gzip.compress(data, compresslevel=1) if zipped else data)
    try:
        assert read_idx(path, dims).ndim == dims
    except InvalidInputError as error:
        assert "\n" not in str(error)


@given(st.data())
def test_flipped_bits_are_survived(path: Path, data: st.DataObject) -> None:
    whole = bytearray(gzip.compress(IMAGES) if data.draw(st.booleans()) else IMAGES)
    whole[data.draw(st.integers(0, len(whole) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(whole)
    try:
        assert read_idx(path, dims=3).shape == (2, 3, 4)
    except InvalidInputError as error:
        assert "\n" not in str(error)
