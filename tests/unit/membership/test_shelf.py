from __future__ import annotations

import hashlib

from hypothesis import given, settings
from hypothesis import strategies as st

from peerd.membership.records import Kind, Record, key_of
from peerd.membership.shelf import RECENT, Shelf

STEPS = st.lists(
    st.tuples(st.sampled_from(list(Kind)), st.integers(0, 5), st.integers(0, 2**64 - 1) | st.none()),
    max_size=60,
)


def record(kind, number, version):
    return Record(kind, key_of(kind, number.to_bytes(16, "big")), version, b"", None)


@settings(deadline=None)
@given(STEPS)
def test_like_a_sorted_dictionary(steps):
    shelf, model, came = Shelf(), {}, []
    for kind, number, version in steps:
        key = key_of(kind, number.to_bytes(16, "big"))
        if version is None:
            assert shelf.pop(key) == model.pop(key, None)
            continue
        model[key] = record(kind, number, version)
        shelf.put(model[key])
        came.append(key)
    keys = sorted(model)
    assert len(shelf) == len(model)
    assert shelf.all() == [model[key] for key in keys]
    assert shelf.versions(b"", b"") == [(key, model[key].version) for key in keys]
    for kind in Kind:
        assert shelf.of(kind) == [model[key] for key in keys if key[0] == kind]
        assert shelf.count(kind) == len(shelf.of(kind))
    for bound in [key_of(kind, number.to_bytes(16, "big")) for kind in Kind for number in (0, 3)]:
        assert shelf.versions(b"", bound) + shelf.versions(bound, b"") == shelf.versions(b"", b"")
        assert all(key < bound for key, _ in shelf.versions(b"", bound))
        assert (bound in shelf) == (bound in model)
        assert shelf.get(bound) == model.get(bound)
    assert shelf.recent() == list(reversed(came))[:RECENT]


def test_the_summary_is_of_all_keys_and_versions():
    shelf = Shelf()
    assert shelf.summary() == hashlib.sha256().digest()[:16]
    first, second = record(Kind.RUN, 1, 7), record(Kind.CERTIFICATE, 2, 9)
    shelf.put(first)
    shelf.put(second)
    said = second.key + first.key + (9).to_bytes(8, "big") + (7).to_bytes(8, "big")
    assert shelf.summary() == hashlib.sha256(said).digest()[:16]


@settings(deadline=None)
@given(STEPS, st.randoms(use_true_random=False))
def test_the_summary_tells_whether_two_know_the_same(steps, order):
    shelf, other = Shelf(), Shelf()
    for kind, number, version in steps:
        shelf.put(record(kind, number, version or 0))
        assert shelf.summary() != other.summary() or len(shelf) == 0
    known = shelf.all()
    order.shuffle(known)
    for one in known:
        other.put(one)
    assert other.summary() == shelf.summary()
    if known:
        other.pop(known[0].key)
        assert other.summary() != shelf.summary()
