"""What Grafana would ask a Prometheus."""

from __future__ import annotations

import json
from pathlib import Path


def panel_queries(dashboards: Path, rate_interval: str) -> dict[str, str]:
    """By dashboard, panel and query, as Grafana would send them for all peers."""
    queries = {}
    for path in sorted(dashboards.glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel.get("targets", []):
                expression = target["expr"].replace("$__rate_interval", rate_interval)
                expression = expression.replace("$job", "peerd").replace("$instance", ".+")
                queries[f"{path.stem}: {panel['title']} {target['refId']}"] = expression
    return queries
