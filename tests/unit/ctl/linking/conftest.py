"""Hauls of our own making, whose truth is known by construction."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from ctl.linking.haul import Caught, Haul
from peerd.learning import Layout

VALUES = 50
"""Of a fragment."""


def make_haul(
    senders: int, indices: int, rounds: int, *, part: float = 1.0, alike: float = 1.0, seed: int = 1
) -> Caught:
    """Every fragment is noise and `alike` times a direction of its sender's own. The shadows are those
    directions; the references, too. `part`: each fragment comes with that chance."""
    rng = np.random.default_rng(seed)
    layout = Layout(indices * VALUES, VALUES)
    haul = Haul(layout, senders)
    own = rng.normal(size=(senders, layout.parameters)).astype(np.float32)
    sender = []
    for round in range(1, rounds + 1):
        haul.bases[round] = np.zeros(layout.parameters, np.float32)
        haul.shadows[round] = list(own)
        haul.references |= {(round, one): own[one] for one in range(senders)}
        for index in range(indices):
            place, where = (round, index), layout.slice(index)
            haul.own[place] = rng.normal(size=VALUES).astype(np.float32)
            for one in rng.permutation(senders):
                if rng.random() < part:
                    noise = rng.normal(size=VALUES).astype(np.float32)
                    haul.places.append(place)
                    haul.values.append(noise + np.float32(alike) * own[one, where])
                    sender.append(int(one))
    return Caught(haul, np.array(sender, np.int64))


@pytest.fixture(scope="session")
def hauled() -> Callable[..., Caught]:
    return make_haul
