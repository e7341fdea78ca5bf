"""What the parts of a hop cost, each by itself: the same functions that the daemon runs, in microseconds."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import uvloop
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from _relay.rig import enrol, link_table
from peerd.config import NetworkConfig
from peerd.link import CellKind, CellReader, LinkTable, encode_cell
from peerd.membership import PeerState
from peerd.mix import Queued
from peerd.mix.exponential import Exponential
from peerd.sphinx import Forward, Geometry, Hop, MixKey, ReplayFilter, unwrap, wrap
from peerd.store import ReplayLog
from peerd.types import PEER_ID_BYTES, PacketKind, PeerId

Batch = Callable[[], None]
TURN = 8
"""Packets that a relay takes at a time; so do the parts here."""
ROUNDS = 200
HELD = 8192
MEAN_DELAY_SECONDS = 0.02
LINK_CELLS = 6000
LINK_WARM_UP = 1000
REPEATS = 3


def floor() -> Batch:
    """Two bare multiplications for each of a turn's packets, as in `tests/bench/hop.py`."""
    private = X25519PrivateKey.generate()
    public = X25519PrivateKey.generate().public_key()

    def batch() -> None:
        for _ in range(TURN):
            private.exchange(public)
            private.exchange(public)

    return batch


def microseconds(batch: Batch) -> float:
    """Of one packet, in one batch of a turn's packets: CPU, as the hop that it is compared with, since by the
    wall clock it would seem the dearer the more others use the machine."""
    start = time.thread_time_ns()
    batch()
    return (time.thread_time_ns() - start) / 1e3 / TURN


def breakdown(body_bytes: int) -> dict[str, float]:
    """Medians, by part."""
    geometry = Geometry(body_bytes=body_bytes)
    with tempfile.TemporaryDirectory() as folder:
        log = ReplayLog.create(Path(folder) / "replay.log", bytes(32))
        jobs = {
            "cells": _cells(geometry),
            "unwrap": _unwrap(geometry),
            "replay": _replay(),
            "journal": _journal(log),
            "strategy": _strategy(),
        }
        samples: dict[str, list[float]] = {name: [] for name in jobs}
        for _ in range(ROUNDS):
            for name, job in jobs.items():
                samples[name].append(microseconds(job))
        log.close()
    medians = {name: statistics.median(spent) for name, spent in samples.items()}
    links = [link_microseconds(geometry) for _ in range(REPEATS)]
    sent, received = (statistics.median(costs) for costs in zip(*links, strict=True))
    return {"tls_in": received - medians["cells"], **medians, "tls_out": sent}


def _cells(geometry: Geometry) -> Batch:
    size = geometry.packet_bytes
    cell = encode_cell(CellKind.PACKET, os.urandom(size), size)
    reader = CellReader(size)
    # Filled once: it is TLS that copies what comes into the buffer.
    reader.space[:] = cell * (len(reader.space) // len(cell))

    def batch() -> None:
        left = TURN * len(cell)
        while left:
            count = min(len(reader.space), left)
            reader.wrote(count)
            left -= count

    return batch


def _unwrap(geometry: Geometry) -> Batch:
    keys = [MixKey.generate() for _ in range(2)]
    path = [Hop(PeerId(os.urandom(PEER_ID_BYTES)), key.public, MEAN_DELAY_SECONDS) for key in keys]
    packet = wrap(geometry, path, os.urandom(geometry.message_bytes))
    if not isinstance(unwrap(geometry, keys[0], packet), Forward):
        raise SystemExit("the benchmark's packet was not accepted")

    def batch() -> None:
        for _ in range(TURN):
            unwrap(geometry, keys[0], packet)

    return batch


def _replay() -> Batch:
    replay = ReplayFilter(1_000_000)
    tags = iter([os.urandom(16) for _ in range(TURN * (ROUNDS + 1))])

    def batch() -> None:
        for _ in range(TURN):
            replay.check_and_add(next(tags))

    return batch


def _journal(log: ReplayLog) -> Batch:
    tags = [os.urandom(16) for _ in range(TURN)]
    return lambda: log.append(tags)


def _strategy() -> Batch:
    """As many packets are held as a busy mix node holds."""
    mix = Exponential(HELD, MEAN_DELAY_SECONDS)
    packet, peer = os.urandom(16), PeerId(os.urandom(PEER_ID_BYTES))
    now = 0.0

    def batch() -> None:
        nonlocal now
        now += TURN * 1e-4
        for _ in range(TURN):
            mix.push(Queued(packet, peer, PacketKind.FORWARDED, MEAN_DELAY_SECONDS, None), now)
        mix.due(now)
        mix.next_deadline()

    return batch


def link_microseconds(geometry: Geometry) -> tuple[float, float]:
    """(sent, received): CPU for a cell at either end of one link that does nothing else, TLS and kernel."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        states = enrol(folder, NetworkConfig(name="bench"), ("source", "sink"))
        ours, theirs = multiprocessing.Pipe()
        child = multiprocessing.get_context("spawn").Process(
            target=_sink, args=(folder / "sink", geometry.packet_bytes, theirs)
        )
        child.start()
        try:
            return uvloop.run(_source(states["source"], geometry.packet_bytes, ours))
        finally:
            child.join(10)
            child.kill()


async def _source(state: PeerState, packet_bytes: int, sink: Connection) -> tuple[float, float]:
    up = asyncio.Event()
    table = link_table(state, packet_bytes, ("sink",), on_up=up.set)
    running = asyncio.create_task(_run(table))
    await up.wait()
    peer = next(d.peer_id for d in state.roster if d.peer_id != state.peer_id)
    packets = [os.urandom(packet_bytes) for _ in range(TURN)]
    sent, start = 0, 0.0
    while sent < LINK_CELLS + LINK_WARM_UP:
        if table.snapshot(peer).queue_depth:
            await asyncio.sleep(0.001)
            continue
        if sent == LINK_WARM_UP:
            start = time.process_time()
        for packet in packets:
            table.send(peer, packet)
        sent += TURN
        await asyncio.sleep(0)
    spent = time.process_time() - start
    while not sink.poll():
        await asyncio.sleep(0.01)
    running.cancel()
    return spent / LINK_CELLS * 1e6, sink.recv()


def _sink(state_dir: Path, packet_bytes: int, source: Connection) -> None:
    uvloop.run(_count(PeerState.load(state_dir), packet_bytes, source))


async def _count(state: PeerState, packet_bytes: int, source: Connection) -> None:
    received, start = 0, 0.0
    done = asyncio.Event()

    def count(packet: bytes) -> None:
        nonlocal received, start
        received += 1
        if received == LINK_WARM_UP:
            start = time.process_time()
        elif received == LINK_WARM_UP + LINK_CELLS:
            source.send((time.process_time() - start) / LINK_CELLS * 1e6)
            done.set()

    running = asyncio.create_task(_run(link_table(state, packet_bytes, ("source",), on_packet=count)))
    await done.wait()
    running.cancel()


async def _run(table: LinkTable) -> None:
    table.start()
    await table.run()
