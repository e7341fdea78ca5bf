"""`peerctl dashboard`"""

from __future__ import annotations

import asyncio
import os
import sys
import webbrowser

import click

from ctl import aio, render
from ctl.app import Command, pass_settings
from ctl.targets import Settings, Targets, resolve
from ctl.text import number_of


@click.command(cls=Command)
@click.option(
    "--listen",
    default="127.0.0.1:0",
    metavar="HOST:PORT",
    help="Loopback only; port 0 takes a free one.  [default: 127.0.0.1:0]",
)
@click.option("--no-open", is_flag=True, help="Only print the link.")
@pass_settings
def dashboard(settings: Settings, listen: str, no_open: bool) -> None:
    """Steer the network from a browser on this machine: a page that updates itself.

    It shows the peers, the run, curves of accuracy and round trips, and alarms, and has forms to start, stop,
    pause and resume a run and to change mixing. This process asks the peers, with your operator's
    credentials; the browser never sees those. Without --context, --on or --endpoint: all peers of the
    contexts file or testbed.

    The page is served on loopback only. The link holds a token that is good once, for one browser: give it
    to nobody. On another machine, forward the port to your own:
    `ssh -L 8470:127.0.0.1:8470 HOST peerctl dashboard --listen 127.0.0.1:8470 --no-open`.

    \b
    Examples:
      peerctl dashboard
      peerctl --on alice,bob dashboard --listen 127.0.0.1:8470 --no-open
    """
    targets = _whole_network(settings)
    try:
        aio.run(_serve(settings, targets, listen, no_open))
    except KeyboardInterrupt:
        click.echo("The dashboard has ended; the peers go on.", err=True)


def _whole_network(settings: Settings) -> Targets:
    if settings.endpoint is None and settings.context is None and settings.on is None:
        settings.all = True
    return resolve(settings)


async def _serve(settings: Settings, targets: Targets, address: str, no_open: bool) -> None:
    # only for who wants it: a server takes long to load
    from ctl.dashboard.access import Access
    from ctl.dashboard.actions import Actions
    from ctl.dashboard.collector import Collector
    from ctl.dashboard.server import Dashboard, listen, serving, url_of

    access = Access()
    with listen(address) as bound:
        collector = Collector(targets.endpoints, settings.timeout)
        actions = Actions(settings, targets.endpoints)
        page = Dashboard(collector, actions, access, bound.getsockname()[1])
        url = url_of(bound, access.token or "")
        async with serving(page, bound, collector):
            _tell(settings, url, len(targets.endpoints))
            if not no_open and _has_browser():
                await asyncio.to_thread(webbrowser.open, url)
            await asyncio.Event().wait()


def _tell(settings: Settings, url: str, peers: int) -> None:
    if settings.for_programs:
        render.print_data({"url": url}, settings.output)
        return
    click.echo(f"Dashboard of {number_of(peers, 'peer')}: {url}")
    click.echo("The link is good once, in one browser on this machine. Ctrl-C ends the dashboard.")
    sys.stdout.flush()


def _has_browser() -> bool:
    """One with windows: without a display Python would start one for terminals, in this one."""
    return sys.platform == "darwin" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
