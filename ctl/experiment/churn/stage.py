"""A testbed for one run: brought up, played on, and ended and removed, whatever happens."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from rich.text import Text

from ctl.testbed import Plan, Testbed, bring_up
from ctl.watch import View
from peerd.errors import PeerdError


@asynccontextmanager
async def testbed(
    folder: Path, plan: Plan, patience: float, view: View, label: str, keep: bool
) -> AsyncIterator[Testbed]:
    """`keep`: its files stay; its processes never do."""

    def progress(text: str, complete: bool) -> None:
        view.draw(lambda: Text(f"{label}: {text}"))
        if complete:
            view.lines([f"{label}: {text}"])

    found: Testbed | None = None
    view.draw(lambda: Text(f"{label}: starting {plan.peers - len(plan.late)} peers ..."))
    try:
        found = await bring_up(folder, plan, patience, progress)
        yield found
    finally:
        if found is None:  # `bring_up` has ended what it had started
            with suppress(PeerdError):
                found = Testbed.load(folder)
        if found is not None:
            found.down()
        if keep:
            view.lines([f"{label}: the files stay in {folder}"])
        else:
            shutil.rmtree(folder, ignore_errors=True)
        view.draw(None)
