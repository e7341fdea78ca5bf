"""What the operator sees: counters, the Prometheus endpoint, logs, resource use.

No label, log line or error links a packet to its origin or a fragment to a peer; peerd/README.md says
which labels exist and why they are safe.
"""

from peerd.observe.alarms import DISK_CAUSES, Alarm, Alarms, DiskCause
from peerd.observe.endpoint import MetricsEndpoint
from peerd.observe.events import EventLog
from peerd.observe.logs import Logs
from peerd.observe.metrics import Metrics
from peerd.observe.page import PageState, page_state
from peerd.observe.resources import StageClock, disk_space, open_files, process_usage
from peerd.observe.ring import LEVELS, LogRing
from peerd.observe.sample import Neighbour, Sample
from peerd.observe.tally import Histogram, Tally

__all__ = [
    "DISK_CAUSES",
    "LEVELS",
    "Alarm",
    "Alarms",
    "DiskCause",
    "EventLog",
    "Histogram",
    "LogRing",
    "Logs",
    "Metrics",
    "MetricsEndpoint",
    "Neighbour",
    "PageState",
    "Sample",
    "StageClock",
    "Tally",
    "disk_space",
    "open_files",
    "page_state",
    "process_usage",
]
