"""This host, as far as a daemon has to do with it: its service manager, its limits, a bound on stopping."""

from peerd.host.limits import Limits, Shortage, memory_limit, raise_file_limit
from peerd.host.manager import ServiceManager
from peerd.host.stopping import end_within
from peerd.host.watch import Watch

__all__ = [
    "Limits",
    "ServiceManager",
    "Shortage",
    "Watch",
    "end_within",
    "memory_limit",
    "raise_file_limit",
]
