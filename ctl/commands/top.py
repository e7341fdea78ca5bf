"""`peerctl top`"""

from __future__ import annotations

import sys
import time

import click

from ctl import aio, render
from ctl.app import Command, pass_settings
from ctl.repeat import INTERVAL
from ctl.targets import Settings, resolve
from ctl.top.marks import Marks
from ctl.top.model import Model
from ctl.top.play import interactive, reports
from ctl.top.screen import once as frame
from ctl.top.terminal import full_screen
from peerd.errors import InvalidInputError, UnavailableError

PATIENCE_SECONDS = 5.0
"""For an answer: a peer that takes longer is shown as away until it answers."""


@click.command(cls=Command)
@click.option("--interval", type=INTERVAL, default=2.0, help="Between samples.  [default: 2s]")
@click.option("--once", is_flag=True, help="Print one frame, of rates over one interval, and end.")
@pass_settings
def top(settings: Settings, interval: float, once: bool) -> int:
    """Peers, links, rates and the run, live on the whole screen; `h` lists the keys.

    Without --context or --on every peer of the contexts file or testbed is shown. A peer that goes away stays
    in its row until it is back.

    \b
    Columns, as many as the screen has room for:
      Stage    of the run; or away, draining       Links  both directions, to peers not gone for good
      In, Out  cells a second: packets, pings and gossip    Fwd  packets of others
      Own      messages and acknowledgements       Cov    loops, drops, dummies
      RTT      median of messages there and back   Bits   entropy of a departure
      CPU      of one core; T. stands for the trainer

    With --output json or yaml a document is printed every interval, or with --once one: what the screen
    shows, and more. NO_COLOR=1 turns the colours off.

    \b
    Examples:
      peerctl top
      peerctl --on alice,bob top --interval 500ms
      peerctl top --once
      peerctl top -o json | jq -c '.network | {accuracy, alarms}'
    """
    settings = _everybody(settings)
    endpoints = resolve(settings).endpoints
    patience = min(settings.timeout, PATIENCE_SECONDS)
    if not once and not settings.for_programs:
        if not sys.stdout.isatty():
            raise InvalidInputError("top needs a terminal; --once prints one frame, --output json samples")
        with full_screen(render.progress_console(stderr=False)) as terminal:
            aio.run(interactive(endpoints, patience, interval, terminal))
        return 0
    last: list[Model] = []

    def tell(model: Model) -> None:
        last[:] = [model]
        clock = time.time()
        if settings.for_programs:
            printed = render.print_data if once else render.print_next
            printed({"at": clock, "interval_seconds": interval} | model.data(), settings.output)
        else:
            marks = Marks(render.progress_console(stderr=False).options.ascii_only)
            moment = time.strftime("%H:%M:%S", time.localtime(clock))
            render.show(*frame(model, render.terminal_columns(), moment, interval, marks))

    aio.run(reports(endpoints, patience, interval, once, tell))
    if once and not last[0].summary().answering:
        raise UnavailableError("none of the peers answers")
    return 0


def _everybody(settings: Settings) -> Settings:
    """Unless peers are named."""
    if settings.endpoint is None and settings.context is None and settings.on is None:
        settings.all = True
    return settings
