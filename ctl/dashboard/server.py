"""The dashboard's HTTP server, on loopback alone, in the operator's own process.

Every request must name this machine as its host. The page and what it asks for take the session that the link
has bought; what changes something must come from the page itself. See `access`.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import asdict
from typing import Any

import msgspec
from aiohttp import web

from ctl.dashboard import forms
from ctl.dashboard.access import Access, from_the_page, is_here
from ctl.dashboard.actions import Actions
from ctl.dashboard.choices import choices
from ctl.dashboard.collector import Collector
from ctl.render import error_data
from ctl.text import one_line
from peerd.config import parse_address
from peerd.errors import ConflictError, InvalidInputError, PeerdError
from peerd.web import PAGE_HEADERS, Asset, is_loopback, load

KEY_HEADER = "X-Dashboard-Key"
MAX_BODY_BYTES = 64 << 10
MAX_WAITING = 32
"""Requests that wait for news."""
WAIT_SECONDS = 20.0
JSON = "application/json"
HTTP_STATUS = {2: 400, 3: 404, 4: 409, 5: 503, 6: 403}
"""By exit code of a command that would have failed in the same way."""
OWN = ("dashboard.html", "closed.html", "dashboard.css", "dashboard.js", "panels.js", "forms.js")
SHARED = ("draw.js", "theme.css", "icon.svg")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Dashboard:
    def __init__(self, collector: Collector, actions: Actions, access: Access, port: int) -> None:
        self._collector = collector
        self._actions = actions
        self._access = access
        self._cookie = f"peerd_dashboard_{port}"  # cookies do not tell ports apart
        self._waiting = 0
        self._assets = load("ctl.dashboard", *OWN) | load("peerd.web", *SHARED)

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self._guard], client_max_size=MAX_BODY_BYTES)
        app.on_response_prepare.append(_confine)
        app.router.add_get("/open", self._open, allow_head=False)
        app.router.add_get("/", self._page)
        for name in (*OWN, *SHARED):
            if not name.endswith(".html"):
                app.router.add_get(f"/{name}", self._static(name))
        app.router.add_get("/api/state", self._state)
        app.router.add_get("/api/choices", self._choices)
        app.router.add_post("/api/run/{what:start|stop|pause|resume}", self._act)
        app.router.add_post("/api/{what:mix}", self._act)
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            if not is_here(request.headers.get("Host", "")):
                return _error(
                    421, "this is a dashboard of 127.0.0.1: ask for it by that name, or as localhost"
                )
            if request.path.startswith("/api/"):
                self._check(request)
            return await handler(request)
        except PeerdError as error:
            status = HTTP_STATUS.get(error.exit_code, 500)
            return web.json_response({"error": error_data(error)["message"]}, status=status)
        except web.HTTPException as refusal:
            if refusal.status < 400:
                raise
            refused = _error(refusal.status, refusal.reason)
            if "Allow" in refusal.headers:
                refused.headers["Allow"] = refusal.headers["Allow"]
            return refused

    def _check(self, request: web.Request) -> None:
        cookie = request.cookies.get(self._cookie, "")
        if not self._access.admits(cookie, request.headers.get(KEY_HEADER, "")):
            raise web.HTTPForbidden(reason="open the dashboard by the link that peerctl has printed")
        if request.method not in ("GET", "HEAD"):
            headers = request.headers
            site = headers.get("Sec-Fetch-Site", "")
            if not from_the_page(headers.get("Origin", ""), headers.get("Host", ""), site):
                raise web.HTTPForbidden(reason="only the dashboard's own page may change something")
            if request.content_type != JSON:
                raise web.HTTPUnsupportedMediaType(reason=f"the body must be {JSON}")

    async def _open(self, request: web.Request) -> web.Response:
        """Spends the token, unless a browser only loads the link ahead."""
        ahead = request.headers.get("Sec-Purpose", "") or request.headers.get("Purpose", "")
        session = None if ahead else self._access.redeem(request.query.get("token", ""))
        if session is None:
            return self._closed()
        response = web.Response(status=303, headers={"Location": f"/#key={session.key}"})
        response.set_cookie(self._cookie, session.cookie, httponly=True, samesite="Strict", path="/")
        return response

    async def _page(self, request: web.Request) -> web.Response:
        if not self._access.knows(request.cookies.get(self._cookie, "")):
            return self._closed()
        return _of(self._assets["dashboard.html"])

    def _closed(self) -> web.Response:
        return _of(self._assets["closed.html"], status=403)

    def _static(self, name: str) -> Handler:
        async def answer(request: web.Request) -> web.StreamResponse:
            return _of(self._assets[name])

        return answer

    async def _state(self, request: web.Request) -> web.Response:
        """The network's state, as soon as there is another than that of `after`."""
        after = request.query.get("after", "-1")
        if not after.lstrip("-").isascii() or not after.lstrip("-").isdigit() or len(after) > 12:
            raise InvalidInputError(f"after: {one_line(after[:20])!r} is not a number")
        if self._waiting >= MAX_WAITING:
            raise web.HTTPServiceUnavailable(reason="too many pages are open")
        self._waiting += 1
        try:
            state = await self._collector.newer_than(int(after), WAIT_SECONDS)
        finally:
            self._waiting -= 1
        return _json(state)

    async def _choices(self, request: web.Request) -> web.Response:
        return _json(choices())

    async def _act(self, request: web.Request) -> web.Response:
        asked = forms.read(await request.read())
        outcome = await self._actions.do(request.match_info["what"], asked)
        self._collector.hurry()
        return _json(asdict(outcome))


async def _confine(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(PAGE_HEADERS)
    response.headers.pop("Server", None)


def _of(asset: Asset, status: int = 200) -> web.Response:
    return web.Response(body=asset.body, status=status, headers={"Content-Type": asset.content_type})


def _json(value: Mapping[str, Any]) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type=JSON)


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"error": message}, status=status)


def listen(address: str) -> socket.socket:
    """A bound socket on loopback. InvalidInputError for any other address, ConflictError for one in use."""
    host, port = parse_address(address, "--listen")
    if not is_loopback(host):
        raise InvalidInputError(
            f"--listen {address}: only loopback (127.0.0.1, [::1]), since whoever reaches the page steers "
            "the network; from another machine use ssh -L (deploy/README.md)"
        )
    host = "127.0.0.1" if host == "localhost" else host
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        reason = error.strerror or error
        raise ConflictError(f"--listen {address}: cannot be bound ({reason}); choose another port") from None


def url_of(bound: socket.socket, token: str) -> str:
    host, port = bound.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/open?token={token}"


@contextlib.asynccontextmanager
async def serving(dashboard: Dashboard, bound: socket.socket, collector: Collector) -> AsyncIterator[None]:
    """Until the end of the block; what goes wrong in the collector ends it."""
    runner = web.AppRunner(
        dashboard.app(), access_log=None, handle_signals=False, shutdown_timeout=1.0, keepalive_timeout=30.0
    )
    await runner.setup()
    try:
        await web.SockSite(runner, bound).start()
        async with asyncio.TaskGroup() as group:
            collecting = group.create_task(collector.run())
            try:
                yield
            finally:
                collecting.cancel()
    finally:
        await runner.cleanup()
