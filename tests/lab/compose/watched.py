"""What the Prometheus of deploy/compose says, for walk.sh: exit code 0 where it is as it should be.

watched.py rules                        every rule file is loaded, and every rule evaluated without an error
watched.py targets NAME...              these peers are asked, all others not, and all answer
watched.py alerts [ALERT:INSTANCE...]   these and no others have fired since Prometheus began, however briefly
watched.py pending                      no alert is on its way to fire
"""

from __future__ import annotations

import json
import sys
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

PROMETHEUS = "http://127.0.0.1:9090"
RULES = Path(__file__).parents[3] / "deploy" / "prometheus" / "rules"
LONGER_THAN_A_WALK = "2h"


def ask(path: str, **parameters: str) -> Any:
    url = f"{PROMETHEUS}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
    with urllib.request.urlopen(url, timeout=20) as answer:
        return json.load(answer)["data"]


def shipped() -> dict[str, int]:
    """How many rules each file has, by its name."""
    return {
        path.name: sum(len(group["rules"]) for group in yaml.safe_load(path.read_text())["groups"])
        for path in RULES.glob("*.yml")
    }


def rules(_: list[str]) -> list[str]:
    loaded: dict[str, int] = {}
    wrong = []
    for group in ask("rules")["groups"]:
        name = Path(group["file"]).name
        loaded[name] = loaded.get(name, 0) + len(group["rules"])
        for rule in group["rules"]:
            if rule["health"] != "ok" or rule.get("lastError"):
                wrong.append(f"{rule['name']}: {rule['health']} {rule.get('lastError', '')}")
    if loaded != shipped():
        wrong.append(f"loaded are {loaded}, and there are {shipped()}")
    print(f"{sum(loaded.values())} rules in {len(loaded)} files")
    return wrong


def targets(names: list[str]) -> list[str]:
    active = ask("targets")["activeTargets"]
    for target in active:
        print(target["labels"]["instance"], target["scrapeUrl"], target["health"], target["lastError"])
    found = {target["labels"]["instance"] for target in active if target["labels"]["job"] == "peerd"}
    wrong = [f"asked are {sorted(found)}"] if found != set(names) else []
    ill = [target["scrapeUrl"] for target in active if target["health"] != "up" or target["lastError"]]
    return wrong + ill


def series(expression: str) -> set[str]:
    """`ALERT:INSTANCE` of what an expression over ALERTS finds."""
    found = ask("query", query=expression)["result"]
    return {f"{one['metric']['alertname']}:{one['metric'].get('instance', '')}" for one in found}


def alerts(expected: list[str]) -> list[str]:
    fired = series(f'count_over_time(ALERTS{{alertstate="firing"}}[{LONGER_THAN_A_WALK}])')
    print("fired so far:", *sorted(fired) or ["none"])
    print(
        "pending so far:",
        *sorted(series(f"count_over_time(ALERTS[{LONGER_THAN_A_WALK}])") - fired) or ["none"],
    )
    return sorted(fired ^ set(expected))


def pending(_: list[str]) -> list[str]:
    return sorted(series('ALERTS{alertstate="pending"}'))


CHECKS: dict[str, Callable[[list[str]], list[str]]] = {
    "rules": rules, "targets": targets, "alerts": alerts, "pending": pending,
}  # fmt: skip


def main() -> None:
    what, *arguments = sys.argv[1:]
    wrong = CHECKS[what](arguments)
    for line in wrong:
        print(f"watched.py {what}: {line}", file=sys.stderr)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
