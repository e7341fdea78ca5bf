"""What survives on disk: secret files, the replay log, the run's checkpoint. Atomic, checked, locked."""

from peerd.store.checkpoint import Checkpoint, Saved
from peerd.store.files import read_bounded, write_atomic, write_secret
from peerd.store.lock import StateLock
from peerd.store.replay_log import ReplayLog

__all__ = [
    "Checkpoint",
    "ReplayLog",
    "Saved",
    "StateLock",
    "read_bounded",
    "write_atomic",
    "write_secret",
]
