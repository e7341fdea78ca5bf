"""Write deploy/prometheus/rules once more, as the Prometheus operator takes them: `make rules`."""

from __future__ import annotations

from pathlib import Path

import yaml

DEPLOY = Path(__file__).parent
FILE = DEPLOY / "kubernetes" / "monitoring" / "rules.yaml"
HEAD = "# Made by `make rules` of deploy/prometheus/rules: change those.\n"


def render() -> str:
    """One PrometheusRule with the groups of all files, whose names must differ."""
    paths = sorted((DEPLOY / "prometheus" / "rules").glob("*.yml"))
    rule = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {
            "name": "peerd",
            "namespace": "peerd",
            "labels": {"app.kubernetes.io/name": "peerd"},
        },
        "spec": {"groups": [group for path in paths for group in yaml.safe_load(path.read_text())["groups"]]},
    }
    return HEAD + yaml.safe_dump(rule, sort_keys=False, width=1_000_000)


if __name__ == "__main__":
    FILE.write_text(render())
