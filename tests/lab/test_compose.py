"""The images really built, deploy/compose really run: as deploy/README.md tells it, and what it promises."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lab.docker import LAB, find_engine

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent / "compose"


def test_why_there_is_no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LAB, "/nowhere/lab.sh")
    assert find_engine() == f"${LAB}: /nowhere/lab.sh is no program"
    monkeypatch.delenv(LAB)
    monkeypatch.setenv("PATH", "/nowhere")
    assert "docker is not installed" in str(find_engine())


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_walk_through() -> None:
    engine = find_engine()
    if isinstance(engine, str):
        pytest.skip(engine)
    peerd = engine.images(ROOT, full="full", relay="relay")
    watchers = engine.images(HERE, prometheus="prometheus", alertmanager="alertmanager")
    environment = {
        "COMPOSE_PROJECT_NAME": "peerd-lab",
        "COMPOSE_PROFILES": "",  # no Grafana: its image would have to be pulled
        "PEERD_IMAGE": peerd["full"],
        "PEERD_RELAY_IMAGE": peerd["relay"],
        "PROMETHEUS_IMAGE": watchers["prometheus"],
        "ALERTMANAGER_IMAGE": watchers["alertmanager"],
        "PYTHON": sys.executable,
    }
    assert engine.execute(["bash", str(HERE / "walk.sh")], environment) == 0
