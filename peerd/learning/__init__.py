"""Learning: what a peer does with models, its own and the others', without knowing whose is whose.

Cutting a model vector into fragments and reading strangers' fragments, averaging, the rounds of a run as
a state machine, and the client of the trainer process. All but `trainer_client` and `run` is sans-IO.
Never imports torch: that is for `peerd.training`, in the child process alone.
"""

from peerd.learning.aggregate import Mean
from peerd.learning.catalog import DEFAULTS, check_task
from peerd.learning.fragment import (
    Cover,
    Fragment,
    Layout,
    Rejected,
    cut,
    decode_payload,
    encode_fragment,
    fragment_place,
    fragment_values,
)
from peerd.learning.ports import FragmentSink, RunObserver, SaveRun
from peerd.learning.rounds import Rounds
from peerd.learning.run import Run
from peerd.learning.trainer_client import TaskError, TrainerClient, TrainerDied

__all__ = [
    "DEFAULTS",
    "Cover",
    "Fragment",
    "FragmentSink",
    "Layout",
    "Mean",
    "Rejected",
    "Rounds",
    "Run",
    "RunObserver",
    "SaveRun",
    "TaskError",
    "TrainerClient",
    "TrainerDied",
    "check_task",
    "cut",
    "decode_payload",
    "encode_fragment",
    "fragment_place",
    "fragment_values",
]
