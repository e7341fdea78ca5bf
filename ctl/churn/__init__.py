"""Churn on a testbed: peers that join, leave, crash, come back and freeze while a run goes on.

What belongs here: the order of what happens (`schedule`), making it happen to real processes (`director`),
and following peers that come and go (`observer`). `peerctl demo --churn` shows it, `peerctl experiment
churn` measures it.
"""

from ctl.churn.director import Director, Happened
from ctl.churn.observer import Listener, Observer, Silence
from ctl.churn.pace import measure, paced
from ctl.churn.play import Play, play
from ctl.churn.schedule import FULL, QUICK, Schedule, Step, demo_schedule
from ctl.churn.screen import Screen

__all__ = [
    "FULL",
    "QUICK",
    "Director",
    "Happened",
    "Listener",
    "Observer",
    "Play",
    "Schedule",
    "Screen",
    "Silence",
    "Step",
    "demo_schedule",
    "measure",
    "paced",
    "play",
]
