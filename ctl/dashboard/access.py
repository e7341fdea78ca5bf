"""Who may use the dashboard: the browser that opened the link which only this process's operator has seen.

The link's token is good once. It buys a cookie (HttpOnly, SameSite=Strict) and a key, which the page keeps
and sends in a header: browsers send a cookie to other ports of this host, too, where others may listen.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from peerd.web import is_loopback, name_of

Draw = Callable[[], str]


@dataclass(frozen=True, slots=True)
class Session:
    cookie: str
    key: str


class Access:
    def __init__(self, draw: Draw = secrets.token_urlsafe) -> None:
        self._draw = draw
        self._token: str | None = draw()
        self._session: Session | None = None

    @property
    def token(self) -> str | None:
        """None once it is spent."""
        return self._token

    def redeem(self, token: str) -> Session | None:
        """What the token buys; None for a wrong one, and for one that is spent."""
        if self._token is None or not _same(token, self._token):
            return None
        self._token = None
        self._session = Session(self._draw(), self._draw())
        return self._session

    def knows(self, cookie: str) -> bool:
        """For the page itself, which says nothing yet."""
        return self._session is not None and _same(cookie, self._session.cookie)

    def admits(self, cookie: str, key: str) -> bool:
        """For everything that the page asks."""
        return self.knows(cookie) and self._session is not None and _same(key, self._session.key)


def is_here(host: str) -> bool:
    """Whether a `Host` header names this machine's loopback: another name is that of a site which had itself
    resolved to it (DNS rebinding). The port may be another one, by which ssh forwards."""
    return is_loopback(name_of(host))


def from_the_page(origin: str, host: str, site: str) -> bool:
    """Whether a request that changes something comes from this very page: by `Origin`, which must be there,
    `Host`, and `Sec-Fetch-Site`, which older browsers leave out."""
    return bool(host) and origin == f"http://{host}" and site in ("", "same-origin")


def _same(one: str, other: str) -> bool:
    """Whatever bytes a header had."""
    return hmac.compare_digest(one.encode("utf-8", "surrogateescape"), other.encode())
