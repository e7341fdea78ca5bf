"""One row of the experiment: everything that the adversaries find out about one run that was watched.

Here, and only here, truth and adversary meet: the adversaries are given what they see, the scores the truth.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Any

import numpy as np

from ctl.experiment.adversaries import Setting, Tracing, candidates, normalised
from ctl.experiment.counting import counting, echo
from ctl.experiment.kernels import Timing
from ctl.experiment.observation import NOWHERE, CorruptView, Floats, Ints, Observation
from ctl.experiment.scores import linked, score
from ctl.experiment.workload import Watched
from peerd.config import MixingConfig
from peerd.errors import InvalidInputError
from peerd.mix import end_to_end_bits


@dataclass(frozen=True)
class Attack:
    peers: int
    corrupt: float
    """Share of the mix nodes that the second adversary owns."""
    seed: int
    timing: Timing

    @property
    def corrupt_nodes(self) -> tuple[int, ...]:
        """Drawn from the seed; at least one of a share above 0."""
        count = max(round(self.corrupt * self.peers), 1) if self.corrupt > 0.0 else 0
        return tuple(sorted(random.Random(self.seed).sample(range(self.peers), count)))  # noqa: S311


def check_peers(peers: int, hops: int, corrupt: float) -> None:
    """InvalidInputError where there is nothing to guess, or no path."""
    if hops > peers - 2:
        raise InvalidInputError(
            f"--hops: {hops} mix nodes between two peers need at least {hops + 2} peers, not {peers}"
        )
    if round(corrupt * peers) > peers - 3:
        raise InvalidInputError(
            f"--corrupt: {corrupt:g} of {peers} peers leaves fewer than 3 honest: nobody to hide among"
        )


def run_row(mixing: MixingConfig, watched: Watched, attack: Attack) -> dict[str, Any]:
    """All figures of one row. InvalidInputError where no fragment was delivered."""
    seen, truth = watched.seen, watched.truth
    last = truth.challenges()
    if not len(last):
        raise InvalidInputError("no fragment was delivered while watched: nothing to guess; more --rounds")
    sender, recipient = truth.sender[last], seen.dst[last]
    setting = Setting(mixing, attack.timing, watched.messages)
    answer = truth.answer[last]  # its own acknowledgements a recipient knows
    tracing = Tracing(seen, setting)
    alone = tracing.backward(last)
    both = tracing.both_ways(last, answer)
    simple = score(counting(seen, setting, last), sender).data()
    returns = score(echo(seen, setting, last), sender).data()
    latency = seen.arrived_at[last] - seen.sent_at[truth.origin[last]]
    hops, meter = setting.hops, watched.meter_bits
    traced, one_way = score(both, sender).data(), score(alone, sender).data()
    tried = {"tracing": traced, "message_only": one_way, "counting": simple, "echo": returns}
    best = max(tried, key=lambda name: float(tried[name]["guess_rate"]))
    return {
        **traced,
        "strongest": {"adversary": best, "guess_rate": tried[best]["guess_rate"]},
        "meter_bits": end_to_end_bits(meter, hops, unexcluded(attack.peers, hops)),
        "meter_bits_per_hop": meter,
        "message_only": one_way,
        "counting": simple,
        "echo": returns,
        "corrupt": _corrupt(watched, setting, attack, last),
        "linked": linked(both, sender, recipient, attack.seed),
        "linked_exclusion": linked(
            exclusion(seen, last, truth.answer[last], hops), sender, recipient, attack.seed
        ),
        "latency_median_seconds": float(np.median(latency)),
        "cells": seen.cells,
        "cells_per_peer_second": seen.cells / attack.peers / max(watched.seconds, 1e-9),
        "watched_seconds": watched.seconds,
    }


def unexcluded(peers: int, hops: int) -> int:
    """Senders among whom a message can hide at best: not the recipient, and of what a recipient sees not
    the last mix node of the message, nor the first of its acknowledgement."""
    return max(peers - (3 if hops else 1), 1)


def exclusion(seen: Observation, last: Ints, answer: Ints, hops: int) -> Floats:
    """Posteriors (n, peers) of who looks at no clock: the sender is neither the recipient nor on the path,
    of which a recipient knows the last mix node there and the first back. `answer` as in `both_ways`."""
    possible = candidates(seen, last)
    if hops:
        possible[np.arange(len(last)), seen.src[last]] = 0.0
        told = np.flatnonzero(answer != NOWHERE)
        possible[told, seen.dst[answer[told]]] = 0.0
    return normalised(possible, candidates(seen, last))


def _corrupt(watched: Watched, setting: Setting, attack: Attack, last: Ints) -> dict[str, Any] | None:
    """The second adversary, on messages between honest peers."""
    nodes = attack.corrupt_nodes
    if not nodes:
        return None
    seen, truth = watched.seen, watched.truth
    view = CorruptView.of(seen, truth, nodes)
    honest = last[~view.corrupt[truth.sender[last]] & ~view.corrupt[seen.dst[last]]]
    found = Tracing(seen, setting, view).both_ways(honest, truth.answer[honest])
    others = attack.peers - 1 - len(nodes)
    return {
        **score(found, truth.sender[honest]).data(),
        "nodes": len(nodes),
        "chance": 1.0 / others,
        "ideal_bits": math.log2(others),
    }
