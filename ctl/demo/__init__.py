"""The demo: a testbed, one run, and a summary of what the peers report of it.

What belongs here: the order of the play and the arithmetic of the summary. Every figure comes from
the daemons' own answers or their checkpoints; nothing is estimated.
"""

from ctl.demo.agreement import Agreement, read_agreement
from ctl.demo.play import Outcome, Script, play
from ctl.demo.summary import summarise

__all__ = ["Agreement", "Outcome", "Script", "play", "read_agreement", "summarise"]
