"""The daemon: opens the state directory, starts node, metrics and control API, and ends them in order."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from peerd import __version__
from peerd.config import PeerdConfig
from peerd.control import ControlServer, TlsFiles
from peerd.errors import PeerdError
from peerd.membership import PeerState
from peerd.node import Node
from peerd.observe import Logs, MetricsEndpoint
from peerd.source import Loaded
from peerd.store import StateLock


async def serve(started: Loaded, state_dir: Path, logs: Logs) -> None:
    """Run one peer until SIGTERM or SIGINT; SIGHUP reads the configuration again.

    Start: lock, keys and bundle, replay tags, links, metrics, control API, whose health says SERVING
    last of all. Stop: the same backwards. Raises the errors of `peerd.errors` for what an operator can
    mend.
    """
    loop = asyncio.get_running_loop()
    config, log = started.config, logs.log
    hangup = asyncio.Event()
    loop.add_signal_handler(signal.SIGHUP, hangup.set)
    with StateLock(state_dir):
        state = PeerState.load(state_dir)
        node = Node(config, state, state_dir, log, started)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, node.stop_requested.set)
        try:
            node.start()
            async with asyncio.TaskGroup() as group:
                running = group.create_task(node.run(), name="node")
                _join(logs, node, loop)
                reloading = group.create_task(_reload(hangup, node), name="reload")
                async with _metrics(config, node), _control(config, node, state_dir, logs) as control:
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
                reloading.cancel()
                running.cancel()
        finally:
            await node.close()
    log.info("peer is down")


def _join(logs: Logs, node: Node, loop: asyncio.AbstractEventLoop) -> None:
    """The log changes with the configuration, and a log file that cannot be written is an alarm."""
    node.reconfiguration.add("logging", logs.apply, logs.check)
    logs.on_failing = lambda failing, lost: _soon(loop, node.log_file_failing, failing, lost)


def _soon(
    loop: asyncio.AbstractEventLoop, call: Callable[[bool, int], None], failing: bool, lost: int
) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has ended, and with it the daemon
        loop.call_soon_threadsafe(call, failing, lost)


async def _reload(hangup: asyncio.Event, node: Node) -> None:
    """At each SIGHUP; those that come while one is worked on are one more."""
    while True:
        await hangup.wait()
        hangup.clear()
        with contextlib.suppress(PeerdError):  # it has told of it
            await node.reconfiguration.reload()


@contextlib.asynccontextmanager
async def _metrics(config: PeerdConfig, node: Node) -> AsyncIterator[None]:
    endpoint = MetricsEndpoint(config.metrics, node.metrics)
    node.metrics_address = await endpoint.start()
    try:
        yield
    finally:
        await endpoint.close()


@contextlib.asynccontextmanager
async def _control(
    config: PeerdConfig, node: Node, state_dir: Path, logs: Logs
) -> AsyncIterator[ControlServer]:
    control = ControlServer(
        node.commands, config.control, state_dir, lambda: _tls_files(node.state), logs.ring
    )
    try:
        await control.start()
        yield control
    finally:
        await control.stop()


def _tls_files(state: PeerState) -> TlsFiles:
    return TlsFiles(state.ca_pem, state.certificate_pem, state.link_key_pem)
