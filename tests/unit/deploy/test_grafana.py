"""Dashboards: what lies here is what their code makes, and every query is of metrics that exist."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from peerd_dashboards import render
from peerd_dashboards.__main__ import main
from peerd_dashboards.parts import FULL

from peerd.observe.detail import DETAIL, KEPT

FOLDER = Path(__file__).parents[3] / "deploy" / "grafana"
BOARDS = {path.stem: json.loads(path.read_text()) for path in sorted((FOLDER / "dashboards").glob("*.json"))}
METRIC = re.compile(r"(?<![:\w])(peerd_\w+)\b(?:\{([^}]*)\})?")
SUFFIX = re.compile(r"_(total|bucket|sum|count|info)$")


def panels() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, board in BOARDS.items():
        yield from ((name, panel) for panel in board["panels"] if panel["type"] != "row")


def queries() -> Iterator[str]:
    for _, panel in panels():
        yield from (target["expr"] for target in panel["targets"])


def family_of(metric: str) -> str:
    return metric if metric in DETAIL else SUFFIX.sub("", metric)


def needs_full(expression: str) -> bool:
    """Whether coarse metrics leave out what it asks for."""
    for metric, selector in METRIC.findall(expression):
        family, labels = family_of(metric), dict(re.findall(r'(\w+)=~?"([^"]*)"', selector))
        if DETAIL[family] == "full":
            return True
        if family == "peerd_packets" and labels.get("kind", ".+") != ".+":
            return True
        label, kept = KEPT.get(family, ("", frozenset()))
        if label in labels and not set(labels[label].split("|")) & kept:
            return True
    return False


def test_the_files_are_what_the_code_makes() -> None:
    files = {path.name: path.read_text() for path in (FOLDER / "dashboards").iterdir()}
    assert files == render(), "run `make dashboards`"


def test_they_are_written_into_the_folder_that_is_named(tmp_path: Path) -> None:
    main(tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == render()


@pytest.mark.parametrize(
    ("name", "topics"),
    [
        ("peerd-network", ["Peers up", "Links", "Round", "Accuracy", "Alarms"]),
        (
            "peerd-peer",
            ["CPU by process", "CPU of the daemon by stage", "Memory by process", "Sent, by kind",
             "Depth of queues", "Round trip of own messages", "Entropy"],
        ),
        (
            "peerd-mixing",
            ["Forwarded", "Own, acknowledgements, cover", "Dropped, by reason", "Entropy", "Loops lost"],
        ),
        (
            "peerd-training",
            ["Accuracy of the local model", "Accuracy of the aggregated model", "Stages", "Bytes on links"],
        ),
    ],
)  # fmt: skip
def test_each_shows_what_it_is_for(name: str, topics: list[str]) -> None:
    assert {panel["title"] for board, panel in panels() if board == name} >= set(topics)


def test_ids_are_unique_and_panels_do_not_overlap() -> None:
    assert [board["uid"] for board in BOARDS.values()] == list(BOARDS)
    for board in BOARDS.values():
        ids = [panel["id"] for panel in board["panels"]]
        assert len(set(ids)) == len(ids)
        taken: set[tuple[int, int]] = set()
        for place in (panel["gridPos"] for panel in board["panels"]):
            cells = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            assert not cells & taken
            assert place["x"] + place["w"] <= 24
            taken |= cells


def test_every_query_goes_by_the_variables() -> None:
    for _, panel in panels():
        for target in panel["targets"]:
            assert target["datasource"]["uid"] == panel["datasource"]["uid"] == "${datasource}"
    for board in BOARDS.values():
        names = [variable["name"] for variable in board["templating"]["list"]]
        assert names == ["datasource", "job", "instance"]
    for expression in queries():
        for _, selector in METRIC.findall(expression):
            assert selector.startswith('job="$job", instance=~"$instance"'), expression


def test_every_query_is_of_metrics_that_exist() -> None:
    used = {family_of(metric) for expression in queries() for metric, _ in METRIC.findall(expression)}
    assert not used - set(DETAIL)


def test_what_needs_full_metrics_says_so() -> None:
    for board, panel in panels():
        needs = any(needs_full(target["expr"]) for target in panel["targets"])
        assert needs == (FULL in panel.get("description", "")), f"{board}: {panel['title']}"


def test_prometheus_can_read_every_query(promtool, tmp_path: Path) -> None:
    rules = [
        {"record": f"query:number_{index}:x", "expr": expression.replace("$__rate_interval", "1m")}
        for index, expression in enumerate(queries())
    ]
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    assert f"{len(rules)} rules found" in promtool(tmp_path, "check", "rules", file)


def test_grafana_is_told_of_the_data_source_and_the_dashboards() -> None:
    given = FOLDER / "provisioning"
    (source,) = yaml.safe_load((given / "datasources" / "prometheus.yml").read_text())["datasources"]
    assert (source["type"], source["isDefault"], source["access"]) == ("prometheus", True, "proxy")
    assert re.fullmatch(r"\$\{\w+\}", source["url"])  # from the environment of Grafana
    (provider,) = yaml.safe_load((given / "dashboards" / "peerd.yml").read_text())["providers"]
    assert provider["type"] == "file"
    assert not provider["allowUiUpdates"]  # changes belong into the code
    assert Path(provider["options"]["path"]).is_absolute()
