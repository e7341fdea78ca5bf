from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from peerd.delivery import PathSelector
from peerd.types import PeerId


class Roster:
    def __init__(self, count, unknown=()):
        self.peers = [PeerId(bytes([i]) * 16) for i in range(1, count + 1)]
        self.unknown = set(unknown)

    def alive(self):
        return self.peers

    def enrolled(self, peer):
        return peer in self.peers

    def mix_key(self, peer):
        return None if peer in self.unknown else bytes(32)


ME = PeerId(bytes(16))


@given(st.integers(1, 12), st.integers(1, 6), st.integers(0, 2**32))
def test_fixed_length_distinct_and_never_an_end(count, hops, seed):
    roster = Roster(count)
    to = roster.peers[0]
    selector = PathSelector(roster, random.Random(seed))
    for sender, recipient in ((ME, to), (to, ME)):
        path = selector.draw(sender, recipient, hops, 0.05)
        if count - 1 < hops:
            assert path is None
            continue
        nodes = [hop.peer for hop in path[:-1]]
        assert len(set(nodes)) == len(nodes) == hops
        assert not {ME, to} & set(nodes)
        assert path[-1].peer == recipient
        assert path[-1].delay == 0.0


def test_a_loop_passes_others_and_comes_back():
    path = PathSelector(Roster(3), random.Random(1)).draw(ME, ME, 3, 0.05)
    assert [hop.peer for hop in path][-1] == ME
    assert ME not in [hop.peer for hop in path[:-1]]


def test_a_peer_without_a_key_is_never_on_a_path():
    roster = Roster(4)
    roster.unknown = {roster.peers[0]}
    assert PathSelector(roster, random.Random(1)).draw(ME, roster.peers[0], 3, 0.05) is None


def test_every_mix_node_is_drawn_equally_often():
    roster = Roster(7)
    selector = PathSelector(roster, random.Random(7))
    counts = dict.fromkeys(roster.peers[1:], 0)
    for _ in range(4000):
        for hop in selector.draw(ME, roster.peers[0], 3, 0.05)[:-1]:
            counts[hop.peer] += 1
    expected = 4000 * 3 / 6
    chi_square = sum((c - expected) ** 2 / expected for c in counts.values())
    assert chi_square < 20.5  # 5 degrees of freedom, p = 0.001
