"""Entry point of `peerctl`."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command line. Never returns: exits with one of the documented codes."""
    # gRPC's C core logs refused handshakes to stderr by itself, and looks at this when it is imported.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # see `peerd.control`: testbeds start daemons
    try:
        from ctl.cli import cli
    except KeyboardInterrupt:  # loading takes seconds on a busy host
        sys.stderr.write("peerctl: interrupted\n")
        sys.exit(130)
    cli.main()


if __name__ == "__main__":
    main()
