"""What a peer says of itself beside its mix keys; part of its descriptor."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class About:
    """Fields of the same names in `Descriptor`, which says what they mean."""

    address: str = ""
    """host:port; empty: that of the enrolment request."""
    leaving: bool = False
    run: bytes = b""
    contributes_from: int = 0
    finished: bool = False
    model: bytes = b""
    instance: int = 0
    started_at: float = 0.0
    software: str = ""
