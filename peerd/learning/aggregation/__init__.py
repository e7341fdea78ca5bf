"""What becomes of the fragments of one index, when nobody knows whose they are: one port, one file each.

mean, weighted-by-age   streaming, one model of memory; for peers that trust each other
median, trimmed-mean    withstand false fragments, coordinate by coordinate
clipped-mean            bounds what any fragment can move
krum                    chooses one fragment for each index
"""

from peerd.layout import Layout
from peerd.learning.aggregation.clipped import ClippedMean
from peerd.learning.aggregation.krum import Krum
from peerd.learning.aggregation.mean import Mean, WeightedByAge
from peerd.learning.aggregation.median import Median
from peerd.learning.aggregation.port import Aggregator
from peerd.learning.aggregation.trimmed import TrimmedMean
from peerd.types import RunSpec

__all__ = [
    "Aggregator",
    "ClippedMean",
    "Krum",
    "Mean",
    "Median",
    "TrimmedMean",
    "WeightedByAge",
    "make_aggregator",
]


def make_aggregator(spec: RunSpec, layout: Layout, limit: int) -> Aggregator:
    """An empty one of a run, for one round."""
    match spec.aggregator:
        case "mean":
            return Mean(layout, limit)
        case "weighted-by-age":
            return WeightedByAge(layout, limit)
        case "median":
            return Median(layout, limit)
        case "trimmed-mean":
            return TrimmedMean(layout, limit, spec.trim)
        case "clipped-mean":
            return ClippedMean(layout, limit, spec.clip)
        case "krum":
            return Krum(layout, limit, spec.trim)
