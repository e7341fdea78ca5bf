"""What a live node says at a scrape of what an operator is to be warned of."""

from __future__ import annotations

import asyncio
import time

import pytest
import structlog
from prometheus_client.metrics_core import Metric

from peerd.config import DeliveryConfig, LinkConfig, MetricsConfig, MixingConfig, PeerdConfig, RelayConfig
from peerd.node import Node

CONFIG = PeerdConfig(
    link=LinkConfig(listen="127.0.0.1:0", queue_cells=11),
    relay=RelayConfig(inbox_limit=22),
    mixing=MixingConfig(hops=1, queue_limit=33),
    delivery=DeliveryConfig(queue_limit=44, max_in_flight=55),
    metrics=MetricsConfig(listen="", detail="full"),
)


@pytest.fixture
async def node(enrol, tmp_path):
    state, *_ = enrol("alice", "bob", "carol")
    node = Node(CONFIG, state, tmp_path / "net" / "peers" / "alice", structlog.get_logger())
    node.start()
    running = asyncio.create_task(node.run())
    yield node
    running.cancel()
    await asyncio.wait({running})
    await node.close()


def scrape(node: Node) -> dict[str, Metric]:
    return {family.name: family for family in node.metrics.registry.collect()}


def values(family: Metric, label: str) -> dict[str, float]:
    return {point.labels[label]: point.value for point in family.samples}


async def test_a_scrape_has_what_alerts_go_by(node: Node) -> None:
    families = scrape(node)
    limits = values(families["peerd_queue_limit"], "queue")
    assert limits == {"link": 11, "inbox": 22, "mix": 33, "send": 44, "in_flight": 55}
    assert set(values(families["peerd_queue_depth"], "queue")) == set(limits)

    (started,) = families["peerd_start_time_seconds"].samples
    (epoch_end,) = families["peerd_epoch_end_timestamp_seconds"].samples
    assert started.value <= time.time() < epoch_end.value <= time.time() + 3600.0

    ends = values(families["peerd_certificate_expiry_timestamp_seconds"], "certificate")
    assert ends == node.state.expiries
    assert time.time() + 86_400 < ends["link"] < ends["authority"]

    (free,) = families["peerd_state_filesystem_free_bytes"].samples
    (size,) = families["peerd_state_filesystem_size_bytes"].samples
    assert 0 < free.value <= size.value
    assert not any(values(families["peerd_run_state"], "state").values())
    trainer = values(families["peerd_trainer_state"], "state")
    assert [state for state, on in trainer.items() if on] == ["off"]
