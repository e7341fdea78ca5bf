"""A tiny run that one can check by hand: 10 parameters in fragments of 4, 4 and 2."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from peerd.learning import Fragment, Layout
from peerd.types import RunSpec

RUN_ID = "00000000000000070000000000000000"


@pytest.fixture(scope="session")
def layout() -> Layout:
    return Layout(parameters=10, fragment_values=4)


@pytest.fixture(scope="session")
def make_spec() -> Callable[..., RunSpec]:
    def make(**changes: Any) -> RunSpec:
        defaults: dict[str, Any] = {"run_id": RUN_ID, "task": "digits-cnn", "rounds": 3}
        return RunSpec(**defaults | changes)

    return make


@pytest.fixture(scope="session")
def make_fragment(layout: Layout) -> Callable[..., Fragment]:
    """A good fragment of round 1, all of its values the same, unless told otherwise."""

    def make(index: int, value: float = 1.0, round: int = 1, run: int = 7) -> Fragment:
        span = layout.slice(index)
        return Fragment(run, round, index, np.full(span.stop - span.start, value, np.float32).tobytes())

    return make
