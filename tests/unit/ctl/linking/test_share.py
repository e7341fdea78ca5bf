"""What a share is worth, on fragments of real learners: links are as good, what they reach is not.

Beside each margin stands what `measure` gave for the seeds 1 to 20.
"""

from __future__ import annotations

import pytest

from ctl.defaults import make_spec
from ctl.linking.figures import Figures, figures
from ctl.linking.learners import Learners
from ctl.linking.play import Play
from ctl.linking.run import payload_of

PEERS, ROUNDS, SHADOWS, SEED = 9, 3, 12, 1
WHOLE, QUARTER = 1.0, 0.25


def measure(seed: int, learners: Learners) -> dict[float, Figures]:
    """Of two runs that differ in their share alone. Six fragments are an update, eight peers the others: of a
    quarter each gets one fragment or two."""
    found = {}
    for share in (WHOLE, QUARTER):
        spec = make_spec(
            "digits-cnn", run_id=32 * "0", seed=seed, rounds=ROUNDS, local_epochs=2, test_samples=10,
            partition="dirichlet", share=share,
        )  # fmt: skip
        played = Play(spec, PEERS, SHADOWS, payload_of(8192), learners).run()
        assert played.layout.fragments == 6
        found[share] = figures(played, seed)
    return found


@pytest.fixture(scope="module")
def measured() -> dict[float, Figures]:
    with Learners() as learners:
        return measure(SEED, learners)


def test_all_to_all_lets_a_recipient_put_whole_updates_together(measured: dict[float, Figures]) -> None:
    found = measured[WHOLE]
    assert found["held.update"] == found["held.most"] == 1.0
    assert found["assembled.update"] > 0.65 > 2.0 * found["drawn.update"]  # 0.78 to 1, drawn 0.26 to 0.28
    assert found["assembled.most"] == 1.0  # somebody's, of some round, is known whole
    assert found["attribution.update"] > 0.95  # who has a target's data has its update


def test_with_a_share_no_recipient_has_more_than_it_says(measured: dict[float, Figures]) -> None:
    found = measured[QUARTER]
    assert found["held.update"] == pytest.approx(QUARTER)
    assert found["held.most"] == pytest.approx(2 / 6)
    assert found["assembled.most"] <= found["held.most"] + 1e-9
    assert found["assembled.update"] < 0.27  # 0.23 to 0.24: little more than the fragment that was begun with
    assert found["attribution.update"] < 0.3  # 0.21 to 0.27


def test_it_is_another_part_each_round(measured: dict[float, Figures]) -> None:
    """Of two rounds a recipient has the same fragment of one sender in a quarter of the cases, not always."""
    found = measured[QUARTER]
    assert found["held.ever"] > 0.5  # 1 - 0.75^3 = 0.58, 0.54 to 0.61; were it always the same: 0.25
    assert found["across.right"] < 0.4  # 0.19 to 0.34


def test_single_links_are_no_harder(measured: dict[float, Figures]) -> None:
    """What the documentation says: a share bounds what links reach, it does not hide whose a fragment is."""
    for found in measured.values():
        assert found["across.if_there"] > 0.85 > found["across.chance"]  # 0.9 to 1
        assert found["attribution.if_there"] > 0.85  # 0.89 to 1
        assert found["shadows.if_there"] > found["shadows.chance"] + 0.15  # 0.69 to 0.92; 0.13, 0.43 to 0.48
    assert measured[WHOLE]["shadows.if_there"] > 0.6
