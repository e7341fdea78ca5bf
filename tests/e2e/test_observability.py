"""A real Prometheus asks six real peers with a run going on: every panel's query and every rule has an answer
that is no error and not empty, no alert fires, and one does when a peer is killed. One of the six tells as
little as peers do by default: it answers all that alerts go by, and panels that do not ask for more.

Alerts compare; in health their expressions are empty. So each series that they go by is asked for instead.
"""

from __future__ import annotations

import json
import math
import re
import shutil
import socket
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
from peerd_dashboards.parts import FULL

from ctl.client import Client
from ctl.testbed import Testbed

DEPLOY = Path(__file__).parents[2] / "deploy"
SELECTOR = re.compile(r"(?<![\w:])((?:peerd_\w+|\w+:peerd_\w+:\w+|up|scrape_duration_seconds)(?:\{[^}]*\})?)")
WINDOW = "30s"
"""For $__rate_interval: some rounds."""
COARSE_WINDOW = "4m"
"""What changes once a minute; as the provisioned data source has it."""

pytestmark = pytest.mark.skipif(
    shutil.which("prometheus") is None,
    reason="prometheus is not installed (Debian: apt-get install prometheus)",
)


class Prometheus:
    def __init__(self, folder: Path, targets: dict[str, str]) -> None:
        """targets: address by name of the peer. Rules are those that are shipped, but PeerDown does not wait
        for a minute."""
        folder.mkdir()
        rules = folder / "rules"
        shutil.copytree(DEPLOY / "prometheus" / "rules", rules)
        alerts = rules / "peerd.alerts.yml"
        waits = '        expr: up{job="peerd"} == 0\n        for: 1m\n'
        assert waits in alerts.read_text()
        alerts.write_text(alerts.read_text().replace(waits, waits.replace("1m", "10s")))
        config = folder / "prometheus.yml"
        scrape = [
            {"targets": [address], "labels": {"instance": name}} for name, address in sorted(targets.items())
        ]
        config.write_text(
            yaml.safe_dump(
                {
                    "global": {"scrape_interval": "2s", "scrape_timeout": "2s", "evaluation_interval": "1s"},
                    "rule_files": [f"{rules}/*.yml"],
                    "scrape_configs": [{"job_name": "peerd", "static_configs": scrape}],
                }
            )
        )
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        self._log = (folder / "log").open("wb")
        self._process = subprocess.Popen(
            [
                "prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={self.address}",
            ],
            stdout=self._log, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def _get(self, path: str, **parameters: str) -> Any:
        url = f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=20) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            pytest.fail(f"{parameters}: {error.read().decode()}")

    def ready(self) -> bool:
        try:
            return urllib.request.urlopen(f"http://{self.address}/-/ready", timeout=5).status == 200
        except OSError:
            assert self._process.poll() is None, "prometheus has ended"
            return False

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series that have a number now."""
        found = self._get("query", query=expression)["result"]
        return [series for series in found if not math.isnan(float(series["value"][1]))]

    def rules(self) -> list[dict[str, Any]]:
        return [rule for group in self._get("rules")["groups"] for rule in group["rules"]]

    def firing(self) -> set[tuple[str, str]]:
        """(alert, instance)"""
        return {
            (series["metric"]["alertname"], series["metric"].get("instance", ""))
            for series in self.query('ALERTS{alertstate="firing"}')
        }

    def end(self) -> None:
        self._process.terminate()
        self._process.wait(20)
        self._log.close()


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[Any]:
    started: list[Prometheus] = []

    def start(targets: dict[str, str]) -> Prometheus:
        started.append(Prometheus(tmp_path / "prometheus", targets))
        return started[-1]

    yield start
    for one in started:
        one.end()


def rule_queries(rules: list[dict[str, Any]]) -> dict[str, str]:
    """What recording rules make, and what alerts go by."""
    records = {rule["name"]: rule["name"] for rule in rules if rule["type"] == "recording"}
    alerts = {
        f"{rule['name']}: {selector}": selector
        for rule in rules
        if rule["type"] == "alerting"
        for selector in SELECTOR.findall(rule["query"])
    }
    assert len({name.split(":")[0] for name in alerts}) == len(rules) - len(records)
    return records | alerts


def of(instance: str, selector: str) -> str:
    """The series of one peer."""
    name, _, rest = selector.partition("{")
    return f'{name}{{instance="{instance}",{rest or "}"}'


def coarse_queries(instance: str, queries: dict[str, str]) -> dict[str, str]:
    """Of these, what a peer with coarse metrics has an answer to: all that alerts go by, most panels. What
    is of all peers together has no instance."""
    boards = {
        path.stem: json.loads(path.read_text()) for path in (DEPLOY / "grafana" / "dashboards").iterdir()
    }
    panels = [(name, panel) for name, board in boards.items() for panel in board["panels"]]
    more = {f"{name}: {panel['title']}" for name, panel in panels if FULL in panel.get("description", "")}
    found = {}
    for name, query in queries.items():
        if name.split(":")[0] in boards:
            if name.rpartition(" ")[0] not in more:
                found[name] = query.replace(f"[{WINDOW}]", f"[{COARSE_WINDOW}]").replace(
                    'instance=~".+"', f'instance="{instance}"'
                )
        elif name != query and not query.startswith("job:"):
            found[name] = of(instance, query)
    return {f"{instance}, {name}": query for name, query in found.items()}


@pytest.mark.quiet
@pytest.mark.timeout(300)
def test_every_panel_and_rule_has_data_and_a_killed_peer_is_told_of(
    testbed, programs, until, prometheus
) -> None:
    testbed.up(6, "--loop-rate", "4", "--drop-rate", "4")
    names = list(testbed.pids())
    coarse = names[0]
    programs.ok("peerctl", "testbed", "kill", "--dir", testbed.folder, coarse)
    file = Testbed.load(testbed.folder).config_file(coarse)
    file.write_text(file.read_text().replace('detail = "full"', 'detail = "coarse"'))
    programs.ok("peerctl", "testbed", "start", "--dir", testbed.folder, coarse)
    targets = {name: testbed.call(name, Client.status).metrics_address for name in names}
    server = prometheus(targets)
    until(server.ready)
    testbed.ask(
        "--all", "run", "start", "--task", "synthetic", "-O", "parameters=20000", "--rounds", "100000",
        "--privacy-clip", "5", "--noise-multiplier", "0.01",
    )  # noise, so that there is an epsilon  # fmt: skip

    full = "and on (instance) peerd_metrics_detail_info{detail='full'}"
    until(lambda: len(server.query(f"peerd_round > 3 {full}")) == len(names) - 1, seconds=120)
    rules = server.rules()
    wanted = panel_queries(DEPLOY / "grafana" / "dashboards", WINDOW) | rule_queries(rules)
    assert len(wanted) > 100
    little = coarse_queries(coarse, wanted)
    assert len(little) > 80
    assert server.query(f'peerd_metrics_detail_info{{instance="{coarse}", detail="coarse"}}')
    wanted |= little

    def without_data() -> dict[str, str]:
        """Those that have no data still are asked again."""
        for name, expression in list(wanted.items()):
            if server.query(expression):
                del wanted[name]
        return wanted

    try:
        until(lambda: not without_data(), seconds=100, every=1.0)
    except AssertionError:
        pytest.fail(f"no data: {json.dumps(wanted, indent=2)}")
    assert not [rule for rule in server.rules() if rule["health"] != "ok"]
    assert server.firing() == set()

    programs.ok("peerctl", "testbed", "kill", "--dir", testbed.folder, names[-1])
    until(lambda: ("PeerDown", names[-1]) in server.firing())
    assert {name for alert, name in server.firing() if alert == "PeerDown"} == {names[-1]}
