"""The control API: a gRPC server, one servicer per noun. Servicers translate; the node decides."""

import os

# The daemon starts its trainers by fork and exec. gRPC's fork handlers are for a child that goes on with
# gRPC: they stop its threads in the midst of calls, and start them again in a child that is about to be
# another program. Now and then that crashed the child, or left a server that answered nobody. Read at the
# first import of grpc.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

from peerd.control.refusals import Refusals
from peerd.control.server import MAX_CONNECTIONS, ControlServer, TlsFiles

__all__ = ["MAX_CONNECTIONS", "ControlServer", "Refusals", "TlsFiles"]
