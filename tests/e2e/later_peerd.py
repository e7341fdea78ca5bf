"""`peerd` as its next minor version may be: it says more in what it signs, tells of records of a kind that
this version does not know, and says things in gossip that this version never says. Run as a program.
"""

from __future__ import annotations

from typing import Any

import peerd

MAJOR, MINOR, _ = peerd.__version__.split(".")
LATER = f"{MAJOR}.{int(MINOR) + 1}.0"
NEW_FIELD = b"\xa2\x06\x05later"
"""Field 100, of bytes."""
NEW_BODY = b"\x2a\x05later"
"""Gossip's field 5."""
NEW_RECORD = b"\x22\x09\x0a\x07\x3a\x05later"
"""Gossip's records, of which one is Record's field 7."""


def main() -> None:
    peerd.__version__ = LATER
    from peerd.membership import descriptor, gossip

    class Messages:
        """The generated module, in which a descriptor has one field more."""

        def __getattr__(self, name: str) -> Any:
            return Later if name == "Descriptor" else getattr(messages, name)

    class Later:
        FromString = descriptor.gossip_pb2.Descriptor.FromString

        def __init__(self, **fields: Any) -> None:
            self._message = messages.Descriptor(**fields)

        def SerializeToString(self, deterministic: bool) -> bytes:
            return self._message.SerializeToString(deterministic=deterministic) + NEW_FIELD

    messages = descriptor.gossip_pb2
    descriptor.gossip_pb2 = Messages()
    tick = gossip.Gossip.tick

    def talkative(self: gossip.Gossip, *arguments: Any) -> list[gossip.Tell]:
        tells = tick(self, *arguments)
        return [*tells, *(gossip.Tell(t.to, body, False) for t in tells for body in (NEW_BODY, NEW_RECORD))]

    gossip.Gossip.tick = talkative  # type: ignore[method-assign]
    from peerd.__main__ import main as run

    run()


if __name__ == "__main__":
    main()
