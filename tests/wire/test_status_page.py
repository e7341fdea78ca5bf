"""The status page of a live node over real HTTP, and clients that mean it no good."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import structlog

from peerd.config import LinkConfig, MetricsConfig, MixingConfig, PeerdConfig
from peerd.node import Node
from peerd.observe import MetricsEndpoint
from peerd.observe.endpoint import MAX_CONNECTIONS

CONFIG = PeerdConfig(link=LinkConfig(listen="127.0.0.1:0"), mixing=MixingConfig(hops=1))


@contextlib.asynccontextmanager
async def page_of(node: Node, config: MetricsConfig) -> AsyncIterator[str]:
    """Its address, while the node is up."""
    node.start()
    running = asyncio.create_task(node.run())
    endpoint = MetricsEndpoint(config, node.metrics, node)
    try:
        yield await endpoint.start()
    finally:
        await endpoint.close()
        running.cancel()
        await asyncio.wait({running})
        await node.close()


@pytest.fixture
def node(enrol: Any, tmp_path: Path) -> Node:
    state, *_ = enrol("alice", "bob", "carol")
    return Node(CONFIG, state, tmp_path / "net" / "peers" / "alice", structlog.get_logger())


async def test_a_live_node_says_how_it_stands(node: Node) -> None:
    async with page_of(node, CONFIG.metrics) as address, aiohttp.ClientSession() as http:
        async with http.get(f"http://{address}/status.json") as answer:
            state = await answer.json()
        assert (state["name"], state["network"], state["members"]) == ("alice", "net", 3)
        assert (state["mixing"]["strategy"], state["mixing"]["hops"]) == ("exponential", 1)
        assert (state["run"], state["alarms"], state["neighbours"]) == (None, [], [])
        assert state["uptime_seconds"] >= 0
        for path in ("/", "/status.js", "/status.css", "/draw.js", "/theme.css", "/icon.svg", "/metrics"):
            async with http.get(f"http://{address}{path}") as answer:
                assert answer.status == 200, path
                assert int(answer.headers["Content-Length"]) == len(await answer.read())
        async with http.get(f"http://{address}/status.json", headers={"Host": "evil.example"}) as answer:
            assert answer.status == 421


async def test_clients_that_hold_every_connection_are_hung_up_on_and_the_node_goes_on(node: Node) -> None:
    async with page_of(node, CONFIG.metrics) as address:
        host, port = address.rsplit(":", 1)
        silent = [await asyncio.open_connection(host, int(port)) for _ in range(MAX_CONNECTIONS)]
        for _, writer in silent:
            writer.write(b"GET /status.json HTTP/1.1\r\nHost: localhost\r\n")
        assert node.commands.status().name == "alice"
        for reader, writer in silent:  # when their time is over
            assert await reader.read() == b""
            writer.close()
        async with aiohttp.ClientSession() as http, http.get(f"http://{address}/") as answer:
            assert answer.status == 200


async def test_a_flood_of_requests_asks_the_node_once_a_second(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0
    page = node.page

    def counted() -> Any:
        nonlocal asked
        asked += 1
        return page()

    monkeypatch.setattr(node, "page", counted)
    began = asyncio.get_running_loop().time()
    async with page_of(node, CONFIG.metrics) as address, aiohttp.ClientSession() as http:

        async def get() -> int:
            async with http.get(f"http://{address}/status.json") as answer:
                return answer.status

        for _ in range(10):
            assert set(await asyncio.gather(*(get() for _ in range(20)))) == {200}
    assert asked <= asyncio.get_running_loop().time() - began + 1
