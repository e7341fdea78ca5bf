"""`peerctl man`"""

from __future__ import annotations

import os
import time
from pathlib import Path

import click

from ctl import render
from ctl.app import Command, pass_settings
from ctl.man import pages
from ctl.targets import Settings
from ctl.text import number_of
from peerd import __version__
from peerd.errors import InvalidInputError


@click.command(cls=Command)
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@click.pass_context
@pass_settings
def man(settings: Settings, context: click.Context, directory: Path) -> None:
    """Write the manual pages of all commands into DIRECTORY.

    Pages that lie there are replaced. `make man` writes those of peerd, too. $SOURCE_DATE_EPOCH sets the
    date in their footers.

    \b
    Examples:
      peerctl man ~/.local/share/man/man1 && man peerctl-run-start
      peerctl man man1 && man -l man1/peerctl.1
    """
    at = float(os.environ.get("SOURCE_DATE_EPOCH") or time.time())
    written = []
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in pages(context.find_root().command, "peerctl", __version__, at):
            (directory / name).write_text(text, encoding="utf-8")
            written.append(name)
    except OSError as error:
        raise InvalidInputError(f"{directory}: cannot be written: {error.strerror}") from None
    if settings.for_programs:
        render.print_data({"directory": str(directory), "pages": written}, settings.output)
    else:
        click.echo(f"{number_of(len(written), 'page')} in {directory}: man -l {directory}/peerctl.1")
