from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable

import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from peerd.config import MetricsConfig
from peerd.errors import ConflictError, InvalidInputError
from peerd.observe import Metrics, MetricsEndpoint, PageState, Sample, page_state
from peerd.observe import endpoint as endpoint_module
from peerd.status import NodeStatus
from peerd.types import PacketKind

Address = tuple[str, int]


def split(address: str) -> Address:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


@pytest.fixture
async def address(metrics: Metrics) -> AsyncIterator[Address]:
    endpoint = MetricsEndpoint(MetricsConfig(), metrics)
    yield split(await endpoint.start())
    await endpoint.close()


async def talk(address: Address, request: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send bytes, read to the end; (status, headers, body)."""
    reader, writer = await asyncio.open_connection(*address)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *rest = head.decode("ascii").split("\r\n")
    version, status, _ = first.split(" ", 2)
    assert version == "HTTP/1.1"
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in rest)}
    return int(status), headers, body


async def until(true: Callable[[], bool]) -> None:
    """Let the loop go on until it is; the test's time limit bounds it."""
    while not true():
        await asyncio.sleep(0.001)


async def get(address: Address, target: str, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    return await talk(address, f"{method} {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())


async def test_the_default_is_a_free_port_on_loopback(address: Address) -> None:
    assert address[0] == "127.0.0.1"
    assert address[1] > 0


async def test_metrics_are_exposed_as_prometheus_reads_them(address: Address, tally, node) -> None:
    tally.sent(PacketKind.OWN)
    status, headers, body = await get(address, "/metrics")
    assert status == 200
    assert headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert int(headers["content-length"]) == len(body)
    samples = [
        sample
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
        if sample.name == "peerd_packets_total"
    ]
    assert {"direction": "sent", "kind": "own"} in [s.labels for s in samples if s.value == 1.0]
    await get(address, "/metrics?name=x")
    assert node.calls == 2  # sampled anew at each scrape


async def test_head_has_the_headers_of_get_and_no_body(address: Address) -> None:
    with_body = await get(address, "/")
    without = await get(address, "/", "HEAD")
    assert without == (with_body[0], with_body[1], b"")
    assert b"/metrics" in with_body[2]


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /nowhere HTTP/1.1\r\n\r\n", 404),
        (b"GET /metrics/.. HTTP/1.1\r\n\r\n", 404),
        (b"POST /metrics HTTP/1.1\r\nContent-Length: 0\r\n\r\n", 405),
        (b"DELETE / HTTP/1.0\r\n\r\n", 405),
        (b"get / HTTP/1.1\r\n\r\n", 405),
        (b"GET /metrics\r\n\r\n", 400),
        (b"GET  /metrics HTTP/1.1\r\n\r\n", 400),
        (b"GET /metrics HTTP/2.0\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\xff\xfe\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 9_000 + b"\r\n\r\n", 431),
    ],
)
async def test_wrong_requests(address: Address, request_bytes: bytes, status: int) -> None:
    answer = await talk(address, request_bytes)
    assert answer[0] == status
    assert (answer[1].get("allow") == "GET, HEAD") == (status == 405)
    assert (await get(address, "/metrics"))[0] == 200


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(garbage=st.binary(max_size=400))
def test_garbage_gets_an_error_or_nothing(garbage: bytes, metrics: Metrics) -> None:
    async def scenario() -> None:
        endpoint = MetricsEndpoint(MetricsConfig(), metrics)
        address = split(await endpoint.start())
        reader, writer = await asyncio.open_connection(*address)
        writer.write(garbage)
        writer.write_eof()
        answer = await reader.read()
        assert answer == b"" or answer.split(b" ")[1] in (b"200", b"400", b"404", b"405")
        writer.close()
        await endpoint.close()

    asyncio.run(scenario())


async def test_a_port_in_use_is_one_clear_line(address: Address, metrics: Metrics) -> None:
    taken = f"127.0.0.1:{address[1]}"
    with pytest.raises(ConflictError) as raised:
        await MetricsEndpoint(MetricsConfig(listen=taken), metrics).start()
    assert str(raised.value).startswith(f"[metrics] listen: {taken} cannot be bound (")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("listen", ["nonsense", "127.0.0.1:port", ":9100", "127.0.0.1:70000"])
async def test_an_address_that_is_none(metrics: Metrics, listen: str) -> None:
    with pytest.raises(InvalidInputError, match=r"^\[metrics\] listen: "):
        await MetricsEndpoint(MetricsConfig(listen=listen), metrics).start()


async def test_a_host_that_is_none(metrics: Metrics, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_args: object, **_kwargs: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(InvalidInputError, match=r"no such host 'nowhere.invalid'"):
        await MetricsEndpoint(MetricsConfig(listen="nowhere.invalid:0"), metrics).start()


async def test_it_can_be_off(metrics: Metrics) -> None:
    endpoint = MetricsEndpoint(MetricsConfig(listen=""), metrics)
    assert await endpoint.start() == ""
    await endpoint.close()


async def test_v6_addresses_are_in_brackets(metrics: Metrics) -> None:
    endpoint = MetricsEndpoint(MetricsConfig(listen="[::1]:0"), metrics)
    try:
        bound = await endpoint.start()
    except ConflictError:
        pytest.skip("no IPv6 loopback on this machine")
    assert bound.startswith("[::1]:")
    assert (await get(split(bound), "/"))[0] == 200
    await endpoint.close()


async def test_who_says_nothing_is_hung_up_on(metrics: Metrics, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_module, "CONNECTION_SECONDS", 0.05)
    endpoint = MetricsEndpoint(MetricsConfig(), metrics)
    reader, writer = await asyncio.open_connection(*split(await endpoint.start()))
    writer.write(b"GET /metrics HT")
    assert await reader.read() == b""
    writer.close()
    await endpoint.close()


async def test_who_does_not_read_is_hung_up_on(metrics: Metrics, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_module, "CONNECTION_SECONDS", 0.2)
    monkeypatch.setattr(endpoint_module, "INDEX", b"x" * 50_000_000)
    endpoint = MetricsEndpoint(MetricsConfig(), metrics)
    reader, writer = await asyncio.open_connection(*split(await endpoint.start()), limit=1024)
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    await reader.readuntil(b"\r\n")  # it has begun to answer; now nobody reads
    await until(lambda: endpoint.connections == 0)
    received = 0
    while part := await reader.read(65_536):
        received += len(part)
    assert received < 40_000_000
    writer.close()
    await endpoint.close()


async def test_the_number_of_connections_is_bounded(
    metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint_module, "MAX_CONNECTIONS", 2)
    endpoint = MetricsEndpoint(MetricsConfig(), metrics)
    address = split(await endpoint.start())
    silent = [await asyncio.open_connection(*address) for _ in range(2)]
    await until(lambda: endpoint.connections == 2)
    reader, writer = await asyncio.open_connection(*address)
    # hung up on at once and without a word, not when its time was over
    assert await asyncio.wait_for(reader.read(), endpoint_module.CONNECTION_SECONDS / 2) == b""
    for _, one in [*silent, (reader, writer)]:
        one.close()
    await until(lambda: endpoint.connections == 0)
    assert (await get(address, "/"))[0] == 200
    await endpoint.close()


async def test_a_scrape_that_fails_is_an_error_and_is_reported(
    metrics: Metrics, node, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise RuntimeError("no sample")

    monkeypatch.setattr(node, "sample", broken)
    reported: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    endpoint = MetricsEndpoint(MetricsConfig(), metrics)
    address = split(await endpoint.start())
    status, _, body = await get(address, "/metrics")
    assert status == 500
    assert b"no sample" not in body
    assert [str(context.get("exception")) for context in reported] == ["no sample"]
    assert (await get(address, "/"))[0] == 200
    await endpoint.close()


async def test_close_ends_open_connections(metrics: Metrics) -> None:
    endpoint = MetricsEndpoint(MetricsConfig(), metrics)
    address = split(await endpoint.start())
    reader, writer = await asyncio.open_connection(*address)
    await until(lambda: endpoint.connections == 1)
    await asyncio.wait_for(endpoint.close(), 2)
    with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
        await reader.readexactly(1)
    writer.close()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(*address)


def test_it_runs_on_uvloop(metrics: Metrics) -> None:
    async def scenario() -> int:
        endpoint = MetricsEndpoint(MetricsConfig(), metrics)
        status, _, _ = await get(split(await endpoint.start()), "/metrics")
        await endpoint.close()
        return status

    assert uvloop.run(scenario()) == 200


class Standing:
    """A source for the page."""

    def __init__(self, state: PageState) -> None:
        self.state = state
        self.broken = False

    def page(self) -> PageState:
        if self.broken:
            raise RuntimeError("no state")
        return self.state


@pytest.fixture
def standing(status: Callable[..., NodeStatus], sample: Callable[..., Sample]) -> Standing:
    return Standing(page_state(status(), sample(), None))


async def asked(config: MetricsConfig, metrics: Metrics, source: Standing, *requests: bytes) -> list[int]:
    """The statuses of these requests to an endpoint of its own."""
    endpoint = MetricsEndpoint(config, metrics, source)
    address = split(await endpoint.start())
    address = ("127.0.0.1", address[1])
    statuses = [(await talk(address, request))[0] for request in requests]
    await endpoint.close()
    return statuses


def named(host: str, path: str = "/status.json") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()


async def test_the_page_and_its_state_are_served_with_their_policy(
    metrics: Metrics, standing: Standing
) -> None:
    endpoint = MetricsEndpoint(MetricsConfig(), metrics, standing)
    address = split(await endpoint.start())
    for path, kind in (
        ("/", "text/html"),
        ("/status.js", "text/javascript"),
        ("/status.json", "application/json"),
    ):
        status, headers, body = await get(address, path)
        assert status == 200
        assert headers["content-type"].startswith(kind)
        assert int(headers["content-length"]) == len(body) > 0
        assert "default-src 'none'" in headers["content-security-policy"]
        assert await get(address, path, "HEAD") == (status, headers, b"")
        assert (await get(address, path, "POST"))[0] == 405
    state = json.loads((await get(address, "/status.json"))[2])
    assert state["name"] == "alice"
    await endpoint.close()


async def test_the_page_can_be_off(metrics: Metrics, standing: Standing) -> None:
    requests = (named("localhost"), named("localhost", "/metrics"), named("localhost", "/status.js"))
    assert await asked(MetricsConfig(page=False), metrics, standing, *requests) == [404, 200, 404]


async def test_on_loopback_a_foreign_name_gets_nothing(metrics: Metrics, standing: Standing) -> None:
    """DNS rebinding: a site whose name was made to resolve to 127.0.0.1."""
    good = [named("127.0.0.1:9103"), named("localhost"), named("[::1]:1"), b"GET / HTTP/1.0\r\n\r\n"]
    assert await asked(MetricsConfig(), metrics, standing, *good) == [200] * 4
    hosts = ("evil.example", "127.0.0.1.evil.example:9103", "localhost.")
    bad = [named(host, path) for host in hosts for path in ("/status.json", "/", "/metrics")]
    assert await asked(MetricsConfig(), metrics, standing, *bad) == [421] * len(bad)
    twice = b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n"
    assert await asked(MetricsConfig(), metrics, standing, twice) == [400]


async def test_elsewhere_prometheus_may_use_any_name_and_the_page_those_that_are_known(
    metrics: Metrics, standing: Standing
) -> None:
    config = MetricsConfig(listen="0.0.0.0:0", page_hosts=("alice.example",))
    requests = [
        named("peer-1:9103", "/metrics"),
        named("peer-1"),
        named("Alice.example:9103"),
        named("192.0.2.1"),
    ]
    assert await asked(config, metrics, standing, *requests) == [200, 421, 200, 200]


async def test_a_state_that_fails_is_an_error_and_is_reported(metrics: Metrics, standing: Standing) -> None:
    standing.broken = True
    reported: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    assert await asked(MetricsConfig(), metrics, standing, named("localhost")) == [500]
    assert [str(context.get("exception")) for context in reported] == ["no state"]
