"""What the shell may fill in: names of peers, ids of runs, tasks. Where that fails, nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace

import click
from click.shell_completion import CompletionItem

from ctl.client import Client
from ctl.contexts import Contexts, default_path
from ctl.fanout import fan_out
from ctl.targets import Settings, effective, remembered_testbed, resolve
from ctl.testbed import Testbed
from ctl.text import RUN_DIGITS, one_line
from peerd.errors import PeerdError
from peerd.types import SHIPPED_TASKS

ASKING_SECONDS = 1.0
"""For run ids, which peers are asked for: nobody waits for a Tab."""

Completed = list[CompletionItem]


def _settings(context: click.Context) -> Settings:
    """The global options as far as they stand on the line."""
    return context.find_object(Settings) or Settings()


def _matching(names: Iterable[str], incomplete: str) -> Completed:
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def _quietly(found: Callable[[], Completed]) -> Completed:
    """A message would stand in the middle of the line."""
    try:
        return found()
    except (PeerdError, OSError):
        return []


def peer(context: click.Context, parameter: click.Parameter, incomplete: str) -> Completed:
    """One name of those that commands know."""
    return _quietly(lambda: _matching(effective(_settings(context)).endpoints, incomplete))


def peers(context: click.Context, parameter: click.Parameter, incomplete: str) -> Completed:
    """The last of a list with commas; none twice."""
    before, comma, last = incomplete.rpartition(",")
    named = set(before.split(","))

    def found() -> Completed:
        names = effective(_settings(context)).endpoints
        return [CompletionItem(f"{before}{comma}{name}") for name in names
                if name.startswith(last) and name not in named]  # fmt: skip

    return _quietly(found)


def own_context(context: click.Context, parameter: click.Parameter, incomplete: str) -> Completed:
    """Of the user's own file, which `context use` and `remove` change."""
    return _quietly(lambda: _matching(Contexts.load(default_path()).endpoints, incomplete))


def testbed_peer(context: click.Context, parameter: click.Parameter, incomplete: str) -> Completed:
    def found() -> Completed:
        folder = context.params.get("folder") or _settings(context).testbed or remembered_testbed()
        known = [] if folder is None else [one.name for one in Testbed.load(folder).peers]
        return _matching(known, incomplete)

    return _quietly(found)


def run_id(context: click.Context, parameter: click.Parameter, incomplete: str) -> Completed:
    """The first digits of the runs that the peers remember, with their tasks."""
    return _quietly(lambda: asyncio.run(_run_ids(_settings(context), incomplete)))


async def _run_ids(settings: Settings, incomplete: str) -> Completed:
    endpoints = resolve(replace(settings, timeout=ASKING_SECONDS)).endpoints
    answers = await fan_out(endpoints, Client.checkpoints, ASKING_SECONDS)
    specs = {one.spec.run_id: one.spec for answer in answers.good for one in answer.value}
    return [
        CompletionItem(run[:RUN_DIGITS], help=f"{one_line(spec.task)}, {spec.rounds} rounds")
        for run, spec in specs.items()
        if run.startswith(incomplete)
    ]


def task(context: click.Context, parameter: click.Parameter, incomplete: str) -> Completed:
    """Those that are shipped; what else a host has, it names itself."""
    return _matching(SHIPPED_TASKS, incomplete)
