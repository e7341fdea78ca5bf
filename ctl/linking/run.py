"""All rows and seeds, one after the other, with progress."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.text import Text

from ctl.linking.figures import Figures, figures, over_seeds
from ctl.linking.learners import Learners
from ctl.linking.play import Play
from ctl.linking.rows import Frame, Row
from ctl.watch import View
from peerd.delivery import MessageCodec
from peerd.errors import InvalidInputError
from peerd.sphinx import Geometry


@dataclass(frozen=True)
class Found:
    row: Row
    fragments: int
    """Of an update."""
    seeds: list[Figures]

    @property
    def figures(self) -> dict[str, dict[str, Any]]:
        return over_seeds(self.seeds)


def payload_of(body_bytes: int) -> int:
    """Bytes of payload in a packet with such a body, as `network create` makes it by default.
    InvalidInputError."""
    try:
        return MessageCodec(Geometry(body_bytes=body_bytes)).payload_bytes
    except ValueError as error:
        raise InvalidInputError(f"--body-bytes: {error}") from None


def run(frame: Frame, rows: Sequence[Row], task_path: str, shown: View) -> list[Found]:
    payload = payload_of(frame.body_bytes)
    found: list[Found] = []
    with Learners(task_path) as learners:
        for number, row in enumerate(rows, 1):
            label = f"[{number}/{len(rows)}] {row.partition} {row.sent}"
            begun, seeds, fragments = time.monotonic(), [], 0
            for seed in range(frame.seed, frame.seed + frame.seeds):

                def say(text: str, label: str = f"{label}, seed {seed}") -> None:
                    shown.draw(lambda: Text(f"{label}: {text} ..."))

                played = Play(row.spec(frame, seed), frame.peers, frame.shadows, payload, learners, say).run()
                say("linking fragments")
                fragments = played.layout.fragments
                seeds.append(figures(played, seed))
            found.append(Found(row, fragments, seeds))
            shown.lines([f"{label}: {_short(found[-1])}, {time.monotonic() - begun:.0f} s"])
    shown.draw(None)
    return found


def _short(found: Found) -> str:
    known = found.figures
    held, together = known["held.update"]["mean"], known["assembled.update"]["mean"]
    return f"holds {held:.2f} of an update, puts together {together:.2f}"
