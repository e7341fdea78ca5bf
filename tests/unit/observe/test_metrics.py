from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator

import pytest
from prometheus_client import REGISTRY
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from peerd.observe import Metrics, Neighbour, Sample, Tally
from peerd.observe.alarms import ALARMS, DISK_CAUSES
from peerd.observe.sample import CERTIFICATES, RUN_STATES, STAGES, TRAINER_STATES
from peerd.observe.tally import CONTROL_REFUSALS, PEER_STATES, RECORD_KINDS
from peerd.status import EndToEnd, EpochStatus, LoopsMeasured, MixingMeasured, RoundResult
from peerd.types import DropReason, PacketKind

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scrape(metrics: Metrics) -> Series:
    text = generate_latest(metrics.registry).decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(series: Series, name: str, **labels: str) -> float:
    return series[name, frozenset(labels.items())]


MEASURED = MixingMeasured(
    entropy_bits=3.25,
    mixed=77,
    mean_entropy_bits=2.5,
    end_to_end=[EndToEnd(hops=1, bits=1.5, of_bits=2.0)],
    send_rate_per_second=20.0,
    loop_rate_per_second=2.0,
    drop_rate_per_second=0.5,
    cover_forgone=9,
    loops=LoopsMeasured(sent=12, returned=8, lost=3, loss=0.25, alarm=True),
    epoch=EpochStatus(
        epoch=17, ends_in_seconds=1.0, accepted=[16, 17], replay_tags=123, replay_bytes=4567,
        replay_false_positive_rate=1e-6, replay_expected_false_positives=2.5,
    ),
)  # fmt: skip


def full(sample: Callable[..., Sample]) -> Sample:
    return sample(
        alarms={"direct": True, "tracing": False, "blending": True},
        mixing=MEASURED,
        bytes_sent=8300,
        bytes_received=16600,
        links_out=5,
        links_in=4,
        peers={"alive": 5, "left": 1},
        queues={"inbox": 1, "mix": 2, "link": 3, "send": 4, "in_flight": 6},
        round=3,
        stage="exchanging",
        accuracy_local=0.75,
        accuracy_aggregated=0.875,
        train_loss=0.5,
        daemon_cpu_seconds=12.5,
        daemon_rss_bytes=100,
        trainer_cpu_seconds=30.0,
        trainer_rss_bytes=200,
        trainer_state="busy",
        trainer_restarts=1,
        replay_filter_used=0.75,
        certificates=dict(zip(CERTIFICATES, (2.0e9, 3.0e9, 4.0e9), strict=True)),
        disk=(1000, 4000),
        files=(30, 1024),
        run_state="running",
        fragments_received=40,
        fragments_expected=50,
        neighbours=(Neighbour("bob", True, 0.002), Neighbour("carol", False, 0.0)),
        members=7,
        peers_damped=2,
        peer_losses=15,
        gossip_sent=31,
        gossip_received=29,
        clock_skew_seconds=0.25,
        cohort=5,
        listeners=1,
        rounds_skipped=2,
        draining=True,
    )


def test_all_labels_exist_from_the_start_at_zero(metrics: Metrics) -> None:
    series = scrape(metrics)
    expected = [
        *(("peerd_packets_total", {"direction": "sent", "kind": kind}) for kind in PacketKind),
        ("peerd_packets_total", {"direction": "received", "kind": "any"}),
        ("peerd_packets_total", {"direction": "delivered", "kind": "any"}),
        *(("peerd_dropped_total", {"reason": reason}) for reason in DropReason),
        *(("peerd_bytes_total", {"direction": d}) for d in ("sent", "received")),
        *(("peerd_links", {"direction": d}) for d in ("out", "in")),
        ("peerd_members", {}),
        *(("peerd_peers", {"state": state}) for state in PEER_STATES),
        *(("peerd_peer_changes_total", {"state": state}) for state in PEER_STATES),
        ("peerd_peers_damped", {}),
        *(("peerd_control_refused_total", {"reason": reason}) for reason in CONTROL_REFUSALS),
        ("peerd_peer_losses", {}),
        *(("peerd_disk_failing", {"cause": cause}) for cause in DISK_CAUSES),
        *(("peerd_gossip_cells_total", {"direction": d}) for d in ("sent", "received")),
        *(
            ("peerd_gossip_records_total", {"kind": kind, "outcome": outcome})
            for kind in RECORD_KINDS
            for outcome in ("accepted", "stale", "refused")
        ),
        ("peerd_draining", {}),
        ("peerd_messages_dropped_unacked_total", {}),
        ("peerd_cohort", {}),
        ("peerd_listeners", {}),
        ("peerd_rounds_skipped_total", {}),
        ("peerd_stale_fragments_total", {}),
        *(("peerd_queue_depth", {"queue": queue}) for queue in ("inbox", "mix", "link", "send", "in_flight")),
        *(("peerd_messages_total", {"outcome": o}) for o in ("acked", "resent", "gave_up")),
        ("peerd_messages_unacknowledged", {}),
        ("peerd_rtt_seconds_count", {}),
        ("peerd_loop_rtt_seconds_count", {}),
        ("peerd_round", {}),
        *(("peerd_rounds_closed_total", {"by": by}) for by in ("complete", "grace", "timeout")),
        ("peerd_round_seconds_count", {}),
        ("peerd_exchange_seconds_count", {}),
        *(
            ("peerd_stage_cpu_seconds_total", {"process": "trainer", "stage": stage})
            for stage in ("idle", "starting", "listening", "training", "exchanging", "evaluating", "paused")
        ),
        *(("peerd_process_cpu_seconds_total", {"process": p}) for p in ("daemon", "trainer")),
        *(("peerd_process_resident_memory_bytes", {"process": p}) for p in ("daemon", "trainer")),
        ("peerd_trainer_up", {}),
        *(("peerd_trainer_state", {"state": state}) for state in TRAINER_STATES if state != "off"),
        *(("peerd_run_state", {"state": state}) for state in RUN_STATES),
        ("peerd_round_fragments_received", {}),
        ("peerd_round_fragments_expected", {}),
        ("peerd_replay_filter_used_ratio", {}),
        ("peerd_trainer_restarts_total", {}),
        *(
            (f"peerd_entropy_at_departure_shannons_{end}", {"strategy": strategy})
            for strategy in ("exponential", "outbox", "threshold", "timed", "pool", "none")
            for end in ("count", "sum")
        ),
        *(("peerd_cover_rate_per_second", {"slot": slot}) for slot in ("send", "loop", "drop")),
        ("peerd_cover_forgone_total", {}),
        *(("peerd_loops_total", {"outcome": outcome}) for outcome in ("returned", "lost")),
        *(("peerd_alarm", {"alarm": alarm}) for alarm in ALARMS),
        ("peerd_epoch", {}),
        ("peerd_replay_tags", {}),
        ("peerd_replay_filter_bytes", {}),
        ("peerd_replay_false_positive_ratio", {}),
        ("peerd_replay_false_positives_expected_total", {}),
    ]
    for name, labels in expected:
        assert value(series, name, **labels) == 0.0, (name, labels)
    unmeasured = ("accuracy", "train_loss", "skew", "entropy_bits")
    assert not [name for name, _ in series if any(word in name for word in unmeasured)]
    assert value(series, "peerd_build_info", version="1.2.3") == 1.0
    assert value(series, "peerd_mixing_info", strategy="exponential", hops="3") == 1.0


def test_the_tally_is_what_is_exposed(metrics: Metrics, tally: Tally) -> None:
    tally.sent(PacketKind.OWN)
    tally.sent(PacketKind.FORWARDED)
    tally.sent(PacketKind.FORWARDED)
    tally.received = 7
    tally.delivered = 4
    tally.dropped(DropReason.REPLAY, 3)
    tally.resent = 2
    tally.gave_up = 1
    tally.acknowledged(0.3)
    tally.acknowledged(45.0)
    series = scrape(metrics)
    assert value(series, "peerd_packets_total", direction="sent", kind="own") == 1
    assert value(series, "peerd_packets_total", direction="sent", kind="forwarded") == 2
    assert value(series, "peerd_packets_total", direction="received", kind="any") == 7
    assert value(series, "peerd_packets_total", direction="delivered", kind="any") == 4
    assert value(series, "peerd_dropped_total", reason="replay") == 3
    outcomes = [value(series, "peerd_messages_total", outcome=o) for o in ("acked", "resent", "gave_up")]
    assert outcomes == [2, 2, 1]
    assert value(series, "peerd_rtt_seconds_bucket", le="0.25") == 0
    assert value(series, "peerd_rtt_seconds_bucket", le="0.5") == 1
    assert value(series, "peerd_rtt_seconds_bucket", le="60.0") == 2
    assert value(series, "peerd_rtt_seconds_count") == 2
    assert value(series, "peerd_rtt_seconds_sum") == pytest.approx(45.3)


def test_the_sample_is_what_is_exposed(metrics: Metrics, node, sample) -> None:
    node.now = full(sample)
    series = scrape(metrics)
    assert value(series, "peerd_bytes_total", direction="sent") == 8300
    assert value(series, "peerd_bytes_total", direction="received") == 16600
    assert value(series, "peerd_links", direction="out") == 5
    assert value(series, "peerd_links", direction="in") == 4
    assert value(series, "peerd_peers", state="alive") == 5
    assert value(series, "peerd_peers", state="dead") == 0
    depths = [
        value(series, "peerd_queue_depth", queue=queue)
        for queue in ("inbox", "mix", "link", "send", "in_flight")
    ]
    assert depths == [1, 2, 3, 4, 6]
    assert value(series, "peerd_messages_unacknowledged") == 6
    assert value(series, "peerd_round") == 3
    assert value(series, "peerd_accuracy", model="local") == 0.75
    assert value(series, "peerd_accuracy", model="aggregated") == 0.875
    assert value(series, "peerd_train_loss") == 0.5
    assert value(series, "peerd_process_cpu_seconds_total", process="daemon") == 12.5
    assert value(series, "peerd_process_cpu_seconds_total", process="trainer") == 30
    assert value(series, "peerd_process_resident_memory_bytes", process="daemon") == 100
    assert value(series, "peerd_process_resident_memory_bytes", process="trainer") == 200
    assert value(series, "peerd_trainer_up") == 1
    assert value(series, "peerd_trainer_restarts_total") == 1
    for name, states, on in (("trainer", TRAINER_STATES, "busy"), ("run", RUN_STATES, "running")):
        assert {s for s in states if value(series, f"peerd_{name}_state", state=s)} == {on}
    assert value(series, "peerd_round_fragments_received") == 40
    assert value(series, "peerd_round_fragments_expected") == 50
    assert value(series, "peerd_neighbour_up", neighbour="bob") == 1
    assert value(series, "peerd_neighbour_up", neighbour="carol") == 0
    assert value(series, "peerd_neighbour_rtt_seconds", neighbour="bob") == 0.002


def test_what_mixing_does_is_exposed(metrics: Metrics, tally: Tally, node, sample) -> None:
    node.now = full(sample)
    tally.mixed("exponential", 2.25, 3)
    tally.mixed("exponential", 6.5, 1)
    tally.mixed("pool", 0.0, 2)
    series = scrape(metrics)
    assert value(series, "peerd_entropy_shannons", strategy="exponential") == 3.25
    assert [name for name, _ in series].count("peerd_entropy_shannons") == 1  # that of the strategy in force
    rates = [value(series, "peerd_cover_rate_per_second", slot=slot) for slot in ("send", "loop", "drop")]
    assert rates == [20.0, 2.0, 0.5]
    assert value(series, "peerd_cover_forgone_total") == 9
    assert value(series, "peerd_loops_total", outcome="returned") == 8
    assert value(series, "peerd_loops_total", outcome="lost") == 3
    alarms = {a: value(series, "peerd_alarm", alarm=a) for a in ("direct", "tracing", "blending")}
    assert alarms == {"direct": 1.0, "tracing": 0.0, "blending": 1.0}
    assert value(series, "peerd_epoch") == 17
    assert value(series, "peerd_replay_tags") == 123
    assert value(series, "peerd_replay_filter_bytes") == 4567
    assert value(series, "peerd_replay_false_positive_ratio") == 1e-6
    assert value(series, "peerd_replay_false_positives_expected_total") == 2.5
    name = "peerd_entropy_at_departure_shannons"
    for strategy, count, total, below in (
        ("exponential", 4, 13.25, 3),
        ("pool", 2, 0.0, 2),
        ("none", 0, 0, 0),
    ):
        assert value(series, f"{name}_count", strategy=strategy) == count
        assert value(series, f"{name}_sum", strategy=strategy) == pytest.approx(total)
        assert value(series, f"{name}_bucket", strategy=strategy, le="2.5") == below
        assert value(series, f"{name}_bucket", strategy=strategy, le="+Inf") == count


def test_what_an_operator_is_to_be_warned_of_is_exposed(metrics: Metrics, node, sample) -> None:
    node.now = full(sample)
    series = scrape(metrics)
    assert value(series, "peerd_start_time_seconds") == 1.0e9
    assert value(series, "peerd_epoch_end_timestamp_seconds") == 1.0e9 + 3600
    assert value(series, "peerd_replay_filter_used_ratio") == 0.75
    expiry = "peerd_certificate_expiry_timestamp_seconds"
    assert [value(series, expiry, certificate=kind) for kind in CERTIFICATES] == [2.0e9, 3.0e9, 4.0e9]
    assert value(series, "peerd_state_filesystem_free_bytes") == 1000
    assert value(series, "peerd_state_filesystem_size_bytes") == 4000
    assert value(series, "peerd_open_fds") == 30
    assert value(series, "peerd_max_fds") == 1024
    for queue in ("inbox", "mix", "link", "send", "in_flight"):
        assert value(series, "peerd_queue_limit", queue=queue) == 8


@pytest.mark.parametrize(("state", "up"), list(zip(TRAINER_STATES, (0, 1, 1, 1, 0), strict=True)))
def test_a_trainer_is_up_unless_it_is_off_or_dead(metrics: Metrics, node, sample, state, up) -> None:
    node.now = sample(trainer_state=state)
    assert value(scrape(metrics), "peerd_trainer_up") == up


def test_what_becomes_of_peers_is_exposed(metrics: Metrics, tally: Tally, node, sample) -> None:
    node.now = full(sample)
    for state in ("alive", "suspect", "alive", "dead"):
        tally.peer_changed(state)
    tally.gossip_record("descriptor", "accepted")
    tally.gossip_record("descriptor", "stale", 5)
    tally.gossip_record("certificate", "refused")
    tally.gossip_record("a stranger's word", "refused", 2)
    tally.dropped(DropReason.PEER_DEAD, 7)
    series = scrape(metrics)
    changes = {state: value(series, "peerd_peer_changes_total", state=state) for state in PEER_STATES}
    assert changes == {"joining": 0, "alive": 2, "suspect": 1, "left": 0, "dead": 1, "revoked": 0}
    assert value(series, "peerd_peers", state="left") == 1
    assert value(series, "peerd_members") == 7
    assert value(series, "peerd_peers_damped") == 2
    assert value(series, "peerd_peer_losses") == 15
    assert value(series, "peerd_gossip_cells_total", direction="sent") == 31
    assert value(series, "peerd_gossip_cells_total", direction="received") == 29
    records = {
        dict(labels)["kind"] + " " + dict(labels)["outcome"]: count
        for (name, labels), count in series.items()
        if name == "peerd_gossip_records_total" and count
    }
    assert records == {
        "descriptor accepted": 1,
        "descriptor stale": 5,
        "certificate refused": 1,
        "unknown refused": 2,
    }
    assert value(series, "peerd_clock_skew_seconds") == 0.25
    assert value(series, "peerd_draining") == 1
    assert value(series, "peerd_messages_dropped_unacked_total") == 7


def test_who_takes_part_in_a_run_is_exposed(metrics: Metrics, node, sample) -> None:
    node.now = full(sample)
    for stale in (3, 0, 4):
        metrics.round_measured(
            RoundResult(
                round=1, closed_by="grace", round_seconds=1.0, exchange_seconds=1.0, stale_fragments=stale
            )
        )
    series = scrape(metrics)
    assert value(series, "peerd_cohort") == 5
    assert value(series, "peerd_listeners") == 1
    assert value(series, "peerd_rounds_skipped_total") == 2
    assert value(series, "peerd_stale_fragments_total") == 7


def test_epsilon_is_exposed_where_there_is_noise(metrics: Metrics, node, sample) -> None:
    node.now = sample(epsilon=4.5)
    assert value(scrape(metrics), "peerd_privacy_epsilon") == 4.5
    node.now = sample()
    assert not [name for name, _ in scrape(metrics) if name == "peerd_privacy_epsilon"]


def test_every_alarm_is_off_unless_it_is_said_to_be_on(metrics: Metrics, node, sample) -> None:
    node.now = sample(alarms={"disk": True}, disk_failing={"mix_keys": True})
    series = scrape(metrics)
    assert {alarm: value(series, "peerd_alarm", alarm=alarm) for alarm in ALARMS} == {
        "direct": 0, "tracing": 0, "blending": 0, "disk": 1, "clock": 0, "identity": 0, "model": 0,
        "paths": 0,
    }  # fmt: skip
    failing = {cause: value(series, "peerd_disk_failing", cause=cause) for cause in DISK_CAUSES}
    assert failing == dict.fromkeys(DISK_CAUSES, 0) | {"mix_keys": 1}


def test_exactly_one_stage_is_on(metrics: Metrics, node, sample) -> None:
    for stage in STAGES:
        node.now = sample(stage=stage)
        stages = {
            dict(labels)["stage"]: on
            for (name, labels), on in scrape(metrics).items()
            if name == "peerd_stage"
        }
        assert [name for name, on in stages.items() if on] == [stage]
        assert set(stages.values()) == {0.0, 1.0}


def test_rounds_and_stage_cpu_are_told_by_the_run(metrics: Metrics) -> None:
    metrics.stages.enter("training")
    metrics.trainer_spent("training", 4.0)
    metrics.trainer_spent("training", 0.5)
    metrics.trainer_spent("evaluating", 0.25)
    metrics.trainer_spent("evaluating", -1.0)  # a counter never falls
    for by, seconds in (("complete", 8.0), ("complete", 9.0), ("timeout", 200.0)):
        metrics.round_measured(
            RoundResult(round=1, closed_by=by, round_seconds=seconds, exchange_seconds=seconds / 4)
        )
    series = scrape(metrics)
    name = "peerd_stage_cpu_seconds_total"
    assert value(series, name, process="trainer", stage="training") == 4.5
    assert value(series, name, process="trainer", stage="evaluating") == 0.25
    assert value(series, name, process="daemon", stage="training") > 0.0
    assert value(series, "peerd_rounds_closed_total", by="complete") == 2
    assert value(series, "peerd_rounds_closed_total", by="timeout") == 1
    assert value(series, "peerd_round_seconds_sum") == 217
    assert value(series, "peerd_round_seconds_bucket", le="10.0") == 2
    assert value(series, "peerd_exchange_seconds_bucket", le="2.5") == 2
    assert value(series, "peerd_exchange_seconds_count") == 3


def test_the_registry_is_its_own_and_registering_does_not_sample(node, tally: Tally) -> None:
    ours = Metrics(tally, node)
    assert node.calls == 0
    assert ours.registry is not REGISTRY
    assert Metrics(Tally(), node).registry is not ours.registry
    assert not [f.name for f in REGISTRY.collect() if f.name.startswith("peerd")]


def labels_of(metrics: Metrics) -> Iterator[str]:
    for family in metrics.registry.collect():
        for sample in family.samples:
            yield from sample.labels


def test_no_label_can_name_a_peer_a_path_or_a_packet(metrics: Metrics, node, sample) -> None:
    allowed = {
        "direction", "kind", "reason", "state", "queue", "outcome", "le", "stage", "by", "model",
        "process", "version", "strategy", "hops", "slot", "alarm", "certificate", "detail", "cause",
    }  # fmt: skip
    node.now = full(sample)._replace(neighbours=())
    assert set(labels_of(metrics)) == allowed
    node.now = full(sample)
    assert set(labels_of(metrics)) == allowed | {"neighbour"}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
@pytest.mark.parametrize("state", ["quiet", "full"])
def test_promtool_finds_nothing_to_say(metrics: Metrics, node, sample, state: str) -> None:
    if state == "full":
        node.now = full(sample)
    checked = subprocess.run(
        ["promtool", "check", "metrics"],
        input=generate_latest(metrics.registry),
        capture_output=True,
        check=False,
        timeout=30,
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")
