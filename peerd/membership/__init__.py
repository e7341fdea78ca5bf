"""Who belongs to the network: identities, admission by the authority, signed records, gossip, the view.

Private keys are made where they are used: a peer's in its state directory, the authority's in the
network directory. What travels is a request (public keys) and a bundle (certificates, descriptors).
"""

from peerd.membership.about import About
from peerd.membership.authority import Authority
from peerd.membership.bundle import Bundle
from peerd.membership.descriptor import Descriptor, decode_descriptor
from peerd.membership.gossip import Gossip, Heard, Tell
from peerd.membership.identity import Identity
from peerd.membership.policy import DialPolicy
from peerd.membership.records import (
    Kind,
    Member,
    NewAuthority,
    Record,
    RunNotice,
    certificate_record,
    delegation_record,
    descriptor_record,
    open_record,
    run_record,
    run_spec_message,
    run_spec_of,
)
from peerd.membership.roster import Admitted, Roster
from peerd.membership.rumors import is_news
from peerd.membership.state import PeerState
from peerd.membership.tls import (
    client_ssl_context,
    enrolment_ssl_context,
    peer_of,
    server_ssl_context,
)
from peerd.membership.trust import Trust
from peerd.membership.verify import Refused
from peerd.membership.view import STATES, Change, View

__all__ = [
    "STATES",
    "About",
    "Admitted",
    "Authority",
    "Bundle",
    "Change",
    "Descriptor",
    "DialPolicy",
    "Gossip",
    "Heard",
    "Identity",
    "Kind",
    "Member",
    "NewAuthority",
    "PeerState",
    "Record",
    "Refused",
    "Roster",
    "RunNotice",
    "Tell",
    "Trust",
    "View",
    "certificate_record",
    "client_ssl_context",
    "decode_descriptor",
    "delegation_record",
    "descriptor_record",
    "enrolment_ssl_context",
    "is_news",
    "open_record",
    "peer_of",
    "run_record",
    "run_spec_message",
    "run_spec_of",
    "server_ssl_context",
]
