"""Each online command against peers that answer: what is sent, what is shown, which exit code."""

from __future__ import annotations

import json
from typing import Any

import grpc
import pytest

from peerd.pb import mixing_pb2, peers_pb2, runs_pb2
from peerd.presets import PRESETS


@pytest.fixture
def two(peers: Any) -> Any:
    """alice, the current one, and bob."""
    return peers.add("alice"), peers.add("bob")


def run_status(state: str, accuracy: float = 0.5, rounds: int = 1) -> runs_pb2.RunStatus:
    results = [
        runs_pb2.RoundResult(
            round=number,
            accuracy=accuracy + number / 100,
            accuracy_local=0.4,
            test_samples=300,
            closed_by="complete",
            exchange_seconds=1.5,
        )
        for number in range(1, rounds + 1)
    ]
    return runs_pb2.RunStatus(
        spec=runs_pb2.RunSpec(run_id="ab" * 16, task="digits-cnn", rounds=2),
        state=state,
        round=rounds,
        stage="done",
        results=results,
    )


@pytest.mark.usefixtures("two")
def test_status_of_one_is_an_object_and_of_many_one_under_each_name(peerctl: Any) -> None:
    one = peerctl.json("status")
    assert one["name"] == "alice"
    assert one["traffic"]["packets"]["forwarded"] == 5 << 30
    assert "rtt_samples" not in one["traffic"]
    many = peerctl.json("--all", "status")
    assert {name: status["name"] for name, status in many.items()} == {
        "alice": "alice",
        "bob": "bob",
    }
    assert list(peerctl.json("--on", "bob", "status")) == ["bob"]


@pytest.mark.usefixtures("two")
def test_status_tables(peerctl: Any) -> None:
    detail = peerctl("--context", "bob", "status").stdout
    for text in ("bob (abab", "4 of 5", "exponential, 3 hops", "01234567 running", "2, training",
                 "busy, 3.5 s CPU, 1.0 GiB", "replay 2", "6.0 GiB", "1m23s", "400 ms"):  # fmt: skip
        assert text in detail
    rows = [line.split() for line in peerctl("--all", "status").stdout.splitlines()]
    assert [row[0] for row in rows[2:]] == ["alice", "bob"]
    assert rows[0][-4:] == ["Gave", "up", "Dropped", "Alarms"]
    assert rows[2][-1] == "2"  # and no alarm
    assert "90.0 MiB" in peerctl("--all", "status").stdout  # the daemon's alone
    assert "1.5 s CPU, 90.0 MiB memory" in detail


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize("columns", [100, 80])
def test_the_status_of_all_fits_the_terminal(
    peerctl: Any, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = peerctl("--all", "status").stdout.splitlines()
    assert max(map(len, lines)) <= columns
    for title in ("Peer", "Alive", "Stage", "Round", "Memory", "Dropped"):
        assert title in lines[0]


@pytest.mark.usefixtures("two")
def test_a_missing_peer_does_not_hide_the_others(peers: Any, peerctl: Any) -> None:
    peers.absent("carol")
    result = peerctl("--all", "status", "-o", "json")
    assert result.exit_code == 5
    assert list(json.loads(result.stdout)) == ["alice", "bob"]
    errors = json.loads(result.stderr)["errors"]
    assert errors["carol"]["exit_code"] == 5
    table = peerctl("--all", "status")
    assert table.exit_code == 5
    assert "bob" in table.stdout
    assert table.stderr.startswith("peerctl: carol: no daemon answers at unix:")
    assert len(table.stderr.splitlines()) == 1


@pytest.mark.usefixtures("two")
def test_peers(peerctl: Any) -> None:
    assert [peer["name"] for peer in peerctl.json("peers")] == ["zoe"]
    text = peerctl("--all", "peers").stdout
    assert "alice sees" in text and "bob sees" in text and "zoe" in text


def test_mix_set_sends_only_what_is_given(two: Any, peerctl: Any) -> None:
    alice, bob = two
    shown = peerctl.json("mix", "set", "--hops", "2", "--mean-delay", "20ms", "--loop-rate", "0", "--all")
    assert shown["alice"]["hops"] == shown["bob"]["hops"] == 2
    for peer in (alice, bob):
        sent = {field.name: value for field, value in peer.updates[0].ListFields()}
        assert sent == {"hops": 2, "mean_delay_seconds": 0.02, "loop_rate_per_second": 0.0}


def test_mix_show_has_a_column_for_each_peer(two: Any, peerctl: Any) -> None:
    two[1].mixing.strategy = "outbox"
    two[0].mixing.mean_delay_seconds = 0.05
    two[0].measured.loops.loss = 0.125
    two[1].measured.loops.alarm = True
    two[1].measured.epoch.replay_expected_false_positives = 12.3
    lines = peerctl("--all", "mix", "show").stdout.splitlines()
    assert lines[0].split() == ["Setting", "alice", "bob"]
    cells = [line.split() for line in lines]
    assert ["strategy", "exponential", "outbox"] in cells
    assert ["mean_delay", "50ms", "0s"] in cells
    assert ["Measured", "alice", "bob"] in cells
    text = "\n".join(" ".join(line.split()) for line in lines)
    for row in (
        "entropy of a departure 3.14 bits 3.14 bits",
        "its mean 2.72 bits 2.72 bits",
        "sender hidden, 2 hops 1.00 of 2.50 bits 1.00 of 2.50 bits",
        "sender hidden, 3 hops 1.50 of 2.50 bits <- in force 1.50 of 2.50 bits <- in force",
        "send, loop, drop rate 20 0.5 0 a second 20 0.5 0 a second",
        "cover forgone 7 7",
        "loops sent, home, lost 40, 30, 6 40, 30, 6",
        "loss of the latest loops 12 % too few yet",
        "blending alarm no RAISED: loops stay away",
        "epoch 17, next in 1m23s 17, next in 1m23s",
        "mix keys accepted 17, 18 17, 18",
        "replay tags 1,500 in 1.0 MiB 1,500 in 1.0 MiB",
        "false replays, at most 1e-06 of packets, 0.00375 so far 1e-06 of packets, 12.3 so far",
    ):
        assert row in text, row


def test_mix_show_as_json_has_the_configuration_and_what_was_measured(two: Any, peerctl: Any) -> None:
    two[0].mixing.mean_delay_seconds = 0.05
    shown = peerctl.json("mix", "show")
    assert (shown["mean_delay_seconds"], shown["direct"]) == (0.05, False)
    measured = shown["measured"]
    assert measured["entropy_bits"] == 3.14159
    assert measured["end_to_end"][2] == {"hops": 3, "bits": 1.5, "of_bits": 2.5}
    assert measured["loops"] == {"sent": 40, "returned": 30, "lost": 6, "loss": None, "alarm": False}
    assert measured["epoch"]["accepted"] == [18, 17]
    two[0].measured.loops.loss = 0.0
    assert peerctl.json("mix", "show")["measured"]["loops"]["loss"] == 0.0


def test_without_a_departure_and_in_direct_mode_mix_show_says_so(two: Any, peerctl: Any) -> None:
    two[0].measured.mixed = 0
    two[0].mixing.direct = True
    text = peerctl("mix", "show").stdout
    assert "none yet" in text
    assert "ON: NO ANONYMITY" in text
    assert "in force" not in text


def test_mix_show_hides_the_parameters_of_strategies_that_nobody_uses(two: Any, peerctl: Any) -> None:
    two[0].mixing.strategy, two[1].mixing.strategy = "pool", "timed"
    settings = {line.split()[0] for line in peerctl("--all", "mix", "show").stdout.splitlines() if line}
    assert {"pool_interval", "pool_minimum", "pool_rate", "timed_interval", "queue_limit"} <= settings
    assert not settings & {"mean_delay", "threshold_size", "threshold_patience", "outbox_size"}
    assert "max_delay" in settings


def test_mix_set_takes_every_setting_of_the_daemon(two: Any, peerctl: Any) -> None:
    given = {
        "strategy": ("pool", "pool"), "hops": ("2", 2), "direct": ("on", True),
        "mean-delay": ("20ms", 0.02), "max-delay": ("3s", 3.0), "send-rate": ("20", 20.0),
        "loop-rate": ("0", 0.0), "drop-rate": ("1.5", 1.5), "cover-budget": ("250000", 250000.0),
        "loop-alarm": ("0.25", 0.25), "threshold-size": ("5", 5), "threshold-patience": ("2s", 2.0),
        "timed-interval": ("50ms", 0.05), "pool-interval": ("200ms", 0.2), "pool-minimum": ("0", 0),
        "pool-rate": ("0.5", 0.5), "outbox-size": ("32", 32), "outbox-interval": ("5ms", 0.005),
        "outbox-jitter": ("1ms", 0.001), "queue-limit": ("4096", 4096), "preset": ("strong", "strong"),
    }  # fmt: skip
    peerctl.json("mix", "set", *(part for key, (text, _) in given.items() for part in (f"--{key}", text)))
    sent = {field.name: value for field, value in two[0].updates[0].ListFields()}
    expected = [value for _, value in given.values()]
    assert sorted(map(str, sent.values())) == sorted(map(str, expected))
    assert set(sent) == {field.name for field in mixing_pb2.UpdateMixingRequest.DESCRIPTOR.fields}


def test_mix_presets(peerctl: Any) -> None:
    assert peerctl.json("mix", "presets") == {name: dict(fields) for name, fields in PRESETS.items()}
    lines = peerctl("mix", "presets").stdout.splitlines()
    assert lines[0].split() == ["Setting", "fast", "balanced", "strong"]
    cells = [line.split() for line in lines]
    assert ["mean_delay", "20ms", "100ms", "500ms"] in cells
    assert ["send_rate_per_second", "off", "20", "20"] in cells


def test_status_shows_alarms(two: Any, peerctl: Any) -> None:
    two[0].status.alarms.extend(["direct", "blending"])
    two[0].status.epoch = 17
    detail = peerctl("status").stdout
    assert "none: direct mode" in detail
    assert "DIRECT MODE: no mixnet, NO ANONYMITY" in detail
    assert "BLENDING: loop cover does not come back" in detail
    assert [line.split() for line in detail.splitlines() if line.startswith("epoch")] == [["epoch", "17"]]
    rows = {line.split()[0]: line for line in peerctl("--all", "status").stdout.splitlines() if line.strip()}
    assert rows["alice"].endswith("DIRECT, BLENDING")
    assert "DIRECT" not in rows["bob"]
    assert peerctl.json("status")["alarms"] == ["direct", "blending"]
    two[0].status.alarms[:] = ["a new one"]
    assert "a new one" in peerctl("status").stdout


def test_status_shows_who_leaves_and_who_may_sign_in_others(two: Any, peerctl: Any) -> None:
    plain = peerctl("status").stdout
    assert "draining" not in plain and "delegate" not in plain
    two[0].status.draining = two[0].status.delegate = True
    two[0].status.alarms.extend(["disk", "clock", "identity"])
    detail = peerctl("status").stdout
    for words in (
        "draining",
        "may sign in newcomers",
        "DISK: state cannot be written",
        "CLOCK: ",
        "IDENTITY: ",
    ):
        assert words in detail
    rows = {line.split()[0]: line.split() for line in peerctl("--all", "status").stdout.splitlines() if line}
    assert "draining" in rows["alice"] and "training" in rows["bob"]
    assert peerctl.json("status")["delegate"] is True


def test_peers_show_epoch_and_loop_quality(two: Any, peerctl: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    del two[0].peers[:]
    two[0].peers += [
        peers_pb2.Peer(name="zoe", state="alive", epoch=17, loop_quality=0.5, loop_excess_seconds=0.0125),
        peers_pb2.Peer(name="yan", state="alive", epoch=17),
    ]
    listed = {peer["name"]: peer for peer in peerctl.json("peers")}
    assert (listed["zoe"]["loop_quality"], listed["yan"]["loop_quality"]) == (0.5, None)
    assert (listed["zoe"]["loop_excess_seconds"], listed["yan"]["loop_excess_seconds"]) == (0.0125, None)
    assert listed["zoe"]["epoch"] == 17
    text = peerctl("peers").stdout
    assert "50 %" in text
    assert "Excess" in text and "12 ms" in text


def test_a_daemons_refusal_keeps_its_exit_code(two: Any, peerctl: Any) -> None:
    two[0].refuse = (grpc.StatusCode.INVALID_ARGUMENT, "hops: 7 is more than max_hops 5")
    assert peerctl.error(2, "mix", "set", "--hops", "7") == "alice: hops: 7 is more than max_hops 5"
    two[0].refuse = (grpc.StatusCode.PERMISSION_DENIED, "a viewer's certificate cannot change")
    assert "viewer" in peerctl.error(6, "run", "stop")


def test_run_start_gives_all_the_same_run(two: Any, peerctl: Any) -> None:
    shown = peerctl.json("--all", "run", "start", "--rounds", "7", "--seed", "3", "--grace", "2s")
    first, second = (peer.started[0] for peer in two)
    assert first == second
    assert len(first.run_id) == 32
    assert (first.task, first.rounds, first.seed, first.grace_seconds) == ("digits-cnn", 7, 3, 2.0)
    assert first.batch_size > 0 and first.learning_rate > 0 and first.quorum > 0
    assert shown["bob"]["spec"]["run_id"] == first.run_id
    peerctl.json("run", "start")
    assert two[0].started[1].run_id != first.run_id
    peerctl.json("run", "start", "--run-id", "cd" * 16)
    assert two[0].started[2].run_id == "cd" * 16


def test_a_relative_data_dir_is_made_absolute_for_local_peers(
    two: Any, peerctl: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    peerctl.json("run", "start", "--data-dir", "mnist")
    assert two[0].started[0].data_dir == str(tmp_path / "mnist")


@pytest.mark.parametrize(
    ("command", "calls"),
    [("stop", ["Stop"]), ("pause", ["Pause"]), ("resume", ["GetStatus", "Resume"]), ("show", ["Get"])],
)
def test_steering(two: Any, peerctl: Any, command: str, calls: list[str]) -> None:
    assert set(peerctl.json("--all", "run", command)) == {"alice", "bob"}
    assert [peer.called for peer in two] == [calls, calls]


def test_watch_prints_a_line_for_every_round_that_all_have_closed(two: Any, peerctl: Any) -> None:
    alice, bob = two
    alice.watch = [run_status("running", 0.5), run_status("finished", 0.5, rounds=2)]
    bob.watch = [run_status("running", 0.7), run_status("finished", 0.7, rounds=2)]
    result = peerctl("--all", "run", "watch")
    assert result.exit_code == 0
    lines = [line for line in result.stdout.splitlines() if line.startswith("round ")]
    assert lines[0].startswith("round 1/2: accuracy 0.610 (0.510 to 0.710), local 0.400")
    assert lines[1].startswith("round 2/2: accuracy 0.620")
    assert len(lines) == 2


def test_watch_as_json_is_one_object(two: Any, peerctl: Any) -> None:
    for peer in two:
        peer.watch = [run_status("running"), run_status("finished", rounds=2)]
    shown = peerctl.json("--all", "run", "watch")
    assert [shown[name]["state"] for name in ("alice", "bob")] == ["finished", "finished"]


@pytest.mark.parametrize(("state", "code"), [("finished", 0), ("failed", 1), ("stopped", 1)])
def test_waiting_for_a_run_that_ends_otherwise(two: Any, peerctl: Any, state: str, code: int) -> None:
    status = run_status(state, rounds=2)
    status.error = "the trainer died\nagain"
    two[0].watch = [status]
    result = peerctl("run", "start", "--wait")
    assert result.exit_code == code
    if state == "failed":
        assert "alice: the run failed: the trainer died again" in result.stdout


def test_wait_does_not_watch_when_a_peer_refused(two: Any, peerctl: Any) -> None:
    two[1].refuse = (grpc.StatusCode.FAILED_PRECONDITION, "run 12 is going on; stop it first")
    two[1].refused = {"Start"}
    result = peerctl("--all", "run", "start", "--wait")
    assert result.exit_code == 4
    assert result.stderr.splitlines() == [
        "peerctl: bob: run 12 is going on; stop it first",
        "peerctl: the run goes on at alice; to end it: peerctl --on alice run stop",
    ]
    assert two[0].called == ["GetStatus", "Start"]


def test_a_run_is_started_nowhere_while_a_peer_is_missing(two: Any, peers: Any, peerctl: Any) -> None:
    peers.absent("carol")
    result = peerctl("--all", "run", "start")
    assert (result.exit_code, result.stdout) == (5, "")
    first, second = result.stderr.splitlines()
    assert first.startswith("peerctl: carol: no daemon answers")
    assert second == "peerctl: the run was started nowhere"
    assert not two[0].started and not two[1].started


def test_interrupted_watching_says_that_the_run_goes_on(
    two: Any, peerctl: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(work: Any) -> None:
        work.close()
        raise KeyboardInterrupt

    monkeypatch.setattr("ctl.commands.run.aio.run", interrupted)
    result = peerctl("--all", "run", "watch")
    assert result.exit_code == 130
    assert result.stderr == (
        "peerctl: interrupted; the run goes on: `peerctl --all run watch` follows it, "
        "`peerctl --all run stop` ends it\n"
    )


def test_a_peer_lost_in_the_middle_of_watching(two: Any, peers: Any, peerctl: Any) -> None:
    alice, _ = two
    alice.watch = [run_status("finished", rounds=2)]
    peers.absent("carol")
    result = peerctl("--on", "alice,carol", "run", "watch")
    assert result.exit_code == 5
    assert "finished" in result.stdout
    assert "carol: no daemon answers" in result.stderr
