"""What must be true after a schedule: nothing was counted twice, nothing was lost without a word, and those
who are left agree and have come to the end.

A failing seed prints its schedule, and how to see it again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np

from peerd.sim.learner import SimRun
from peerd.types import DropReason, PeerId
from plays.churn import AGREED_SECONDS, ENDS, QUIET_SECONDS, REPLAYED, RUN_SECONDS, Play, check_revoked


def disagreements(play: Play) -> list[str]:
    """What those who are left do not see alike."""
    daemons = play.survivors()
    living = {daemon.peer_id for daemon in daemons}
    found = [] if len(living) == len(daemons) else ["two instances of one peer go on"]
    if len({daemon.members.roster.summary() for daemon in daemons}) != 1:
        found.append("other records")
    left: Counter[PeerId] = Counter()
    for daemon in daemons:
        view = daemon.view
        others = living - {daemon.peer_id}
        if set(view.alive()) != others or set(daemon.links.neighbours) != others:
            found.append(f"{daemon.place} sees others alive")
        left.update(peer for peer in view.peers() if view.state(peer)[0] == "left")
    if not set(left.values()) <= {len(living)}:
        found.append("others have left")
    return found


def check_agreement(play: Play) -> None:
    play.net.run(AGREED_SECONDS, until=lambda: not disagreements(play))
    assert disagreements(play) == []


def check_memory(play: Play) -> None:
    """Nothing grows with what has happened: only with who there is."""
    hosts = len(play.net.hosts)
    for daemon in play.survivors():
        sender = daemon.mixnet.delivery._sender
        for name in ("_queue", "_again", "_open", "_unsettled", "_surbs", "_timers"):
            assert not getattr(sender, name), (daemon.place, name)
        assert daemon.mixnet.inbox_depth == 0
        assert daemon.mixnet.mix_depth <= hosts  # gossip
        assert len(daemon.members.roster) <= 3 * hosts + 2
        gossip = daemon.members.gossip
        assert len(gossip._neighbours) <= hosts
        assert len(gossip._early) <= 64
        assert all(len(known.refused) <= 64 for known in gossip._neighbours.values())
        assert len(daemon.view._entries) <= hosts
        assert not daemon.view._timed
        assert len(daemon.links._dials) <= hosts
        assert len(list(daemon.host.keys.keyring)) <= 3
        run = daemon.participation.run
        if run is not None and run.rounds is not None:
            assert len(run.rounds._collected.rounds) <= 4


def check_models(play: Play) -> None:
    """Each is the mean of exactly those fragments that the recipient has taken in for its round."""
    for daemon in play.net.lives:
        if play.spec.stale == "use" or daemon.dropped_counts[DropReason.ROUND_AHEAD]:
            continue  # those of other rounds are in it, or some of this round were thrown away
        for run in daemon.runs:
            taken = play.net.ledger.averaged(run.collection)
            for number, model in run.models.items():
                result = next(r for r in run.rounds.status.results if r.round == number)
                own = [] if result.listened else [run.updates[number]]
                for index in range(run.layout.fragments):
                    where = run.layout.slice(index)
                    parts = [
                        np.frombuffer(taken[place], "<f4")
                        for place in taken
                        if (place.round, place.index) == (number, index)
                    ]
                    parts += [update[where] for update in own]
                    if parts:
                        np.testing.assert_allclose(model[where], np.mean(parts, axis=0), atol=1e-5)


def check_deltas(play: Play) -> None:
    """Each is the median of what is known of the base, and the mean of those deltas that were taken in."""
    for daemon in play.net.lives:
        if play.spec.stale == "use" or daemon.dropped_counts[DropReason.ROUND_AHEAD]:
            continue
        for run in daemon.runs:
            _check_deltas(play, run)


def _check_deltas(play: Play, run: SimRun) -> None:
    spec, slices, ledger = play.spec, run.slices, play.net.ledger
    base = np.zeros(slices.parameters, np.float32) if run.initial is None else run.initial
    known, before = np.full(slices.fragments, not run.listening), run.start_round - 1
    results = {result.round: result for result in run.rounds.status.results} if run.rounds else {}
    for number, result in sorted(results.items()):
        got, last = ledger.slices(run.collection, number), ledger.slices(run.collection, number + 1)
        if number != before + 1:
            known[:] = False
        elif not result.listened:
            known[:] = True  # who trains knows it, or is alone
        change = mean_change(play, run, number, listened=result.listened)
        for index in range(slices.fragments):
            where = slices.slice(index)
            rows = [np.frombuffer(data, "<f4") for data in got.get(index, [])]
            expected = np.median([*rows, base[where]] if known[index] else rows or [base[where]], axis=0)
            expected = expected + change[where]
            if result.listened and number == spec.rounds and len(last) == slices.fragments:
                expected = np.median([np.frombuffer(data, "<f4") for data in last[index]], axis=0)
            np.testing.assert_allclose(run.models[number][where], expected, atol=1e-4)
            known[index] |= bool(rows)
        base, before = run.models[number], number


def mean_change(play: Play, run: SimRun, number: int, *, listened: bool) -> np.ndarray:
    """Of what a run has taken in for a round, and its own."""
    taken, change = play.net.ledger.averaged(run.collection), np.zeros(run.layout.parameters)
    for index in range(run.layout.fragments):
        where = run.layout.slice(index)
        width = where.stop - where.start
        parts = [
            run.encoding.decode(data, width)
            for place, data in taken.items()
            if (place.round, place.index) == (number, index)
        ]
        parts += [] if listened else [run.sent[number].values(index)]
        change[where] = np.mean(parts, axis=0) if parts else 0.0
    return change


def check_fragments(play: Play) -> None:
    ledger = play.net.ledger
    assert ledger.faults == []
    for daemon in play.survivors():
        assert ledger.open(daemon.life) == 0, f"{daemon.place} has forgotten messages"


def replay(play: Play) -> None:
    """Old gossip brings nobody back."""
    net, rng = play.net, play.rng
    for cell in rng.sample(play.cells, min(REPLAYED, len(play.cells))):
        teller, told = rng.sample([daemon.place for daemon in play.survivors()], 2)
        net.gossip(teller, told, cell)
    net.run(3.0)


def check(play: Play, models: Callable[[Play], None], again: str) -> None:
    """Play it and judge. `again`: the test, should it fail."""
    try:
        net = play.net
        net.run(ENDS + 8.0)
        net.run(RUN_SECONDS, until=play.ended)
        assert play.ended(), "somebody waits for ever"
        net.run(QUIET_SECONDS)
        check_fragments(play)
        models(play)
        check_agreement(play)
        check_memory(play)
        replay(play)
        for victim in play.revoked:
            check_revoked(play, victim, play.survivors())
        check_agreement(play)
    except BaseException:
        print("\n".join([*play.log, f'pytest -m "soak or not soak" {again}']))
        raise
