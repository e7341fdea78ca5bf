"""A member of the network whose owner has turned against it: with its own good certificate it connects to a
running daemon and tells it everything that gossip should not.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import time

import psutil
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ctl.client import Client
from ctl.testbed import Testbed
from peerd.config import parse_address
from peerd.link import encode_gossip, gossip_bytes
from peerd.membership import (
    PeerState,
    certificate_record,
    certificates,
    client_ssl_context,
    descriptor_record,
)
from peerd.membership.descriptor import sign_descriptor
from peerd.membership.messages import encode_records, encode_summary, encode_wanted
from peerd.membership.records import sign_revocation
from peerd.sphinx import Geometry

pytestmark = pytest.mark.quiet

FAKES = 10_000
MOST_GROWTH_BYTES = 48 << 20
MOST_CPU_SHARE = 0.6
"""Of one core, while a member sends what its link lets through."""
SECONDS = 6.0


def fakes(count: int) -> list[bytes]:
    """Descriptors of peers that nobody has enrolled."""
    return [
        descriptor_record(
            sign_descriptor(
                Ed25519PrivateKey.generate(), f"fake{number}", ("192.0.2.1:1",), version=int(time.time())
            )
        )
        for number in range(count)
    ]


def forged(villain: PeerState, victim: bytes) -> list[bytes]:
    """By a CA of the villain's own that bears the network's name."""
    key = certificates.new_key()
    ca = certificates.make_ca(villain.network.name, key)
    described = sign_descriptor(Ed25519PrivateKey.generate(), "forged", ("192.0.2.1:1",))
    link = certificates.link_certificate(described, certificates.new_key().public_key(), ca, key)
    return [
        certificate_record(link),
        sign_revocation(villain.network.name, victim, "an honest peer", time.time(), key),
    ]


def untimely(villain: PeerState) -> list[bytes]:
    """Its own descriptor: of the far future, and of long ago, which was replaced since."""
    versions = (int(time.time()) + 10 * 86_400, 1)
    return [descriptor_record(villain.identity.describe((), version)) for version in versions]


def cells(villain: PeerState, victim: bytes, rng: random.Random):
    """(what, gossip) without an end. Each time through it begins anew, which is replay."""
    room = gossip_bytes(geometry(villain).packet_bytes)
    strangers = encode_records(fakes(FAKES), room, FAKES)
    others = [
        *(("garbage", rng.randbytes(rng.randrange(1, room))) for _ in range(50)),
        *(("records of nonsense", b"\x22" + bytes([200, 1]) + rng.randbytes(200)) for _ in range(50)),
        *(("forged", cell) for cell in encode_records(forged(villain, victim), room, 8)),
        *(("untimely", cell) for cell in encode_records(untimely(villain), room, 8)),
        ("a clock of the far future", encode_summary(bytes(16), time.time() + 1e9)),
        ("a summary of what nobody has", encode_summary(rng.randbytes(16), time.time())),
        *(("questions", cell) for cell in encode_wanted([rng.randbytes(17) for _ in range(500)], room)),
    ]
    while True:
        yield from others
        yield from (("fakes", cell) for cell in strangers)


def geometry(state: PeerState) -> Geometry:
    return Geometry(state.network.max_hops, state.network.body_bytes)


async def talk(villain: PeerState, victim: PeerState, address: str, seconds: float, alive) -> set[str]:
    """What was sent. A connection that the other side ends is made anew."""
    size = geometry(villain).packet_bytes
    context = client_ssl_context(villain)
    stream = cells(villain, victim.peer_id, random.Random(7))
    sent: set[str] = set()
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection(
                *parse_address(address, "address"), ssl=context, server_hostname=""
            )
            answers = asyncio.create_task(_swallow(reader))
            while time.monotonic() < ends and not answers.done():
                what, gossip = next(stream)
                sent.add(what)
                writer.write(encode_gossip(gossip, size))
                async with asyncio.timeout(10):
                    await writer.drain()
                await asyncio.sleep(0.002)
            writer.close()
            await answers
        await alive()
    return sent


async def _swallow(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(OSError):
        while await reader.read(1 << 16):
            pass


@pytest.mark.timeout(180)
def test_a_hostile_member_is_refused_counted_and_cheap(testbed, programs, until):
    testbed.up(4, "--hops", "2")
    pids = testbed.pids()
    names = list(pids)
    victim, bad = names[0], names[-1]
    honest = names[:-1]
    programs.ok("peerctl", "testbed", "kill", "--dir", testbed.folder, bad)
    until(lambda: all(testbed.call(name, Client.status).peers_alive == 2 for name in honest))
    state = {name: PeerState.load(testbed.folder / "peers" / name) for name in (victim, bad)}
    process = psutil.Process(pids[victim])
    before, cpu = process.memory_info().rss, sum(process.cpu_times()[:2])
    address = state[victim].identity.descriptor.address
    endpoint = next(e for e in Testbed.load(testbed.folder).endpoints if e.name == victim)

    async def scenario() -> set[str]:
        async with Client(endpoint, 10.0) as client:

            async def alive() -> None:
                assert (await client.status()).peers_alive >= 2

            return await talk(state[bad], state[victim], address, SECONDS, alive)

    began = time.monotonic()
    sent = asyncio.run(scenario())
    spent = sum(process.cpu_times()[:2]) - cpu
    assert sent >= {"garbage", "forged", "untimely", "fakes", "questions", "a clock of the far future"}
    assert process.memory_info().rss - before < MOST_GROWTH_BYTES
    assert spent < MOST_CPU_SHARE * (time.monotonic() - began)

    traffic = testbed.call(victim, Client.status).traffic
    assert traffic.dropped["gossip_flood"] > 0
    assert traffic.dropped["bad_gossip"] > 0
    # Nothing of it was believed, here or elsewhere, and nobody honest was lost over it.
    for name in honest:
        rows = testbed.call(name, Client.peers)
        assert {row.name for row in rows} == set(names) - {name}
        assert {row.state for row in rows if row.name in honest} == {"alive"}
    assert testbed.call(victim, Client.status).peers_alive >= 2
    os.kill(pids[victim], 0)
