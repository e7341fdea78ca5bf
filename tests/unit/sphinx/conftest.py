"""What the sphinx tests share: seeded randomness, paths, and stock sphinxmix made comparable."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest import mock

import pytest
from sphinxmix import SphinxClient
from sphinxmix.SphinxParams import SphinxParams

from peerd.sphinx import Geometry, Hop, MixKey
from peerd.sphinx.group import X25519
from peerd.types import PeerId

RandomBytes = Callable[[int], bytes]


class TapeGroup(X25519):
    """Draws its secrets from the test."""

    def __init__(self, randbytes: RandomBytes) -> None:
        self.gensecret = lambda: randbytes(32)


@pytest.fixture(scope="session")
def make_path() -> Callable[..., tuple[list[MixKey], list[Hop]]]:
    """(number of hops, seed) -> their keys and the path."""

    def make(hops: int, seed: int = 0) -> tuple[list[MixKey], list[Hop]]:
        rng = random.Random(seed)
        keys = [MixKey.from_private(rng.randbytes(32)) for _ in range(hops)]
        path = [Hop(PeerId(rng.randbytes(16)), key.public, rng.random()) for key in keys]
        return keys, path

    return make


@pytest.fixture(scope="session")
def stock_params() -> Callable[..., SphinxParams]:
    """sphinxmix's own parameters and petlib primitives; only the group is ours."""

    def make(beta_bytes: int, body_bytes: int) -> SphinxParams:
        return SphinxParams(group=X25519(), header_len=beta_bytes + 32, body_len=body_bytes)

    return make


@pytest.fixture(scope="session")
def stock_client() -> Callable[..., object]:
    """A context: stock sphinxmix draws from a seed and writes our compact final commands."""

    def compact(info: tuple) -> bytes:
        if info[0] == SphinxClient.Surb_flag:
            return b"\xf2" + info[2]
        assert info == (SphinxClient.Dest_flag,)
        return b"\xf1"

    @contextmanager
    def client(geometry: Geometry, seed: int) -> Iterator[SphinxParams]:
        draw = random.Random(seed).randbytes
        params = SphinxParams(
            group=TapeGroup(draw),
            header_len=geometry.beta_bytes + 32,
            body_len=geometry.body_bytes,
        )
        with (
            mock.patch.object(SphinxClient, "urandom", draw),
            mock.patch.object(SphinxClient, "Route_pack", compact),
        ):
            yield params

    return client
