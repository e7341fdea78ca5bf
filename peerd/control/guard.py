"""What stands before every call: the caller's role, and errors turned into gRPC statuses.

Over the Unix socket the file's permissions are the guard and every caller is an admin. Over TCP the
client certificate (verified by TLS against the network's CA) carries the role in a URI SAN,
`peerd://operator/<role>/<name>`; a viewer may call what only reads. TLS looks at a certificate once, when the
connection is made; whether it was revoked since is asked at every call, and at every message of a stream.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias

import grpc
import grpc.aio
from cryptography import x509

from peerd.errors import DeniedError, PeerdError
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
"""Health and reflection: any caller that TLS let in."""

MAX_DETAILS = 2_000
"""Characters: an error may quote what was asked, and gRPC has but 8 KiB for it."""

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
IsGood: TypeAlias = Callable[[bytes], bool]
"""Whether an operator's certificate (PEM), which TLS has found good, still is."""
KNOWN_OPERATORS = 256


def by_roster(roster: Roster) -> IsGood:
    """Not revoked, and certified by a CA that is in force."""

    @functools.lru_cache(
        KNOWN_OPERATORS
    )  # each call brings it again, and a signature takes longer than an answer
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
    if "viewer" in roles and (method in READ_ONLY or method.startswith(OPEN)):
        return
    if "viewer" in roles:
        raise DeniedError("a viewer's certificate cannot change anything; use an admin's")
    raise DeniedError("the client certificate is not an operator's (peerctl network operator)")


def _role(san: bytes) -> str | None:
    parts = san.decode("ascii", "replace").removeprefix("peerd://operator/").split("/")
    is_operator = san.startswith(b"peerd://operator/") and len(parts) == 2
    return parts[0] if is_operator else None


class Guard(grpc.aio.ServerInterceptor):
    """Wraps each handler: the role first, then the call, then its errors."""

    def __init__(self, is_good: IsGood = lambda _pem: True) -> None:
        """`is_good`: `by_roster`, or what else knows who was revoked."""
        self._is_good = is_good

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None:
            return handler
        if handler.unary_unary is not None:
            return grpc.unary_unary_rpc_method_handler(
                self._unary(handler.unary_unary, method),
                handler.request_deserializer,
                handler.response_serializer,
            )
        if handler.unary_stream is not None:
            return grpc.unary_stream_rpc_method_handler(
                self._stream(handler.unary_stream, method),
                handler.request_deserializer,
                handler.response_serializer,
            )
        # The only others are reflection's bidirectional streams, which carry no state of ours.
        return handler

    def _unary(self, behaviour: Any, method: str) -> Any:
        async def call(request: Any, context: Context) -> Any:
            try:
                self._check(method, context)
                return await behaviour(request, context)
            except PeerdError as error:
                await _abort(context, error)

        return call

    def _stream(self, behaviour: Any, method: str) -> Any:
        async def call(request: Any, context: Context) -> AsyncIterator[Any]:
            try:
                self._check(method, context)
                answers = behaviour(request, context)
                if inspect.isawaitable(answers):  # the health service's: it writes by itself
                    await answers
                    return
                async for response in answers:
                    self._check(method, context)
                    yield response
            except PeerdError as error:
                await _abort(context, error)

        return call

    def _check(self, method: str, context: Context) -> None:
        auth = context.auth_context()
        transport = b"".join(auth.get("transport_security_type", [])).decode()
        check_role(method, transport, list(auth.get("x509_subject_alternative_name", [])))
        for pem in auth.get("x509_pem_cert", []):
            if not self._is_good(pem):
                raise DeniedError(
                    "this operator's certificate was revoked, or its CA is retired; the authority makes "
                    "another (peerctl network operator)"
                )


async def _abort(context: Context, error: PeerdError) -> None:
    await context.abort(grpc.StatusCode[error.grpc_status], str(error)[:MAX_DETAILS])
