"""deploy/README.md's way from bare hosts to a network that is watched, by its own commands: three hosts for
peers and one for Debian's Prometheus and Alertmanager.

What cannot be had where this runs is left out and named in `SKIPPED`; Grafana's files are put where they
belong, and what Grafana would ask through them is asked.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.grafana import panel_queries
from lab.hosts import MONITORING, Hosts, make_root, make_wheels, until, why_not
from lab.netns import entered
from lab.walk import commands_of

SOURCE = Path(__file__).parents[2]
DOCUMENT = SOURCE / "deploy" / "README.md"
INSTALL = commands_of(DOCUMENT, "## From bare hosts to a network: `install.sh`")
WATCH = commands_of(DOCUMENT, "### Three hosts and a monitoring host, step by step")
NAMES = ("alice", "bob", "carol")
SKIPPED = {
    "apt-get ": "the hosts reach no registry: what it would install is there",
    "restart grafana-server": "no Grafana server is to be had",
}
REASON = why_not()
soak = [
    pytest.mark.soak,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(REASON is not None, reason=str(REASON)),
]


@pytest.mark.parametrize("command", [*INSTALL, *WATCH])
def test_the_shell_understands_every_command(command: str) -> None:
    done = subprocess.run(["bash", "-n", "-c", command], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_what_is_skipped_is_there() -> None:
    assert {part: sum(part in command for command in WATCH) for part in SKIPPED} == dict.fromkeys(SKIPPED, 1)


class Operator:
    """Somebody with a clone of the source, a shell and the document."""

    def __init__(self, hosts: Hosts, folder: Path, wheels: Path) -> None:
        self.hosts = hosts
        self.folder = folder
        self._wheels = wheels
        self._exports: list[str] = []
        for name in ("deploy", ".venv"):
            (folder / name).symlink_to(SOURCE / name)

    def types(self, command: str) -> str:
        """What it says on standard output. It has to succeed."""
        if command.startswith("make setup && "):  # done
            command = command.removeprefix("make setup && ")
        if command.startswith("export "):
            self._exports.append(command)
        command = command.replace("deploy/install.sh ", f"deploy/install.sh --wheels {self._wheels} ")
        done = subprocess.run(
            self.hosts.inside("bash", "-c", "\n".join([*self._exports, command])),
            cwd=self.folder, env={**os.environ, "PATH": f"{self.hosts.bin}:{os.environ['PATH']}"},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=900,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def walks(self, commands: list[str], up_to: str) -> str:
        """Takes commands off the list as far as the one with `up_to` in it; what that one says."""
        while commands:
            command = commands.pop(0)
            said = "" if any(part in command for part in SKIPPED) else self.types(command)
            if up_to in command:
                return said
        raise AssertionError(f"{up_to!r} is not in the document, or not in this order")


class Prometheus:
    """As the operator's browser would reach it, through the tunnel of the document."""

    def __init__(self, hosts: Hosts, command: str) -> None:
        self._hosts = hosts
        path = {**os.environ, "PATH": f"{hosts.bin}:{os.environ['PATH']}"}
        self._tunnel = subprocess.Popen(
            hosts.inside("bash", "-c", f"exec {command}"), stdin=subprocess.DEVNULL, env=path
        )

    def ask(self, path: str, **form: str) -> Any:
        """By POST, as the data source is set. urllib.error.HTTPError has the server's reason."""
        data = urllib.parse.urlencode(form).encode() if form else None
        with entered(self._hosts.space):
            answer = urllib.request.urlopen(f"http://127.0.0.1:9090{path}", data, timeout=20)
        with answer:
            return json.load(answer)["data"]

    def query(self, expression: str) -> dict[str, float]:
        """By instance."""
        found = self.ask("/api/v1/query", query=expression)["result"]
        return {series["metric"].get("instance", ""): float(series["value"][1]) for series in found}

    def ready(self) -> bool:
        try:
            self.ask("/api/v1/status/runtimeinfo")
        except OSError:
            assert self._tunnel.poll() is None, "the tunnel has ended"
            return False
        return True

    def end(self) -> None:
        self._tunnel.terminate()
        self._tunnel.wait(20)


@pytest.fixture(scope="module")
def operator(kept, tmp_path_factory) -> Iterator[Operator]:
    roots = dict.fromkeys(NAMES, make_root(kept / "root")) | {"watch": make_root(kept / "watch", MONITORING)}
    wheels = make_wheels(SOURCE, kept / "wheels-train", "[train]")
    with Hosts(roots, tmp_path_factory.mktemp("hosts")) as hosts:
        # What Grafana's package brings.
        hosts.ssh("watch", "mkdir -p /etc/grafana/provisioning /var/lib/grafana")
        yield Operator(hosts, tmp_path_factory.mktemp("operator"), wheels)


def reaches(hosts: Hosts, address: str) -> bool:
    with entered(hosts.space):
        try:
            urllib.request.urlopen(f"http://{address}/metrics", timeout=3).close()
        except OSError:
            return False
    return True


def forwards(hosts: Hosts, *options: str) -> str:
    """What alice's host says to the monitoring host's key when it asks for something else."""
    ssh = (
        "timeout 20 ssh -F none -i /etc/peerd-scrape/key -o UserKnownHostsFile=/etc/peerd-scrape/known_hosts "
        "-o BatchMode=yes -o ExitOnForwardFailure=yes -T"
    )
    command = f"runuser -u prometheus -- {ssh} {' '.join(options)} </dev/null 2>&1 || true"
    return hosts.ssh("watch", command)


def check_what_is_open(hosts: Hosts) -> None:
    """Metrics and what is made of them are on loopback, and the key opens nothing else."""
    outside = [*(f"{hosts.address(name)}:9103" for name in NAMES)]
    outside += [f"{hosts.address('watch')}:{port}" for port in (9090, 9093, 9111, 9112, 9113)]
    assert not [address for address in outside if reaches(hosts, address)]
    alice = f"peerd-scrape@{hosts.address('alice')}"
    assert "This account is currently not available" in forwards(hosts, alice, "id")
    assert "stdio forwarding failed" in forwards(hosts, "-W", "127.0.0.1:22", alice)
    for other in ("9998:127.0.0.1:22", "/tmp/s:127.0.0.1:22"):
        assert "remote port forwarding failed" in forwards(hosts, "-N", "-R", other, alice)
    shown = hosts.ssh("alice", f"sshd -T -C user=peerd-scrape,host=any,addr={hosts.address('watch')}")
    assert "allowstreamlocalforwarding no" in shown.lower().splitlines()


def check_grafana(hosts: Hosts, server: Prometheus) -> None:
    """Its files find each other, and every query of every panel is answered."""
    environment = dict(
        line.split("=", 1) for line in hosts.ssh("watch", "cat /etc/default/grafana-server").splitlines()
    )
    provisioning = "/etc/grafana/provisioning"
    sources = yaml.safe_load(hosts.ssh("watch", f"cat {provisioning}/datasources/prometheus.yml"))
    (source,) = sources["datasources"]
    assert re.sub(r"\$\{(\w+)\}", lambda m: environment[m[1]], source["url"]) == "http://127.0.0.1:9090"
    assert environment["GF_SERVER_HTTP_ADDR"] == "127.0.0.1"
    (provider,) = yaml.safe_load(hosts.ssh("watch", f"cat {provisioning}/dashboards/peerd.yml"))["providers"]
    there = hosts.ssh("watch", f"ls {provider['options']['path']}").split()
    dashboards = SOURCE / "deploy" / "grafana" / "dashboards"
    assert there == sorted(path.name for path in dashboards.iterdir())
    errors, empty, queries = {}, [], panel_queries(dashboards, "4m")
    for panel, expression in queries.items():
        try:
            if not server.ask("/api/v1/query", query=expression)["result"]:
                empty.append(panel)
        except urllib.error.HTTPError as error:
            errors[panel] = error.read().decode()
    assert not errors
    # Empty is what takes `detail = "full"`, noise, or has not happened: test_observability has data for all.
    assert len(empty) < len(queries) / 2, empty


class TestFromNothingToAlerts:
    pytestmark = soak

    def test_exactly_as_written(self, operator) -> None:
        hosts, install, watch = operator.hosts, list(INSTALL), list(WATCH)
        operator.walks(install, "--all status")
        operator.walks(install, "--all doctor")
        assert "10/10" in operator.walks(install, "--all run start")

        operator.walks(watch, "restart prometheus")
        forward = next(command for command in watch if command.startswith("ssh -N "))
        server = Prometheus(hosts, forward)
        try:
            self._watched(operator, watch, server)
        finally:
            server.end()

    def _watched(self, operator: Operator, watch: list[str], server: Prometheus) -> None:
        hosts, alerts = operator.hosts, Alerts(operator)
        until(server.ready)
        until(lambda: server.query('up{job="peerd"}') == dict.fromkeys(NAMES, 1.0))
        assert "=> 1" in operator.walks(watch, "promtool query")
        check_what_is_open(hosts)

        operator.walks(watch, "run start")
        until(lambda: len(server.query("peerd_round > 5")) == len(NAMES), 240)
        assert server.query("ALERTS") == {}
        assert not alerts.named(operator.walks(watch, "alert query"))
        rules = [rule for group in server.ask("/api/v1/rules")["groups"] for rule in group["rules"]]
        assert len(rules) > 50
        assert not [rule for rule in rules if rule["health"] != "ok"]

        operator.walks(watch, "systemctl stop peerd")
        until(lambda: alerts.named(alerts.said()), 240)
        assert alerts.named(operator.walks(watch, "alert query")) == {("PeerDown", "bob does not answer")}
        assert "1 hop and a recipient take 2 other peers" in operator.types("peerctl --all doctor || true")
        operator.walks(watch, "systemctl start peerd")
        until(lambda: not alerts.named(alerts.said()), 240)

        operator.walks(watch, "restart grafana-server")
        check_grafana(hosts, server)
        operator.types("peerctl --all run stop")


class Alerts:
    COMMAND = next(command for command in WATCH if "alert query" in command)

    def __init__(self, operator: Operator) -> None:
        self._operator = operator

    def said(self) -> str:
        return self._operator.types(self.COMMAND)

    @staticmethod
    def named(table: str) -> set[tuple[str, str]]:
        """(alert, summary)"""
        lines = [re.split(r"\s{2,}", line.strip()) for line in table.splitlines()[1:] if line.strip()]
        return {(line[0], line[2]) for line in lines}
