"""The whole command line: the group and its commands, one module of `ctl.commands` for each noun."""

from __future__ import annotations

import click

from ctl.app import EXIT_CODES, Root
from peerd import __version__

HELP = f"""Steer the peers of a network that trains a model over a mixnet.

    \b
    See it work, on this machine alone:
      peerctl demo
    \b
    A peer on this host, by its control socket:
      peerctl --endpoint unix:/var/lib/peerd/control.sock status
    \b
    Several peers, once they have names:
      peerctl context add alice --address unix:/var/lib/peerd/control.sock
      peerctl context add bob --address 192.0.2.7:9102 --operator ops.pem
      peerctl --all status
      peerctl --all run start --task digits-cnn --wait
    \b
    Real daemons to experiment with, left running:
      peerctl testbed up --peers 6
      peerctl --all peers
      peerctl testbed down

    Without --endpoint, names are looked up in --testbed DIR; else in the testbed that `testbed up`
    left running; else in $PEERCTL_CONTEXTS or ~/.config/peerd/contexts.toml. Without --context, --on
    or --all, the current endpoint of that file is asked (`peerctl context use NAME`). These options
    are understood before and after a command's name.

    --output json (or yaml) prints the bare object of one peer, or with --all or --on one object under
    the peers' names: {{"alice": {{...}}}}. Errors are then such, too: {{"error": ...}} or {{"errors": ...}}
    on stderr.
    With --watch [INTERVAL] commands that report do so again and again: redrawn in a terminal, else one
    document after the other.
{EXIT_CODES}"""

cli = Root(
    "peerctl",
    help=HELP,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    modules=(
        "status",
        "peers",
        "top",
        "events",
        "logs",
        "node",
        "config",
        "doctor",
        "support_bundle",
        "mix",
        "run",
        "task",
        "network",
        "context",
        "testbed",
        "dashboard",
        "demo",
        "experiment",
        "version",
        "completion",
        "man",
    ),
)
click.version_option(__version__, prog_name="peerctl", message="%(prog)s %(version)s")(cli)
