"""The daemon: opens the state directory, starts node, metrics and control API, and ends them in order."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from peerd import __version__
from peerd.config import PeerdConfig
from peerd.control import ControlServer, TlsFiles
from peerd.membership import PeerState
from peerd.node import Node
from peerd.observe import MetricsEndpoint
from peerd.store import StateLock


async def serve(config: PeerdConfig, state_dir: Path, log: Any) -> None:
    """Run one peer until SIGTERM or SIGINT.

    Start: lock, keys and bundle, replay tags, links, metrics, control API, whose health says SERVING
    last of all. Stop: the same backwards. Raises the errors of `peerd.errors` for what an operator can
    mend.
    """
    loop = asyncio.get_running_loop()
    with StateLock(state_dir):
        state = PeerState.load(state_dir)
        node = Node(config, state, state_dir, log)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, node.stop_requested.set)
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


@contextlib.asynccontextmanager
async def _metrics(config: PeerdConfig, node: Node) -> AsyncIterator[None]:
    endpoint = MetricsEndpoint(config.metrics, node.metrics, node)
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
