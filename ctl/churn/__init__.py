"""Churn on a testbed: peers that join, leave, crash, come back and freeze while a run goes on.

What belongs here: the order of what happens (`schedule`), making it happen to real processes (`director`),
and following peers that come and go (`observer`). `peerctl demo --churn` shows it, `peerctl experiment
churn` measures it.
"""

from ctl.churn.director import Director, Happened
from ctl.churn.observer import Listener, Observer
from ctl.churn.play import Play, play
from ctl.churn.schedule import FULL, QUICK, Schedule, Step, demo_schedule

__all__ = [
    "FULL",
    "QUICK",
    "Director",
    "Happened",
    "Listener",
    "Observer",
    "Play",
    "Schedule",
    "Step",
    "demo_schedule",
    "play",
]
