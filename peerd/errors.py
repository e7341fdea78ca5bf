"""Errors that reach a person. Each is one clear line, with an exit code and a gRPC status.

Nothing here is raised for bytes from the network: those are counted drops (`types.DropReason`).
"""

from __future__ import annotations

from typing import ClassVar


class PeerdError(Exception):
    """Base of all expected failures; `str()` is the one line that the user sees."""

    exit_code: ClassVar[int] = 1
    grpc_status: ClassVar[str] = "INTERNAL"


class InvalidInputError(PeerdError):
    """The user asked for something that is not allowed: says what, and what is allowed."""

    exit_code = 2
    grpc_status = "INVALID_ARGUMENT"


class NotFoundError(PeerdError):
    """A file, folder, peer or run that does not exist."""

    exit_code = 3
    grpc_status = "NOT_FOUND"


class ConflictError(PeerdError):
    """The request does not fit the present state: a run goes on, a name or port is taken."""

    exit_code = 4
    grpc_status = "FAILED_PRECONDITION"


class UnavailableError(PeerdError):
    """A peer or process that does not answer."""

    exit_code = 5
    grpc_status = "UNAVAILABLE"


class BusyError(PeerdError):
    """A peer that answers, but not more at a time: says what to end, or when to ask again."""

    exit_code = 5
    grpc_status = "RESOURCE_EXHAUSTED"


class DeniedError(PeerdError):
    """Wrong credentials or role, or a signature that does not verify."""

    exit_code = 6
    grpc_status = "PERMISSION_DENIED"
