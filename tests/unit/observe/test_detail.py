from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from unit.observe.test_metrics import Series, full, scrape, value

from peerd.observe import Metrics, Sample, Tally
from peerd.observe.detail import DETAIL, KEPT
from peerd.types import PacketKind

README = Path(__file__).parents[3] / "peerd" / "README.md"
DEPLOY = Path(__file__).parents[3] / "deploy"
SELECTOR = re.compile(r"(?<![\w:])((?:\w+:)?peerd_\w+(?::\w+)?)(?:\{([^}]*)\})?")
MATCHER = re.compile(r'(\w+)(=~|!~|!=|=)"([^"]*)"')
Matchers = dict[str, tuple[bool, str]]
"""By label: whether it is to match, and what."""
Selected = tuple[str, Matchers]


class Wall:
    """A wall clock that stands where it is put."""

    def __init__(self) -> None:
        self.now = 6_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def wall() -> Wall:
    return Wall()


@pytest.fixture
def coarse(tally: Tally, node, sample: Callable[..., Sample], wall: Wall) -> Metrics:
    node.now = full(sample)._replace(neighbours=())
    return Metrics(tally, node, "coarse", wall)


def names(metrics: Metrics) -> set[str]:
    return {family.name for family in metrics.registry.collect()}


def test_every_family_is_graded_and_nothing_else_is(tally: Tally, node, sample) -> None:
    node.now = full(sample)._replace(epsilon=1.0)
    assert names(Metrics(tally, node)) == set(DETAIL)
    assert set(KEPT) <= {name for name, grade in DETAIL.items() if grade != "full"}


def test_coarse_leaves_out_what_is_graded_full(coarse: Metrics, node) -> None:
    node.now = node.now._replace(epsilon=1.0)
    assert names(coarse) == {name for name, grade in DETAIL.items() if grade != "full"}


def test_a_family_that_nobody_has_graded_is_not_told(coarse: Metrics, monkeypatch) -> None:
    grades = {name: grade for name, grade in DETAIL.items() if name != "peerd_members"}
    monkeypatch.setattr("peerd.observe.detail.DETAIL", grades)
    assert "peerd_members" not in names(coarse)
    assert "peerd_peers" in names(coarse)


def test_coarse_does_not_tell_own_packets_from_relayed_ones(coarse: Metrics, tally: Tally) -> None:
    for kind in PacketKind:
        tally.sent(kind)
    tally.received, tally.delivered = 5, 3
    packets = {key: v for key, v in scrape(coarse).items() if key[0] == "peerd_packets_total"}
    assert packets == {
        ("peerd_packets_total", frozenset({("direction", "sent"), ("kind", "any")})): len(PacketKind),
        ("peerd_packets_total", frozenset({("direction", "received"), ("kind", "any")})): 5,
    }


def test_coarse_keeps_what_is_safe_of_a_family(coarse: Metrics) -> None:
    told: dict[str, set[str]] = {}
    for name, labels in scrape(coarse):
        family = name.removesuffix("_total")
        if family in KEPT:
            told.setdefault(family, set()).add(dict(labels)[KEPT[family][0]])
    assert told == {family: set(values) for family, (_, values) in KEPT.items()}


def matching(series: Series, selected: Selected) -> set[tuple[tuple[str, str], ...]]:
    """The labels of the series that a selector selects, without what `coarse` sums up."""
    name, matchers = selected
    found = [dict(labels) for told, labels in series if told == name]
    return {
        tuple(sorted((label, value) for label, value in labels.items() if label != "kind"))
        for labels in found
        if all(
            label not in labels or bool(re.fullmatch(pattern, labels[label])) is wanted
            for label, (wanted, pattern) in matchers.items()
        )
    }


def selected(expression: str, records: dict[str, str], given: Matchers) -> Iterator[Selected]:
    """The metrics of an expression with what it asks of their labels; a record's are those it is made of."""
    for name, selector in SELECTOR.findall(expression):
        matchers = dict(given)
        for label, operator, text in MATCHER.findall(selector):
            matchers[label] = (not operator.startswith("!"), text if "~" in operator else re.escape(text))
        if name in records:
            yield from selected(records[name], records, matchers)
        else:
            yield name, matchers


def alerts() -> list[tuple[str, Selected]]:
    """Every alert with every metric that it goes by."""
    rules = [
        rule
        for path in (DEPLOY / "prometheus" / "rules").glob("*.yml")
        for group in yaml.safe_load(path.read_text())["groups"]
        for rule in group["rules"]
    ]
    records = {rule["record"]: rule["expr"] for rule in rules if "record" in rule}
    return [
        (rule["alert"], metric)
        for rule in rules
        if "alert" in rule
        for metric in selected(rule["expr"], records, {})
    ]


def test_every_branch_of_every_alert_can_fire_with_coarse(coarse: Metrics, tally: Tally, node) -> None:
    """Whatever an alert asks for that `full` has, `coarse` has, too, but for what the documents name."""
    there, left = scrape(Metrics(tally, node)), scrape(coarse)
    blind = {
        (alert, metric[0], *labels)
        for alert, metric in alerts()
        for labels in matching(there, metric) - matching(left, metric)
    }
    assert blind == {("QueueSaturated", "peerd_queue_depth", ("queue", "send"))}
    for document in (README, DEPLOY / "README.md"):
        assert "`QueueSaturated` does not see the queue `send`" in " ".join(document.read_text().split())


@pytest.mark.parametrize(
    ("alert", "metric"), alerts(), ids=lambda part: part if isinstance(part, str) else part[0]
)
def test_every_label_that_an_alert_asks_for_exists(
    alert: str, metric: Selected, tally: Tally, node, sample
) -> None:
    node.now = full(sample)
    there = scrape(Metrics(tally, node))
    name, matchers = metric
    assert matching(there, metric)
    for label, (wanted, pattern) in matchers.items():
        for text in pattern.split("|") if label not in ("job", "instance") else ():
            one = (name, {label: (True, text)})
            has_it = any(label in dict(labels) for told, labels in there if told == name)
            assert matching(there, one) or not has_it, f"{alert}: {name}{{{label}={text}}}, {wanted}"


def test_what_follows_traffic_changes_once_a_minute(coarse: Metrics, tally: Tally, node, wall: Wall) -> None:
    def seen() -> tuple[float, float, float]:
        series = scrape(coarse)
        return (
            value(series, "peerd_bytes_total", direction="sent"),
            value(series, "peerd_packets_total", direction="sent", kind="any"),
            value(series, "peerd_links", direction="out"),
        )

    assert seen() == (8300, 0, 5)
    tally.sent(PacketKind.OWN)
    node.now = node.now._replace(bytes_sent=9000, links_out=4)
    wall.now += 59.9
    assert seen() == (8300, 0, 4)  # a link that goes is told at once
    wall.now += 0.1
    assert seen() == (9000, 1, 4)
    tally.sent(PacketKind.OWN)
    wall.now += 0.1
    assert seen() == (9000, 1, 4)
    wall.now -= 600.0  # the clock is set back: that is another minute, too
    assert seen() == (9000, 2, 4)


def test_the_metrics_say_how_much_they_tell(coarse: Metrics, tally: Tally, node) -> None:
    assert value(scrape(coarse), "peerd_metrics_detail_info", detail="coarse") == 1
    assert value(scrape(Metrics(tally, node)), "peerd_metrics_detail_info", detail="full") == 1


def test_the_readme_names_every_label_and_all_that_is_left_out() -> None:
    text = README.read_text().split("**Labels and logs.**")[1]
    told = set(re.findall(r"`([a-z_]+)`", text))
    assert {name for name, grade in DETAIL.items() if grade == "full"} <= told
    assert set(KEPT) <= told
