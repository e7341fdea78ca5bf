"""What is written beside the event loop: the checkpoint of a run, models and results of closed rounds."""

from peerd.keeping.keeper import Keeper
from peerd.keeping.rounds import RoundKeeper
from peerd.keeping.run import RunKeeper

__all__ = ["Keeper", "RoundKeeper", "RunKeeper"]
