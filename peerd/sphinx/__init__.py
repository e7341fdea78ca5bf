"""The Sphinx packet format: sphinxmix with X25519, OpenSSL primitives and compact commands.

Here belongs what turns a message and a path into a packet and takes one layer off, and the filter
that knows a replay. Pure functions of bytes: no IO, no clock, no view of who is reachable. `group`,
`params` and `core` are the format, whatever its commands; the other modules are its use in peerd.
"""

from __future__ import annotations

from peerd.sphinx.geometry import Geometry
from peerd.sphinx.keyring import EpochKey, Epochs, Keyring
from peerd.sphinx.keys import MixKey, is_public_mix_key
from peerd.sphinx.replay import ReplayFilter
from peerd.sphinx.surb import Surb, SurbKeys, make_surb, reply
from peerd.sphinx.unwrap import Deliver, Forward, Rejected, SurbReply, Unwrapped, unwrap
from peerd.sphinx.wrap import Hop, wrap

__all__ = [
    "Deliver",
    "EpochKey",
    "Epochs",
    "Forward",
    "Geometry",
    "Hop",
    "Keyring",
    "MixKey",
    "Rejected",
    "ReplayFilter",
    "Surb",
    "SurbKeys",
    "SurbReply",
    "Unwrapped",
    "is_public_mix_key",
    "make_surb",
    "reply",
    "unwrap",
    "wrap",
]
