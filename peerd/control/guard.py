"""What stands before every call: the caller's role and bounds, and errors turned into gRPC statuses.

Over the Unix socket the file's permissions are the guard and every caller is an admin. Over TCP the
client certificate (verified by TLS against the network's CA) carries the role in a URI SAN,
`peerd://operator/<role>/<name>`; a viewer may call what only reads, and who is no operator nothing at all:
the peers' own certificates are of the same CA. TLS looks at a certificate once, when the
connection is made; whether it was revoked since is asked at every call, and at every message of a stream.
Nothing of a request is read before.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import grpc
import grpc.aio
from cryptography import x509
from google.protobuf.message import DecodeError

from peerd.control.bounds import Bounds, Held
from peerd.control.core import UNKNOWN
from peerd.control.refusals import Refusals
from peerd.errors import DeniedError, InvalidInputError, PeerdError
from peerd.membership.certificates import public_key_of
from peerd.membership.records import operator_id
from peerd.membership.roster import Roster

READ_ONLY = frozenset(
    {
        "/peerd.v1.Node/GetStatus",
        "/peerd.v1.Node/WatchStatus",
        "/peerd.v1.Node/WatchEvents",
        "/peerd.v1.Mixing/Get",
        "/peerd.v1.Mixing/Measure",
        "/peerd.v1.Peers/List",
        "/peerd.v1.Runs/Get",
        "/peerd.v1.Runs/Watch",
        "/peerd.v1.Runs/Past",
        "/peerd.v1.Runs/Checkpoints",
        "/peerd.v1.Config/Get",
        "/peerd.v1.Config/Compare",
        "/peerd.v1.Logs/Watch",
    }
)
"""Not `Runs/Export`: what was trained on private data is more than how well it does."""
OPEN = ("/grpc.health.v1.Health/", "/grpc.reflection.")
"""Health and reflection: any operator."""
LARGE = frozenset(
    {
        "/peerd.v1.Peers/Publish",
        "/peerd.v1.Runs/Start",
        "/peerd.v1.Config/Set",
        "/peerd.v1.Config/Compare",
    }
)
"""Records that the authority has signed come a mebibyte at a time; a run and a configuration have texts."""
LARGE_BYTES = 2 << 20
SMALL_BYTES = 64 << 10
"""Of any other request: a stream keeps it for as long as it lasts."""
REQUEST_SECONDS = 10.0
IDLE_SECONDS = 60.0
"""Between two requests of a stream: reflection's."""

MAX_DETAILS = 2_000
"""Characters: an error may quote what was asked, and gRPC has but 8 KiB for it."""

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
IsGood: TypeAlias = Callable[[bytes], bool]
"""Whether an operator's certificate (PEM), which TLS has found good, still is."""
Parse: TypeAlias = Callable[[bytes], Any]
KNOWN_OPERATORS = 256


def by_roster(roster: Roster) -> IsGood:
    """Not revoked, and certified by a CA that is in force."""

    # Each call brings the certificate again, and a signature takes longer than an answer.
    @functools.lru_cache(KNOWN_OPERATORS)
    def identify(pem: bytes, _in_force: tuple[x509.Certificate, ...]) -> bytes | None:
        certificate = x509.load_pem_x509_certificate(pem)
        try:
            identifier = operator_id(public_key_of(certificate))
        except ValueError:
            return None
        return identifier if roster.trust.issued(certificate) else None

    def is_good(pem: bytes) -> bool:
        identifier = identify(pem, roster.trust.authorities)
        return identifier is not None and not roster.is_revoked(identifier)

    return is_good


@dataclass(frozen=True, slots=True)
class Caller:
    """As TLS has found it; over the Unix socket all are one."""

    transport: str
    """gRPC's transport security type."""
    certificate: bytes
    """PEM; empty without TLS."""
    names: list[bytes]
    """Subject alternative names."""

    @classmethod
    def of(cls, context: Context) -> Caller:
        auth = context.auth_context()
        return cls(
            b"".join(auth.get("transport_security_type", [])).decode(),
            b"".join(auth.get("x509_pem_cert", [])),
            list(auth.get("x509_subject_alternative_name", [])),
        )

    @property
    def name(self) -> str:
        """For the log."""
        return ascii(b" ".join(self.names)[:100].decode("ascii", "replace"))[1:-1] or "unix"


def check_role(method: str, transport: str, sans: list[bytes]) -> None:
    """Raise DeniedError unless the caller may call `method`.

    `transport` is gRPC's transport security type; `sans` the subject alternative names of the
    client's certificate as gRPC reports them.
    """
    if transport != "ssl":  # the Unix socket: only TCP ports are opened with TLS, and all of them are
        return
    roles = {role for san in sans if (role := _role(san)) is not None}
    if "admin" in roles:
        return
    if "viewer" in roles and (method in READ_ONLY or method == UNKNOWN or method.startswith(OPEN)):
        return
    if "viewer" in roles:
        raise DeniedError("a viewer's certificate cannot change anything; use an admin's")
    raise DeniedError("the client certificate is not an operator's (peerctl network operator)")


def is_remote(context: Context) -> bool:
    """Whether the call came by TCP: not from this host's own operator."""
    return Caller.of(context).transport == "ssl"


def _role(san: bytes) -> str | None:
    parts = san.decode("ascii", "replace").removeprefix("peerd://operator/").split("/")
    is_operator = san.startswith(b"peerd://operator/") and len(parts) == 2
    return parts[0] if is_operator else None


class Guard(grpc.aio.ServerInterceptor):
    """Wraps each handler: the caller's role first, then its bounds, then the request, then the call and its
    errors.

    To gRPC all of them are bidirectional streams, which are the same on the wire: it hands over a call before
    the request has come, so that nobody without a role has one read, or waited for.
    """

    def __init__(
        self,
        is_good: IsGood = lambda _pem: True,
        bounds: Bounds | None = None,
        refusals: Refusals | None = None,
    ) -> None:
        """`is_good`: `by_roster`, or what else knows who was revoked."""
        self._is_good = is_good
        self._bounds = Bounds() if bounds is None else bounds
        self._refusals = Refusals() if refusals is None else refusals

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or method == UNKNOWN:
            handler, method = None, UNKNOWN

        async def call(_requests: Any, context: Context) -> None:
            await self._answer(handler, method, context)

        serializer = None if handler is None else handler.response_serializer
        return grpc.stream_stream_rpc_method_handler(call, None, serializer)

    async def _answer(self, handler: Handler | None, method: str, context: Context) -> None:
        caller = Caller.of(context)
        shown = method[:100]
        call = _Call(context, shown, lambda: self._check(method, caller), self._refusals, caller.name)
        try:
            call.check()
            if handler is None:
                refused = grpc.StatusCode.UNIMPLEMENTED, "no such method"
            else:
                with contextlib.ExitStack() as stack:
                    with self._refusals.noting("busy", shown, caller.name):
                        stream = handler.request_streaming or handler.response_streaming
                        held = stack.enter_context(self._bounds.taken(caller.certificate, stream=stream))
                    await _serve(handler, call, held)
                return
        except PeerdError as error:
            refused = grpc.StatusCode[error.grpc_status], str(error)[:MAX_DETAILS]
        except grpc.aio.BaseError:  # the call was aborted, or whoever made it is gone
            raise
        except Exception:
            self._refusals.failed(shown)
            refused = grpc.StatusCode.INTERNAL, "an error of the daemon's own: its log says more"
        # Out here, or the error and all that its frames hold (the request) would live on in a cycle.
        await context.abort(*refused)

    def _check(self, method: str, caller: Caller) -> None:
        check_role(method, caller.transport, caller.names)
        if caller.certificate and not self._is_good(caller.certificate):
            raise DeniedError(
                "this operator's certificate was revoked, or its CA is retired; the authority makes "
                "another (peerctl network operator)"
            )


class _Call:
    """What a servicer sees of a context, with a look at the caller's rights at every message."""

    def __init__(
        self, context: Context, method: str, check: Callable[[], None], refusals: Refusals, caller: str
    ) -> None:
        self._context = context
        self._method = method
        self._check = check
        self._refusals = refusals
        self._caller = caller

    def check(self) -> None:
        """DeniedError."""
        with self._refusals.noting("denied", self._method, self._caller):
            self._check()

    async def write(self, answer: Any) -> None:
        self.check()
        await self._context.write(answer)

    async def request(self, parse: Parse, held: Held) -> Any:
        """The one that there is to be. InvalidInputError, also where it does not come soon."""
        with self._refusals.noting("malformed", self._method, self._caller):
            async with held.reading:
                raw = await self._raw(REQUEST_SECONDS)
                if raw is grpc.aio.EOF:
                    raise InvalidInputError("the request is malformed: there is none")
                return self._parsed(parse, raw)

    async def requests(self, parse: Parse) -> AsyncIterator[Any]:
        """Of a stream, each within a time after the one before."""
        while True:
            with self._refusals.noting("malformed", self._method, self._caller):
                raw = await self._raw(IDLE_SECONDS)
            if raw is grpc.aio.EOF:
                return
            self.check()
            with self._refusals.noting("malformed", self._method, self._caller):
                request = self._parsed(parse, raw)
            yield request

    async def _raw(self, seconds: float) -> Any:
        try:
            async with asyncio.timeout(seconds):
                return await self._context.read()
        except TimeoutError:
            raise InvalidInputError(f"no request came within {seconds:g} s") from None

    def _parsed(self, parse: Parse, raw: bytes) -> Any:
        most = LARGE_BYTES if self._method in LARGE else SMALL_BYTES
        if len(raw) > most:
            raise InvalidInputError(f"the request has {len(raw)} bytes; allowed: at most {most}")
        try:
            return parse(raw)
        except DecodeError:
            raise InvalidInputError(
                f"the request is malformed: no {self._method} of this version of peerd"
            ) from None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)


async def _serve(handler: Handler, call: _Call, held: Held) -> None:
    parse = handler.request_deserializer or bytes
    if handler.request_streaming:
        behaviour: Any = handler.stream_stream or handler.stream_unary
        given: Any = call.requests(parse)
    else:
        behaviour = handler.unary_stream or handler.unary_unary
        given = await call.request(parse, held)
    answers = behaviour(given, call)
    if inspect.isawaitable(answers):
        await call.write(await answers)
        return
    async with contextlib.aclosing(answers):
        async for answer in answers:
            await call.write(answer)
