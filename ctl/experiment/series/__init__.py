"""Several runs on one testbed of real daemons, one after another: what came of each, and what it cost.

    specs by name --> play_all --> Measured (the peers' own last words, and what their counters went up by)

What belongs here is what `encodings/` and `poison/` share; which runs, and what is made of them, is theirs.
"""

from ctl.experiment.series.outcome import outcome
from ctl.experiment.series.play import Measured, play_all
from ctl.experiment.series.traffic import QUIET, Traffic

__all__ = ["QUIET", "Measured", "Traffic", "outcome", "play_all"]
