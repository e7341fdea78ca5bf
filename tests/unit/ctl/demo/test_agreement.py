from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ctl.demo import Agreement, read_agreement
from ctl.demo.agreement import compare, read_model
from peerd.errors import PeerdError, UnavailableError

RUN = "ab" * 16
floats = st.floats(-1e6, 1e6, width=32)


def save(state: Path, vector: Any, round_number: int = 5, **changes: Any) -> Path:
    folder = state / "run"
    folder.mkdir(parents=True, exist_ok=True)
    data = np.asarray(vector, dtype="<f4").tobytes()
    (folder / "model-1.f32").write_bytes(data)
    record = {
        "spec": {"run_id": RUN, "task": "digits-cnn", "rounds": 5},
        "round": round_number,
        "parameters": len(data) // 4,
        "sha256": hashlib.sha256(data).hexdigest(),
        "file": "model-1.f32",
    }
    (folder / "run.json").write_text(json.dumps(record | changes))
    return folder


def test_the_daemons_own_checkpoint_is_read(tmp_path: Path) -> None:
    from peerd.store import Checkpoint
    from peerd.types import RunSpec

    vector = np.arange(7, dtype=np.float32)
    spec = RunSpec(run_id=RUN, task="digits-cnn")
    Checkpoint(tmp_path / "run").save(spec, 3, vector, shard=0, shards=1, announced=False, finished=False)
    read = read_model(tmp_path / "run", RUN, 3)
    assert read is not None
    assert read.tobytes() == vector.tobytes()


def test_what_is_not_that_rounds_model_is_not_taken(tmp_path: Path) -> None:
    assert read_model(tmp_path / "run", RUN, 5) is None
    folder = save(tmp_path, [1.0, 2.0])
    assert read_model(folder, RUN, 5) is not None
    assert read_model(folder, RUN, 4) is None
    assert read_model(folder, "cd" * 16, 5) is None
    for changes in ({"sha256": "00" * 32}, {"parameters": 3}, {"file": "other.f32"}, {"round": "x"}):
        assert read_model(save(tmp_path, [1.0, 2.0], **changes), RUN, 5) is None
    (folder / "run.json").write_bytes(b"\xff{")
    assert read_model(folder, RUN, 5) is None


def test_a_record_cannot_name_a_file_elsewhere(tmp_path: Path) -> None:
    folder = save(tmp_path, [1.0])
    (tmp_path / "model-1.f32").write_bytes((folder / "model-1.f32").read_bytes())
    (folder / "model-1.f32").unlink()
    save_record = json.loads((folder / "run.json").read_text()) | {"file": "../model-1.f32"}
    (folder / "run.json").write_text(json.dumps(save_record))
    assert read_model(folder, RUN, 5) is None


@given(st.lists(arrays(np.float32, 6, elements=floats), min_size=1, max_size=4))
def test_the_difference_is_the_largest_of_any_pair(vectors: list[Any]) -> None:
    found = compare(vectors)
    pairs = [np.max(np.abs(a.astype(np.float64) - b.astype(np.float64))) for a in vectors for b in vectors]
    assert found.max_difference == max(pairs)
    assert found.identical == all(v.tobytes() == vectors[0].tobytes() for v in vectors)


def test_nan_never_agrees_and_sizes_must() -> None:
    nan = np.array([1.0, math.nan], dtype=np.float32)
    assert math.isnan(compare([nan, np.array([1.0, 2.0], dtype=np.float32)]).max_difference)
    with pytest.raises(PeerdError, match="differ in size"):
        compare([nan, nan[:1]])


async def test_peers_are_waited_for_but_not_for_ever(tmp_path: Path) -> None:
    folders = {name: tmp_path / name for name in ("alice", "bob")}
    for folder, value in zip(folders.values(), (1.0, 1.25), strict=True):
        save(folder, [value, 2.0])
    assert await read_agreement(folders, RUN, 5, 5.0) == Agreement(0.25, identical=False)
    with pytest.raises(UnavailableError, match="alice has left no model of round 6"):
        await read_agreement(folders, RUN, 6, 0.15)
