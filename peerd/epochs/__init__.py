"""Mix keys through the epochs: made, published, accepted, destroyed, each with its replay tags on disk."""

from peerd.epochs.driver import EpochDriver
from peerd.epochs.rotation import Rotation

__all__ = ["EpochDriver", "Rotation"]
