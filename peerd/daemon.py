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
from peerd.control import MAX_CONNECTIONS, ControlServer, Refusals, TlsFiles
from peerd.errors import PeerdError
from peerd.host import Limits, ServiceManager, Watch, end_within, memory_limit, raise_file_limit
from peerd.membership import PeerState
from peerd.node import Node
from peerd.observe import Logs, MetricsEndpoint
from peerd.source import Loaded
from peerd.status import NodeStatus
from peerd.store import StateLock

ENDING = (signal.SIGTERM, signal.SIGINT)
CLOSE_SECONDS = 20.0
"""Once it ends, the daemon is gone so soon, even if a disk does not answer. A model of some hundred megabytes
is written by then."""


async def serve(started: Loaded, state_dir: Path, logs: Logs, manager: ServiceManager | None = None) -> None:
    """Run one peer until SIGTERM or SIGINT; SIGHUP reads the configuration again. `manager` is told of
    its life.

    Start: lock, keys and bundle, replay tags, links, metrics, control API, whose health says SERVING
    last of all. Stop: it takes its leave of the others, then the same backwards. Raises the errors of
    `peerd.errors` for what an operator can mend.
    """
    manager = manager or ServiceManager()
    limits = Limits(raise_file_limit(), memory_limit())
    config, log = started.config, logs.log
    hangup = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, hangup.set)
    with StateLock(state_dir):
        state = PeerState.load(state_dir)
        node = Node(config, state, state_dir, log, started)
        _on_signals(lambda: _leave(node, config.shutdown.drain_seconds, log, manager))
        try:
            node.start()
            async with asyncio.TaskGroup() as group:
                running = group.create_task(node.run(), name="node")
                _join(logs, node, loop)
                reloading = group.create_task(_reload(hangup, node, manager), name="reload")
                async with _metrics(config, node), _control(config, node, state_dir, logs) as control:
                    log.info(
                        "peer is up",
                        version=__version__,
                        name=state.name,
                        link=node.link_address,
                        metrics=node.metrics_address or "off",
                        control=control.addresses,
                    )
                    watch = group.create_task(_watch(config, node, manager, limits, log).run(), name="watch")
                    manager.ready()
                    await node.stop_requested.wait()
                    log.info("stopping")
                    manager.stopping()
                    end_within(CLOSE_SECONDS)
                watch.cancel()
                reloading.cancel()
                running.cancel()
        except BaseException:
            end_within(CLOSE_SECONDS)
            raise
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


async def _reload(hangup: asyncio.Event, node: Node, manager: ServiceManager) -> None:
    """At each SIGHUP; those that come while one is worked on are one more."""
    while True:
        await hangup.wait()
        hangup.clear()
        with manager.reloading(), contextlib.suppress(PeerdError):  # it has told of it
            await node.reconfiguration.reload()


def _watch(config: PeerdConfig, node: Node, manager: ServiceManager, limits: Limits, log: Any) -> Watch:
    return Watch(
        manager,
        log,
        status=lambda: _line(node.commands.status()),
        shortages=lambda: limits.shortages(
            node.commands.status().peers_enrolled,
            config.relay.replay_capacity,
            trains=config.training.join == "announced",
            connections=MAX_CONNECTIONS if config.control.listen else 0,
        ),
    )


def _line(status: NodeStatus) -> str:
    """How the peer does, for `systemctl status`."""
    others = f"{status.name}: {status.peers_alive} of {status.peers_enrolled} others alive"
    run = f", round {status.round} of run {status.run_id[:8]}" if status.run_state == "running" else ""
    alarms = f", alarms: {' '.join(status.alarms)}" if status.alarms else ""
    return others + run + alarms + (", leaving" if status.draining else "")


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


def _leave(node: Node, seconds: float, log: Any, manager: ServiceManager) -> None:
    manager.stopping()
    log.info("leaving", seconds_at_most=seconds, hint="a second signal ends it at once")
    node.leave(seconds)


@contextlib.asynccontextmanager
async def _metrics(config: PeerdConfig, node: Node) -> AsyncIterator[None]:
    endpoint = MetricsEndpoint(config.metrics, node.metrics, node)
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
        node.commands,
        config.control,
        state_dir,
        lambda: _tls_files(node.state),
        logs.ring,
        Refusals(logs.log, node.tally.refused),
    )
    try:
        await control.start()
        yield control
    finally:
        await control.stop()


def _tls_files(state: PeerState) -> TlsFiles:
    return TlsFiles(state.ca_pem, state.certificate_pem, state.link_key_pem)
