from __future__ import annotations

import pytest

from peerd.sim import World


@pytest.fixture
def network() -> type[World]:
    return World
