from __future__ import annotations

import os

import msgspec
import numpy as np
import pytest

from peerd.trainerproto import (
    MAX_LINE,
    MAX_PARAMETERS,
    Begin,
    Failed,
    Train,
    Trained,
    Usage,
    check_memory,
    create_memory,
    decode_from_trainer,
    decode_to_trainer,
    encode,
    map_memory,
    read_update,
    size_memory,
    write_model,
)
from peerd.types import RunSpec

USAGE = Usage(cpu_seconds=1.5, rss_bytes=10)


def test_messages_are_single_lines_and_come_back() -> None:
    spec = RunSpec(run_id="0" * 32, task="digits-cnn", data_dir="with\nnewline")
    for request in (Begin(spec=spec, shard=1, shards=6, threads=2, nice=3), Train(round=4)):
        line = encode(request)
        assert line.count(b"\n") == 1 and line.endswith(b"\n") and len(line) < MAX_LINE
        assert decode_to_trainer(line) == request
    reply = Trained(loss=0.1, accuracy=0.5, samples=3, seconds=1.0, usage=USAGE)
    assert decode_from_trainer(encode(reply)) == reply
    priced = Trained(loss=0.1, accuracy=0.5, samples=3, seconds=1.0, epsilon=2.5, usage=USAGE)
    assert decode_from_trainer(encode(priced)) == priced
    assert decode_from_trainer(encode(Failed(reason="ö", usage=USAGE))).reason == "ö"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "line", [b"", b"{}\n", b"nonsense\n", b'{"type":"Train"}\n', b'{"type":"Train","round":1,"x":2}\n']
)
def test_nonsense_is_refused(line: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode_to_trainer(line)
    with pytest.raises(msgspec.DecodeError):
        decode_from_trainer(line)


def test_both_sides_see_the_same_memory() -> None:
    fd = create_memory()
    try:
        size_memory(fd, 5)
        check_memory(fd, 5)
        model, trained = map_memory(fd, 5)
        write_model(fd, np.arange(5, dtype=np.float32))
        assert model.tolist() == [0, 1, 2, 3, 4]
        trained[:] = [5, 6, 7, 8, 9]
        update = np.zeros(5, np.float32)
        read_update(fd, update, slice(1, 3))
        assert update.tolist() == [0, 6, 7, 0, 0]
        read_update(fd, update, slice(0, 5))
        assert update.tolist() == [5, 6, 7, 8, 9]
        os.ftruncate(fd, 5)
        with pytest.raises(OSError, match="too short"):
            read_update(fd, update, slice(0, 5))
    finally:
        os.close(fd)
    assert model.dtype == np.float32


@pytest.mark.parametrize("parameters", [0, -1, 4, 6, MAX_PARAMETERS + 1])
def test_memory_of_another_size_is_not_mapped(parameters: int) -> None:
    fd = create_memory()
    try:
        size_memory(fd, 5)
        with pytest.raises(ValueError, match="does not hold"):
            map_memory(fd, parameters)
        with pytest.raises(ValueError, match="does not hold"):
            check_memory(fd, parameters)
    finally:
        os.close(fd)


def test_memory_has_no_name_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where there is no memfd_create."""
    monkeypatch.delattr(os, "memfd_create")
    fd = create_memory()
    try:
        assert os.fstat(fd).st_nlink == 0
        size_memory(fd, 5)
        map_memory(fd, 5)[0][0] = 1.0
    finally:
        os.close(fd)
