"""The daemon: opens the state directory, starts node, metrics and control API, and ends them in order."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from peerd import __version__
from peerd.config import PeerdConfig
from peerd.control import ControlServer, TlsFiles
from peerd.membership import PeerState
from peerd.node import Node
from peerd.observe import MetricsEndpoint
from peerd.store import StateLock

ENDING = (signal.SIGTERM, signal.SIGINT)


async def serve(config: PeerdConfig, state_dir: Path, log: Any) -> None:
    """Run one peer until SIGTERM or SIGINT.

    Start: lock, keys and bundle, replay tags, links, metrics, control API, whose health says SERVING
    last of all. Stop: it takes its leave of the others, then the same backwards. Raises the errors of
    `peerd.errors` for what an operator can mend.
    """
    with StateLock(state_dir):
        state = PeerState.load(state_dir)
        node = Node(config, state, state_dir, log)
        _on_signals(lambda: _leave(node, config.shutdown.drain_seconds, log))
        try:
            node.start()
            async with asyncio.TaskGroup() as group:
                running = group.create_task(node.run(), name="node")
                async with _metrics(config, node), _control(config, node, state_dir) as control:
                    log.info(
                        "peer is up",
                        version=__version__,
                        name=state.name,
                        link=node.link_address,
                        metrics=node.metrics_address or "off",
                        control=control.addresses,
                    )
                    await node.stop_requested.wait()
                    log.info("stopping")
                running.cancel()
        finally:
            await node.close()
    log.info("peer is down")


def _on_signals(leave: Callable[[], None]) -> None:
    """The first one has the peer leave; the next is left to the kernel, which no state of ours can stop."""
    loop = asyncio.get_running_loop()

    def first() -> None:
        for number in ENDING:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)
        leave()

    for number in ENDING:
        loop.add_signal_handler(number, first)


def _leave(node: Node, seconds: float, log: Any) -> None:
    log.info("leaving", seconds_at_most=seconds, hint="a second signal ends it at once")
    node.leave(seconds)


@contextlib.asynccontextmanager
async def _metrics(config: PeerdConfig, node: Node) -> AsyncIterator[None]:
    endpoint = MetricsEndpoint(config.metrics, node.metrics)
    node.metrics_address = await endpoint.start()
    try:
        yield
    finally:
        await endpoint.close()


@contextlib.asynccontextmanager
async def _control(config: PeerdConfig, node: Node, state_dir: Path) -> AsyncIterator[ControlServer]:
    control = ControlServer(node.commands, config.control, state_dir, lambda: _tls_files(node.state))
    try:
        await control.start()
        yield control
    finally:
        await control.stop()


def _tls_files(state: PeerState) -> TlsFiles:
    return TlsFiles(state.ca_pem, state.certificate_pem, state.link_key_pem)
