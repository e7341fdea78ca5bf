"""The status page: its files, and /status.json, made anew at most once a second however many ask; with
`detail` coarse once a minute, as the metrics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec

from peerd.clock import monotonic
from peerd.config import MetricsDetail
from peerd.observe.detail import MINUTE_SECONDS
from peerd.observe.http import Response
from peerd.observe.page import PageState, coarse
from peerd.web import PAGE_HEADERS, Asset, load

FRESH_SECONDS = 1.0
FILES = {"/": "status.html", "/status.js": "status.js", "/status.css": "status.css"}
SHARED = {"/draw.js": "draw.js", "/theme.css": "theme.css", "/icon.svg": "icon.svg"}
JSON = "application/json"


class PageSource(Protocol):
    def page(self) -> PageState:
        """How things stand now."""


class Pages:
    def __init__(
        self, source: PageSource, detail: MetricsDetail = "full", clock: Callable[[], float] = monotonic
    ) -> None:
        self._source = source
        self._coarse = detail == "coarse"
        self._fresh_seconds = MINUTE_SECONDS if self._coarse else FRESH_SECONDS
        self._clock = clock
        own, shared = load("peerd.observe", *FILES.values()), load("peerd.web", *SHARED.values())
        paths = {path: own[name] for path, name in FILES.items()}
        paths |= {path: shared[name] for path, name in SHARED.items()}
        self._files = {path: _response(asset) for path, asset in paths.items()}
        self._state: Response | None = None
        self._made = 0.0

    def get(self, path: str) -> Response | None:
        """None where there is nothing at that path."""
        if path == "/status.json":
            return self._status()
        return self._files.get(path)

    def _status(self) -> Response:
        now = self._clock()
        if self._state is None or now - self._made >= self._fresh_seconds:
            state = self._source.page()
            body = msgspec.json.encode(coarse(state) if self._coarse else state)
            self._state, self._made = _response(Asset(body, JSON)), now
        return self._state


def _response(asset: Asset) -> Response:
    return Response("200 OK", asset.body, asset.content_type, PAGE_HEADERS)
