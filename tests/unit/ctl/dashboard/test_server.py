"""The dashboard over real HTTP: who is let in, what is refused, and that one bad client stops nobody."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from ctl.dashboard import server as server_module
from ctl.dashboard.access import Access
from ctl.dashboard.actions import Actions
from ctl.dashboard.collector import Collector
from ctl.dashboard.server import KEY_HEADER, MAX_BODY_BYTES, Dashboard, listen, serving, url_of
from ctl.targets import Settings
from peerd.errors import ConflictError, InvalidInputError

MIX = json.dumps({"peers": [], "fields": {"hops": "2"}})


@dataclass
class Served:
    base: str
    access: Access
    http: aiohttp.ClientSession
    cookie: str = ""
    key: str = ""

    @property
    def port(self) -> int:
        return int(self.base.rpartition(":")[2])

    async def log_in(self) -> None:
        """As a browser does by the link."""
        link = f"{self.base}/open?token={self.access.token}"
        async with self.http.get(link, allow_redirects=False) as answer:
            assert answer.status == 303
            self.key = answer.headers["Location"].removeprefix("/#key=")
            self.cookie = answer.headers["Set-Cookie"].partition(";")[0]

    def headers(self, **changes: str | None) -> dict[str, str]:
        """Of a request by the page itself, with some changed or, as None, left out."""
        usual: dict[str, str | None] = {
            "Host": f"127.0.0.1:{self.port}",
            "Origin": f"http://127.0.0.1:{self.port}",
            "Sec-Fetch-Site": "same-origin",
            "Content-Type": "application/json",
            "Cookie": self.cookie,
            KEY_HEADER: self.key,
        }
        usual |= {name.replace("_", "-"): value for name, value in changes.items()}
        return {name: value for name, value in usual.items() if value is not None}

    async def post(
        self, path: str = "/api/mix", body: str | bytes = MIX, **changes: str | None
    ) -> tuple[int, Any]:
        skipped = {"Content-Type"} if changes.get("Content_Type", "") is None else set()
        headers = self.headers(**changes)
        async with self.http.post(
            self.base + path, data=body, headers=headers, skip_auto_headers=skipped
        ) as answer:
            return answer.status, await answer.json()

    async def get(self, path: str, **changes: str | None) -> tuple[int, bytes]:
        async with self.http.get(
            self.base + path, headers=self.headers(**changes), allow_redirects=False
        ) as answer:
            return answer.status, await answer.read()


@contextlib.asynccontextmanager
async def dashboard_of(peers: Any) -> AsyncIterator[Served]:
    endpoints = tuple(peers.contexts.endpoints.values())
    collector, access = Collector(endpoints, 5.0, every=0.1), Access()
    with listen("127.0.0.1:0") as bound:
        port = bound.getsockname()[1]
        page = Dashboard(collector, Actions(Settings(timeout=5.0), endpoints), access, port)
        async with (
            serving(page, bound, collector),
            aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http,
        ):
            yield Served(f"http://127.0.0.1:{port}", access, http)


@pytest.fixture
async def served(peers: Any) -> AsyncIterator[Served]:
    peers.alice = peers.add("alice")
    async with dashboard_of(peers) as made:
        yield made


async def test_the_link_is_good_once(served: Served) -> None:
    link = f"/open?token={served.access.token}"
    assert (await served.get("/open?token=wrong"))[0] == 403
    async with served.http.head(served.base + link) as answer:
        assert answer.status == 405, "whoever only looks at the head does not spend it"
    assert (await served.get(link, Sec_Purpose="prefetch"))[0] == 403
    async with served.http.get(served.base + link, allow_redirects=False) as answer:
        assert answer.status == 303
        cookie = answer.headers["Set-Cookie"]
        for part in ("HttpOnly", "SameSite=Strict", "Path=/"):
            assert part in cookie
        assert f"peerd_dashboard_{served.port}=" in cookie
        assert "key=" in answer.headers["Location"]
    status, body = await served.get(link)
    assert status == 403
    assert b"good once" in body


async def test_without_the_cookie_there_is_no_page_and_without_the_key_no_answer(served: Served) -> None:
    assert (await served.get("/", Cookie=None))[0] == 403
    await served.log_in()
    status, page = await served.get("/")
    assert status == 200
    assert served.key.encode() not in page
    for path in ("/api/state", "/api/choices"):
        assert (await served.get(path))[0] == 200
        for changes in ({"Cookie": None}, {KEY_HEADER: None}, {KEY_HEADER: "x"}, {"Cookie": "a=b"}):
            assert (await served.get(path, **changes))[0] == 403


async def test_every_answer_is_confined(served: Served) -> None:
    await served.log_in()
    for path in ("/", "/dashboard.js", "/api/state", "/nowhere", "/open"):
        async with served.http.get(served.base + path, headers=served.headers()) as answer:
            assert "script-src 'self'" in answer.headers["Content-Security-Policy"]
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Cache-Control"] == "no-store"
            assert "Server" not in answer.headers
            assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example:80", "192.0.2.1", "0.0.0.0"])
async def test_dns_rebinding_gets_nothing(served: Served, host: str) -> None:
    token = served.access.token
    for path in (f"/open?token={token}", "/", "/dashboard.js", "/api/state"):
        assert (await served.get(path, Host=host))[0] == 421
    assert served.access.token == token
    await served.log_in()
    status, answer = await served.post(Host=host, Origin=f"http://{host}")
    assert (status, "127.0.0.1" in answer["error"]) == (421, True)


async def test_a_forwarded_port_is_fine(served: Served, peers: Any) -> None:
    """ssh -L: the browser's port is another one."""
    await served.log_in()
    status, outcome = await served.post(Host="localhost:9999", Origin="http://localhost:9999")
    assert (status, outcome["done"]) == (200, ["alice"])


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"Origin": None}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({"Sec_Fetch_Site": "same-site"}, 403),
        ({KEY_HEADER.replace("-", "_"): None}, 403),
        ({KEY_HEADER.replace("-", "_"): "guess"}, 403),
        ({"Cookie": None}, 403),
        ({"Content_Type": "text/plain"}, 415),
        ({"Content_Type": "application/x-www-form-urlencoded"}, 415),
    ],
)
async def test_another_site_changes_nothing(
    served: Served, peers: Any, changes: dict[str, str | None], status: int
) -> None:
    await served.log_in()
    got, answer = await served.post(**changes)
    assert (got, list(answer)) == (status, ["error"])
    assert peers.alice.updates == []
    assert (await served.post())[0] == 200
    assert [update.hops for update in peers.alice.updates] == [2]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"\xff\xfe", 400),
        (b"[" * 10_000, 400),
        (b'{"fields": {"hops": 2}}', 400),
        (b'{"fields": {}, "more": 1}', 400),
        (b'{"fields": {"hops": "two"}}', 400),
        (b'{"peers": ["eve"], "fields": {"hops": "2"}}', 400),
        (b'{"fields": {"hops": "' + b"2" * MAX_BODY_BYTES + b'"}}', 413),
    ],
)
async def test_wrong_bodies_are_one_line(served: Served, peers: Any, body: bytes, status: int) -> None:
    await served.log_in()
    got, answer = await served.post(body=body)
    assert got == status
    assert "\n" not in answer["error"]
    assert peers.alice.updates == []


async def test_methods_and_paths_that_are_none(served: Served) -> None:
    await served.log_in()
    for method, path, status in (
        ("GET", "/api/mix", 405), ("POST", "/api/state", 405), ("PUT", "/", 405), ("DELETE", "/api/mix", 405),
        ("GET", "/api/nothing", 404), ("GET", "/../etc/passwd", 404), ("POST", "/api/run/delete", 404),
        ("GET", "/dashboard.html", 404), ("HEAD", "/", 200), ("GET", "/api/state?after=x", 400),
        ("GET", "/api/state?after=-", 400),
    ):  # fmt: skip
        async with served.http.request(method, served.base + path, headers=served.headers()) as answer:
            assert answer.status == status, (method, path)
            if status == 405:
                assert answer.headers["Allow"]


async def state(served: Served, after: int = -1) -> dict[str, Any]:
    status, body = await served.get(f"/api/state?after={after}")
    assert status == 200
    found: dict[str, Any] = json.loads(body)
    return found


async def test_the_state_comes_when_there_is_news(served: Served, peers: Any) -> None:
    await served.log_in()
    now = await state(served)
    while not now["peers"][0]["known"]:
        now = await state(served, now["version"])
    assert now["networks"] == ["lab"]
    later = await state(served, now["version"])
    assert later["version"] > now["version"]


async def test_a_peer_that_comes_late_and_one_that_never_comes(peers: Any) -> None:
    peers.add("alice")
    peers.absent("bob")
    async with dashboard_of(peers) as served:
        await served.log_in()

        async def until_bob(wanted: bool) -> dict[str, Any]:
            now = await state(served)
            while bool(now["peers"][1]["error"]) is wanted or not now["peers"][0]["known"]:
                now = await state(served, now["version"])
            return now

        lost = await until_bob(False)
        assert "no daemon answers" in lost["peers"][1]["error"]
        assert lost["peers"][0]["error"] == ""
        status, outcome = await served.post()
        assert (status, outcome["done"], list(outcome["failed"])) == (200, ["alice"], ["bob"])
        peers.add("bob")
        found = await until_bob(True)
        assert found["peers"][1]["known"]


async def test_a_change_shows_at_once(served: Served, peers: Any) -> None:
    await served.log_in()
    status, _ = await served.post(body=json.dumps({"fields": {"strategy": "pool"}}))
    assert status == 200
    now = await state(served)
    while now["mixing"].get("alice", {}).get("strategy") != "pool":
        now = await state(served, now["version"])
    status, outcome = await served.post("/api/run/start", json.dumps({"fields": {"task": "digits-cnn"}}))
    assert (status, outcome["done"]) == (200, ["alice"])
    assert len(peers.alice.started) == 1


async def test_slow_clients_stop_nobody(served: Served) -> None:
    await served.log_in()
    half = [await asyncio.open_connection("127.0.0.1", served.port) for _ in range(100)]
    for _, writer in half:
        writer.write(b"GET /api/state HTTP/1.1\r\nHost: localhost\r\nX-")
    assert (await served.post())[0] == 200
    assert (await served.get("/"))[0] == 200
    for _, writer in half:
        writer.close()


async def test_how_many_wait_is_bounded(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    await served.log_in()
    monkeypatch.setattr(server_module, "MAX_WAITING", 0)
    status, body = await served.get("/api/state")
    assert (status, json.loads(body)) == (503, {"error": "too many pages are open"})
    monkeypatch.setattr(server_module, "MAX_WAITING", 1)
    for _ in range(3):
        assert (await served.get("/api/state"))[0] == 200


async def test_headers_that_are_too_large_are_refused(served: Served) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 100_000 + b"\r\n\r\n")
    assert b" 400 " in await reader.readline()
    writer.close()
    assert (await served.get("/"))[0] == 403


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "192.0.2.1:80", "example.org:80", "peer:0"])
def test_it_listens_on_loopback_only(address: str) -> None:
    with pytest.raises(InvalidInputError, match=r"^--listen .*: only loopback .* ssh -L"):
        listen(address)


def test_a_port_in_use_is_one_clear_line() -> None:
    with listen("localhost:0") as bound:
        port = bound.getsockname()[1]
        with pytest.raises(ConflictError, match=rf"^--listen 127.0.0.1:{port}: cannot be bound"):
            listen(f"127.0.0.1:{port}")
        assert url_of(bound, "secret") == f"http://127.0.0.1:{port}/open?token=secret"
