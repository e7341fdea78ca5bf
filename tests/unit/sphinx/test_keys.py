from __future__ import annotations

import pytest

from peerd.sphinx import MixKey, is_public_mix_key


def test_a_key_comes_back_from_its_private_half():
    key = MixKey.generate()
    again = MixKey.from_private(key.private)
    assert again == key
    assert (len(key.private), len(key.public)) == (32, 32)
    assert MixKey.generate() != key


def test_the_public_half_is_rfc_7748_s():
    """RFC 7748, 5.2: the iterated vector after one iteration."""
    key = MixKey.from_private((9).to_bytes(32, "little"))
    assert key.public.hex() == "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079"


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_private_half_of_a_wrong_size_is_refused(size):
    with pytest.raises(ValueError, match="32 bytes"):
        MixKey.from_private(bytes(size))


def test_repr_hides_the_secret():
    key = MixKey.generate()
    for text in (repr(key), str(key), f"{key}"):
        assert repr(key.private) not in text
        assert key.private.hex() not in text
        assert "private" not in text.lower()


def test_only_usable_points_are_public_mix_keys():
    assert is_public_mix_key(MixKey.generate().public)
    assert not is_public_mix_key(bytes(32))
    assert not is_public_mix_key(b"short")
