from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerd.observe.http import Request, Response, parse


def head(first: str, *fields: str) -> bytes:
    return "\r\n".join((first, *fields, "", "")).encode("latin-1")


def test_a_request_is_method_path_and_host() -> None:
    found = parse(head("GET /metrics?name=x HTTP/1.1", "Accept: */*", "HOST:  localhost:9103 "))
    assert found == Request("GET", "/metrics", "localhost:9103")
    assert parse(head("HEAD / HTTP/1.0")) == Request("HEAD", "/", "")


@pytest.mark.parametrize(
    ("request_head", "status"),
    [
        (head("GET /"), "400"),
        (head("GET / HTTP/2.0", "Host: x"), "400"),
        (head("GET / HTTP/1.1", "Host: localhost", "host: evil.example"), "400"),
        (head("POST / HTTP/1.1", "Host: localhost"), "405"),
        (head("OPTIONS * HTTP/1.1", "Host: localhost"), "405"),
        (b"\r\n\r\n", "400"),
    ],
)
def test_what_is_refused_as_it_stands(request_head: bytes, status: str) -> None:
    refused = parse(request_head)
    assert isinstance(refused, Response)
    assert refused.status.startswith(status)
    assert (refused.headers.get("Allow") == "GET, HEAD") == (status == "405")


@given(st.binary(max_size=2_000))
def test_bytes_are_a_request_or_refused(data: bytes) -> None:
    match parse(data):
        case Request(method, path, _):
            assert method in ("GET", "HEAD")
            assert "?" not in path
        case Response(status):
            assert status[:3] in ("400", "405")


def test_a_response_never_says_what_was_asked() -> None:
    refused = parse(head("GET /secret HTTP/9", "Host: secret"))
    assert isinstance(refused, Response)
    assert b"secret" not in refused.encode(head=False)


def test_head_is_the_same_without_the_body() -> None:
    response = Response("200 OK", b"body", headers={"X-Other": "1"})
    whole, without = response.encode(head=False), response.encode(head=True)
    assert whole == without + b"body"
    assert b"Content-Length: 4\r\n" in without
    assert b"X-Other: 1\r\n" in without
    assert without.endswith(b"\r\n\r\n")
