"""`peerd-probe SOCKET`: whether the daemon at that control socket serves, for container runtimes.

Asked every few seconds for as long as a peer lives, so that it imports nothing but gRPC: a seventh of the CPU
time of `peerctl node health`, which does the same for any number of peers, and over TLS.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # else it logs refused connections by itself

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

USAGE = "usage: peerd-probe SOCKET, the control socket of a peer, as in /var/lib/peerd/control.sock"
ANSWER_SECONDS = 3.0


def refusal(socket: str) -> str:
    """Why it is not healthy, in one line; empty if it is."""
    request = health_pb2.HealthCheckRequest(service="")
    try:
        with grpc.insecure_channel(f"unix:{socket}") as channel:
            answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=ANSWER_SECONDS)
    except grpc.RpcError as error:
        return f"{socket}: no answer ({error.code().name.lower()})"
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        return f"{socket}: the daemon is starting or stopping"
    return ""


def main() -> NoReturn:
    """Exit code 0: it serves; 1: it does not; 2: bad usage."""
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        print(USAGE, file=sys.stderr)
        sys.exit(2)
    why = refusal(sys.argv[1])
    print(why or "serving", file=sys.stderr if why else sys.stdout)
    sys.exit(bool(why))


if __name__ == "__main__":
    main()
