"""As much of HTTP/1.1 as the metrics listener needs, without I/O: the head of a request, and responses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

PLAIN = "text/plain; charset=utf-8"
READING = ("GET", "HEAD")


@dataclass(frozen=True, slots=True)
class Response:
    status: str
    body: bytes
    content_type: str = PLAIN
    headers: Mapping[str, str] = field(default_factory=dict)

    def encode(self, *, head: bool) -> bytes:
        """`head`: without the body, as HEAD wants it."""
        lines = [f"HTTP/1.1 {self.status}"]
        fields = {
            "Content-Type": self.content_type,
            "Content-Length": str(len(self.body)),
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "Connection": "close",
            **self.headers,
        }
        lines += [f"{name}: {value}" for name, value in fields.items()]
        return "\r\n".join(lines).encode("ascii") + b"\r\n\r\n" + (b"" if head else self.body)


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    """Without the query."""
    host: str
    """As sent; empty where there is none."""


TOO_LARGE = Response("431 Request Header Fields Too Large", b"request too large\n")


def parse(head: bytes) -> Request | Response:
    """The head of a request, up to its empty line; a Response where it is refused as it stands."""
    first, *lines = head.split(b"\r\n")
    match first.split(b" "):
        case [method, target, (b"HTTP/1.0" | b"HTTP/1.1")] if method and target:
            pass
        case _:
            return Response("400 Bad Request", b"not HTTP/1.1\n")
    hosts = [value for name, _, value in (line.partition(b":") for line in lines) if name.lower() == b"host"]
    if len(hosts) > 1:
        return Response("400 Bad Request", b"more than one Host\n")
    word = method.decode("latin-1")
    if word not in READING:
        return Response("405 Method Not Allowed", b"GET or HEAD\n", headers={"Allow": ", ".join(READING)})
    path = target.partition(b"?")[0].decode("latin-1")
    return Request(word, path, hosts[0].strip().decode("latin-1") if hosts else "")
