from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerd.learning.dealing import Dealer, copies_of_each, deal, expected_parts, least_part
from peerd.learning.fragment import Parcel
from peerd.types import PeerId, RunSpec


def spec(**changes):
    return RunSpec(run_id="ab" * 16, task="synthetic", **changes)


@given(st.integers(1, 40), st.integers(1, 200), st.integers(1, 45), st.integers())
def test_every_item_goes_to_so_many_peers_and_every_peer_gets_as_many(peers, items, copies, seed):
    hands = deal(range(peers), range(items), copies, random.Random(seed))
    assert sorted(peer for peer, _ in hands) == list(range(peers))
    dealt = Counter(item for _, hand in hands for item in hand)
    assert set(dealt.values()) == {min(copies, peers)}
    assert len(dealt) == items
    least = least_part(items, peers, copies)
    for _, hand in hands:
        assert len(hand) == len(set(hand))
        assert least <= len(hand) <= least + (copies < peers)


def test_a_part_is_drawn_at_random():
    """Every fragment comes to a peer as often, whoever it is, and every pair of fragments, too."""
    rng, times = random.Random(1), 4000
    single: Counter[int] = Counter()
    pairs: Counter[tuple[int, int]] = Counter()
    for _ in range(times):
        hand = dict(deal("abcdef", range(12), 2, rng))["c"]
        single.update(hand)
        pairs.update((one, two) for one in hand for two in hand if one < two)
    assert len(single) == 12
    assert all(
        abs(count - times * 4 / 12) < 5 * (times * 4 / 12 * 8 / 12) ** 0.5 for count in single.values()
    )
    expected = times * (4 * 3) / (12 * 11)
    assert len(pairs) == 66
    assert all(abs(count - expected) < 5 * expected**0.5 for count in pairs.values())


@pytest.mark.parametrize(
    ("changes", "others", "copies"),
    [
        ({}, 5, 5),
        ({"dissemination": "random-k"}, 63, 4),
        ({"dissemination": "random-k", "fanout": 8}, 5, 5),
        ({"share": 0.25}, 20, 5),
        ({"share": 0.25}, 3, 1),
        ({"share": 0.25, "dissemination": "random-k"}, 8, 2),
    ],
)
def test_copies(changes, others, copies):
    assert copies_of_each(spec(**changes), others) == copies


def test_what_is_waited_for_comes_nearly_always():
    rng = random.Random(2)
    for peers, items, copies in ((5, 13, 2), (20, 25, 4), (63, 25, 4), (9, 3, 2)):
        enough = 0
        expected = expected_parts(items, peers, copies, peers)
        assert 0.7 * items * copies - 4 < expected <= items * copies
        for _ in range(400):
            hands = [dict(deal(range(peers), range(items), copies, rng)) for _ in range(peers)]
            enough += sum(len(hand[0]) for hand in hands) >= expected
        assert enough >= 0.95 * 400


@given(st.integers(0, 50), st.integers(1, 100), st.integers(0, 60), st.integers(0, 50))
def test_what_is_waited_for_can_come(others, items, copies, senders):
    expected = expected_parts(items, others, copies, senders)
    assert (expected > 0) == (senders > 0)
    most = items if copies >= others else -(-items * copies // others)
    assert expected <= max(senders * most, 1)


def test_nobody_to_deal_to():
    assert deal([], [1, 2], 3, random.Random(1)) == []
    assert copies_of_each(spec(), 0) == 0
    assert least_part(7, 0, 0) == 7


@pytest.mark.parametrize("encoding", ["top-k", "random-mask"])
@pytest.mark.parametrize("changes", [{"share": 0.5}, {"dissemination": "random-k"}])
def test_changes_need_one_model_that_they_are_from(encoding, changes):
    with pytest.raises(ValueError, match="every peer averages other fragments"):
        spec(encoding=encoding, **changes)


def parcels(indices):
    return [Parcel(bytes([index]), lambda: b"", index) for index in indices]


@given(
    st.integers(1, 12), st.integers(1, 40), st.integers(1, 14), st.lists(st.integers(0, 39)), st.integers()
)
def test_bit_by_bit_everybody_gets_what_is_dealt_at_once(peers, items, copies, cuts, seed):
    dealer = Dealer(random.Random(seed))
    names = [PeerId(bytes([number]) * 16) for number in range(peers)]
    order = random.Random(seed).sample(range(items), items)
    hands = {name: [] for name in names}
    for number in (1, 2):  # rounds
        hands = {name: [] for name in names}
        begin = 0
        for end in [*sorted(cut for cut in cuts if cut < items), items]:
            for name, hand in dealer.deal(number, names, parcels(order[begin:end]), items, copies):
                hands[name] += [parcel.index for parcel in hand]
            begin = end
        dealt = Counter(index for hand in hands.values() for index in hand)
        assert set(dealt.values()) == {min(copies, peers)} and len(dealt) == items
        least = least_part(items, peers, copies)
        assert all(least <= len(hand) <= least + (copies < peers) for hand in hands.values())
        assert all(len(hand) == len(set(hand)) for hand in hands.values())


def test_each_round_is_dealt_anew():
    names = [PeerId(bytes([number]) * 16) for number in range(6)]
    dealer = Dealer(random.Random(3))
    parts = [
        {
            name: frozenset(parcel.index for parcel in hand)
            for name, hand in dealer.deal(number, names, parcels(range(30)), 30, 2)
        }[names[0]]
        for number in range(1, 9)
    ]
    assert len(set(parts)) == 8


@given(st.integers(2, 12), st.integers(1, 40), st.integers(1, 11), st.integers(1, 5), st.integers())
def test_who_appears_again_and_again_gets_the_same_part(peers, items, copies, times, seed):
    """However often, and whether it was dealt to or has just come; what becomes final later, too."""
    copies = min(copies, peers - 1)
    dealer = Dealer(random.Random(seed))
    names = [PeerId(bytes([number]) * 16) for number in range(peers + 1)]
    newcomer, part = names.pop(), least_part(items, peers, copies)
    order = random.Random(seed).sample(range(items), items)
    early, late = order[: items // 2], order[items // 2 :]
    hands = {name: set() for name in (*names, newcomer)}

    def take(dealt):
        for name, hand in dealt:
            hands[name].update(parcel.index for parcel in hand)

    take(dealer.deal(1, names, parcels(early), items, copies))
    for _ in range(times):
        for name in (names[0], newcomer):
            take([(name, dealer.deal_in(1, name, parcels(early), part))])
    take(dealer.deal(1, names, parcels(late), items, copies))
    for name in (names[0], newcomer):
        take([(name, dealer.deal_in(1, name, parcels(range(items)), part))])
    assert len(hands[newcomer]) == part
    assert part <= len(hands[names[0]]) <= part + 1


def test_where_everybody_gets_all_who_appears_does_too():
    names = [PeerId(bytes([number]) * 16) for number in range(3)]
    dealer = Dealer(random.Random(1))
    dealer.deal(1, names, parcels(range(9)), 9, 3)
    assert len(dealer.deal_in(1, PeerId(b"x" * 16), parcels(range(9)), 9)) == 9
