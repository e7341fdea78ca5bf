"""Who belongs to the network: identities, signed descriptors, admission by the authority, the view.

Private keys are made where they are used: a peer's in its state directory, the authority's in the
network directory. What travels is a request (public keys) and a bundle (certificates, descriptors).
"""

from peerd.membership.announcer import Announcer, announce_interval
from peerd.membership.authority import Authority
from peerd.membership.bundle import Bundle
from peerd.membership.descriptor import Descriptor, decode_descriptor
from peerd.membership.identity import Identity
from peerd.membership.state import PeerState
from peerd.membership.tls import client_ssl_context, peer_of, server_ssl_context
from peerd.membership.view import Change, View

__all__ = [
    "Announcer",
    "Authority",
    "Bundle",
    "Change",
    "Descriptor",
    "Identity",
    "PeerState",
    "View",
    "announce_interval",
    "client_ssl_context",
    "decode_descriptor",
    "peer_of",
    "server_ssl_context",
]
