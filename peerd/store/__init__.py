"""What survives on disk: secret files, mix keys, replay logs, checkpoints, releases. Atomic and checked."""

from peerd.reading import read_bounded
from peerd.store.archive import Archive, digest_of
from peerd.store.checkpoint import Checkpoint, Saved
from peerd.store.files import sync_folder, write_atomic, write_secret
from peerd.store.history import History
from peerd.store.lock import StateLock
from peerd.store.mixkeys import MixKeyFile, boot_id
from peerd.store.releases import Releases
from peerd.store.replay_log import ReplayLog
from peerd.store.tomlfile import edit_toml

__all__ = [
    "Archive",
    "Checkpoint",
    "History",
    "MixKeyFile",
    "Releases",
    "ReplayLog",
    "Saved",
    "StateLock",
    "boot_id",
    "digest_of",
    "edit_toml",
    "read_bounded",
    "sync_folder",
    "write_atomic",
    "write_secret",
]
