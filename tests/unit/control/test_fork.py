"""Starting a trainer leaves gRPC alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import asyncio, sys
{first}
import grpc.aio, uvloop

async def main():
    server = grpc.aio.server()
    server.add_insecure_port("unix:" + sys.argv[1])
    await server.start()
    child = await asyncio.create_subprocess_exec("true")
    print("ended", await child.wait())
    await server.stop(0)

uvloop.run(main())
"""


def told(first: str, socket: Path) -> str:
    """What gRPC's core says of forks."""
    env = {key: value for key, value in os.environ.items() if key != "GRPC_ENABLE_FORK_SUPPORT"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(first=first), str(socket)],
        env=env | {"GRPC_VERBOSITY": "DEBUG", "GRPC_TRACE": "fork,event_engine"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == "ended 0\n"
    return done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere processes are started in another way")
def test_its_fork_handlers_do_not_run(tmp_path: Path) -> None:
    assert "PrepareFork" in told("", tmp_path / "s"), "else this test says nothing"
    assert "PrepareFork" not in told("import peerd.control", tmp_path / "s")
