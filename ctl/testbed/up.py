"""Bringing a testbed up: made new, or its stopped daemons started again. All of it, or nothing runs."""

from __future__ import annotations

from pathlib import Path

from ctl.testbed.plan import Plan, ReservedPorts
from ctl.testbed.processes import PeerExitedError
from ctl.testbed.readiness import Progress
from ctl.testbed.testbed import Testbed
from peerd.errors import ConflictError

ATTEMPTS = 3
"""New ports each time: between letting a port go and the daemon's bind, somebody else may take it."""


async def bring_up(folder: Path, plan: Plan, patience: float, progress: Progress) -> Testbed:
    """A new testbed whose peers all see each other, but for the plan's late ones, which do not run yet.
    After a failure nothing runs; the logs stay."""
    for attempts_left in reversed(range(ATTEMPTS)):
        ports = ReservedPorts(plan.peers)
        try:
            testbed = Testbed.create(folder, plan, ports)
            await _start(testbed, plan, patience, progress)
        except PeerExitedError as error:
            ports.close()
            if error.code != ConflictError.exit_code or not attempts_left:
                raise
            testbed.remove()
            progress("a port was taken in between; once more with others", True)
        except BaseException:
            ports.close()
            raise
        else:
            return testbed
    raise ConflictError("no free ports")  # range() above is never empty: for the type checker


async def bring_back(testbed: Testbed, plan: Plan, patience: float, progress: Progress) -> None:
    """Start those daemons of an existing testbed that do not run. On failure, none is left running."""
    if plan.peers != len(testbed.peers):
        raise ConflictError(
            f"{testbed.folder} is a testbed of {len(testbed.peers)} peers; --fresh makes a new one"
        )
    await _start(testbed, plan, patience, progress)


async def grow(testbed: Testbed, plan: Plan, name: str, patience: float, progress: Progress) -> None:
    """Enrol one more peer in a testbed that runs, and start it."""
    testbed.add(name)
    await bring_back_one(testbed, plan, name, patience, progress)


async def bring_back_one(
    testbed: Testbed, plan: Plan, name: str, patience: float, progress: Progress
) -> None:
    """Start one peer of a testbed that runs, until all see each other. When that fails, it does not run; the
    others go on."""
    try:
        await testbed.start(plan, patience, progress, [name])
        await testbed.wait_connected(patience, progress)
    except BaseException:
        testbed.end([name])
        raise


async def _start(testbed: Testbed, plan: Plan, patience: float, progress: Progress) -> None:
    try:
        await testbed.start(plan, patience, progress)
        await testbed.wait_connected(patience, progress)
    except BaseException:
        testbed.down()
        raise
