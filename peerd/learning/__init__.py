"""Learning: what a peer does with models, its own and the others', without knowing whose is whose.

Cutting a model vector into fragments and reading strangers' fragments (`encoding`), aggregating them
(`aggregation`), the rounds of a run as a state machine, and the client of the trainer process. All but
`trainer_client` and `run` is sans-IO.
Never imports torch: that is for `peerd.training`, in the child process alone.
"""

from peerd.layout import Layout
from peerd.learning.aggregation import Mean, make_aggregator
from peerd.learning.catalog import as_here, check_task
from peerd.learning.dealing import Dealer, copies_of_each, least_part
from peerd.learning.encoding import Encoding, make_encoding
from peerd.learning.fragment import (
    Cover,
    Fragment,
    Parcel,
    Rejected,
    decode_payload,
    encode_fragment,
    fragment_place,
    fragment_values,
    parcel,
)
from peerd.learning.ports import FragmentSink, RunObserver, SaveRun
from peerd.learning.rounds import Rounds
from peerd.learning.run import Run
from peerd.learning.trainer_client import TaskError, TrainerClient, TrainerDied

__all__ = [
    "Cover",
    "Dealer",
    "Encoding",
    "Fragment",
    "FragmentSink",
    "Layout",
    "Mean",
    "Parcel",
    "Rejected",
    "Rounds",
    "Run",
    "RunObserver",
    "SaveRun",
    "TaskError",
    "TrainerClient",
    "TrainerDied",
    "as_here",
    "check_task",
    "copies_of_each",
    "decode_payload",
    "encode_fragment",
    "fragment_place",
    "fragment_values",
    "least_part",
    "make_aggregator",
    "make_encoding",
    "parcel",
]
