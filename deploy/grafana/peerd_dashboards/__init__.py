"""The Grafana dashboards of peerd as code, for Grafana 11.6 (grafana-foundation-sdk).

`make dashboards` writes them to deploy/grafana/dashboards; a test says when that was forgotten.
"""

from __future__ import annotations

import json

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from peerd_dashboards import mixing, network, peer, training


def render() -> dict[str, str]:
    """The JSON of each dashboard, by file name."""
    boards = (network.board(), peer.board(), mixing.board(), training.board())
    return {
        f"{board.uid}.json": json.dumps(board, cls=JSONEncoder, indent=2, sort_keys=True) + "\n"
        for board in boards
    }
