"""`peerctl version`"""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed

import click

from ctl import render
from ctl.app import Command, pass_settings
from ctl.targets import Settings
from peerd import __version__


@click.command(cls=Command)
@pass_settings
def version(settings: Settings) -> None:
    """Versions of peerctl and of what it is built on.

    \b
    Examples:
      peerctl version
      peerctl version --output json
    """
    data = versions()
    if settings.for_programs:
        render.print_data(data, settings.output)
        return
    pairs = [(key, value or "not installed") for key, value in data.items()]
    render.show(render.details(pairs))


def versions() -> dict[str, str | None]:
    """None: not installed."""
    return {
        "peerctl": __version__,
        "python": platform.python_version(),
        **{package: _version(package) for package in ("grpcio", "protobuf", "sphinxmix", "torch")},
    }


def _version(package: str) -> str | None:
    try:
        return installed(package)
    except PackageNotFoundError:
        return None
