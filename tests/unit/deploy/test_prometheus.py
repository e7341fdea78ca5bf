"""Recording rules, alerts, their tests and the runbook: each knows of the others, and promtool likes them."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from ctl.cli import cli
from peerd.observe.alarms import ALARMS, DISK_CAUSES
from peerd.observe.detail import DETAIL

FOLDER = Path(__file__).parents[3] / "deploy" / "prometheus"
RULES = sorted((FOLDER / "rules").glob("*.yml"))
TESTS = sorted((FOLDER / "tests").glob("*.yml"))
RUNBOOK = (FOLDER / "RUNBOOK.md").read_text()
WANTED = {
    "PeerDown", "LinkFlapping", "MessagesGivenUp", "BlendingAttack", "QueueSaturated", "ReplayStorm",
    "TrainerDead", "EpochLate", "CertificateExpiring", "DiskFilling", "DiskFailing",
}  # fmt: skip
METRIC = re.compile(r"(?<![:\w])peerd_\w+(?!:)\b")
"""Not what a recording rule makes."""
SUFFIX = re.compile(r"_(total|bucket|sum|count|info)$")


def rules(kind: str) -> list[dict[str, Any]]:
    """All of a kind, `alert` or `record`."""
    groups = [group for path in RULES for group in yaml.safe_load(path.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"] if kind in rule]


def alerts() -> list[str]:
    return [rule["alert"] for rule in rules("alert")]


def cases() -> list[dict[str, Any]]:
    return [case for path in TESTS for case in yaml.safe_load(path.read_text())["tests"]]


def test_promtool_finds_nothing_wrong_with_the_rules(promtool) -> None:
    said = promtool(FOLDER, "check", "rules", "--lint=all", "--lint-fatal", *RULES)
    assert said.count("SUCCESS") == len(RULES)


def test_the_rules_pass_their_own_tests(promtool) -> None:
    assert promtool(FOLDER / "tests", "test", "rules", *TESTS).count("SUCCESS") == len(TESTS)


def test_what_an_operator_must_hear_of_has_an_alert() -> None:
    assert set(alerts()) >= WANTED
    assert not [name for name, count in Counter(alerts()).items() if count > 1]


def test_every_alarm_of_a_peer_is_an_alert() -> None:
    """`disk` is one by its causes: a log that cannot be written is no reason not to restart."""
    expressions = " ".join(rule["expr"] for rule in rules("alert"))
    assert set(re.findall(r'peerd_alarm\{alarm="(\w+)"', expressions)) == {*ALARMS} - {"disk"}
    assert sorted(re.findall(r'peerd_disk_failing\{cause(.*?)"(\w+)"', expressions)) == [
        ("!=", "log_file"), ("=", "log_file"),
    ]  # fmt: skip
    section = RUNBOOK.split("\n## DiskFailing\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`.+?) \|", section, re.MULTILINE)[1:]
    assert {cause for row in rows for cause in re.findall(r"`(\w+)`", row)} == {*DISK_CAUSES} - {"log_file"}


@pytest.mark.parametrize("alert", alerts())
def test_every_alert_is_shown_to_fire_and_to_be_silent(alert: str) -> None:
    checks = [
        check for case in cases() if case["name"] == alert for check in case.get("promql_expr_test", [])
    ]
    assert {check["expr"] for check in checks} == {f'ALERTS{{alertname="{alert}", alertstate="firing"}}'}
    fires = [bool(check["exp_samples"]) for check in checks]
    assert True in fires
    assert False in fires


def test_there_are_no_tests_of_other_alerts() -> None:
    assert {case["name"] for case in cases()} == set(alerts())


def test_every_alert_says_what_is_wrong_and_how_bad() -> None:
    for rule in rules("alert"):
        assert rule["labels"]["severity"] in ("critical", "warning", "info"), rule["alert"]
        assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}, rule["alert"]
        assert len(rule["annotations"]["summary"]) < 80, rule["alert"]


@pytest.mark.parametrize("rule", rules("alert"), ids=lambda rule: rule["alert"])
def test_every_alert_has_its_section_in_the_runbook(rule: dict[str, Any]) -> None:
    name = rule["alert"]
    where = '{{ or $externalLabels.peerd_runbook "deploy/prometheus/RUNBOOK.md" }}'
    assert rule["annotations"]["runbook_url"] == f"{where}#{name.lower()}"
    section = RUNBOOK.split(f"\n## {name}\n")[1].split("\n#")[0]
    assert section.strip().startswith(f"*{rule['labels']['severity']}.*")
    assert "**Look at**: " in section
    assert "**Do**: " in section


def test_the_runbook_has_no_section_without_an_alert() -> None:
    assert re.findall(r"^## (.+)$", RUNBOOK, re.MULTILINE) == alerts()


def test_the_runbooks_commands_exist() -> None:
    context = click.Context(cli)
    for words in re.findall(r"`peerctl ([^`]+)`", RUNBOOK):
        command: click.Command = cli
        for word in words.split():
            if isinstance(command, click.Group):
                found = command.get_command(context, word)
                assert found is not None, f"peerctl {words}"
                command = found
            elif word.startswith("--"):
                options = {option for parameter in command.params for option in parameter.opts}
                assert word in options, f"peerctl {words}"


def expressions() -> list[str]:
    return [rule["expr"] for kind in ("alert", "record") for rule in rules(kind)]


def test_alerts_and_recording_rules_work_with_coarse_metrics() -> None:
    """Each family; each label of it: tests/unit/observe/test_detail.py."""
    metrics = {name for expression in expressions() for name in METRIC.findall(expression)}
    assert len(metrics) > 30
    families = {name if name in DETAIL else SUFFIX.sub("", name) for name in metrics}
    assert not families - set(DETAIL)
    assert not {family for family in families if DETAIL[family] == "full"}


def test_rules_ask_only_for_records_that_there_are() -> None:
    records = {rule["record"] for rule in rules("record")}
    for expression in expressions():
        assert set(re.findall(r"\b(?:job|instance)[a-z_]*:\w+:\w+", expression)) <= records, expression


def test_recording_rules_are_named_as_prometheus_asks() -> None:
    for rule in rules("record"):
        assert re.fullmatch(r"(job|instance)(_[a-z]+)*:peerd_[a-z0-9_]+:[a-z0-9_]+", rule["record"])
