"""`peerd-probe` as a process, against a real gRPC server."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc


@pytest.fixture
def folder() -> Iterator[Path]:
    """Unix socket paths are short; pytest's folders are not always."""
    made = Path(tempfile.mkdtemp(prefix="probe-"))
    yield made
    shutil.rmtree(made)


@pytest.fixture
def healthy(folder: Path) -> Iterator[health.HealthServicer]:
    server = grpc.server(ThreadPoolExecutor(max_workers=1))
    servicer = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    server.add_insecure_port(f"unix:{folder / 'control.sock'}")
    server.start()
    yield servicer
    server.stop(None).wait()


def probe(*arguments: str | Path) -> tuple[int, str, str]:
    command = [sys.executable, "-m", "peerd.probe", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


def test_one_that_serves(folder: Path, healthy: health.HealthServicer) -> None:
    healthy.set("", health_pb2.HealthCheckResponse.SERVING)
    assert probe(folder / "control.sock") == (0, "serving\n", "")


def test_one_that_does_not_serve(folder: Path, healthy: health.HealthServicer) -> None:
    healthy.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
    path = folder / "control.sock"
    assert probe(path) == (1, "", f"{path}: the daemon is starting or stopping\n")


def test_nobody_there(folder: Path) -> None:
    path = folder / "control.sock"
    assert probe(path) == (1, "", f"{path}: no answer (unavailable)\n")


@pytest.mark.parametrize("arguments", [(), ("a", "b"), ("--help",)], ids=str)
def test_usage(arguments: tuple[str, ...]) -> None:
    code, out, err = probe(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("usage: peerd-probe SOCKET")


def test_it_stays_cheap() -> None:
    """Asked every few seconds on every host: nothing of peerd's own belongs into it."""
    code = "import sys, peerd.probe; print(*sorted(name for name in sys.modules if name.startswith('peerd')))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == ["peerd", "peerd.probe"]
