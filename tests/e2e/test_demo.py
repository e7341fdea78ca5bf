"""The demo, as `make demo` runs it, and what it must show."""

from __future__ import annotations

import contextlib
import signal
import subprocess
from pathlib import Path

import pytest

KEYS = {
    "peers", "rounds", "hops", "task", "strategy", "wall_seconds", "round_seconds",
    "exchange_seconds", "accuracy", "model", "packets", "bytes_on_links", "rtt_seconds",
    "cpu_seconds", "rss_bytes",
}  # fmt: skip


def processes_of(folder) -> list[int]:
    """Living processes whose command line names the folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str(folder).encode() in (process / "cmdline").read_bytes():
                found.append(int(process.name))
    return found


@pytest.mark.timeout(180)
def test_six_peers_train_on_digits_over_the_mixnet(programs):
    report = programs.json("demo", "--peers", "6", "--rounds", "5", "--hops", "3", timeout=170)
    assert report.keys() >= KEYS
    assert (report["peers"], report["rounds"], report["hops"]) == (6, 5, 3)
    assert (report["task"], report["strategy"]) == ("digits-cnn", "exponential")
    assert len(report["accuracy"]["per_round"]) == 5
    assert report["accuracy"]["final_mean"] >= 0.93
    packets = report["packets"]
    assert packets["gave_up"] == 0
    messages = report["model"]["fragments"] * 6 * 5 * 5  # to five others, in five rounds
    # A resend whose link was down is counted as such, and never departed.
    assert messages <= packets["sent"] <= messages + packets["resent"]
    # The last acknowledgements may still be on their way when the run is over.
    assert packets["acks"] >= 0.9 * messages
    # Three mix nodes there and three back for every message, and as many for cover.
    assert packets["forwarded"] >= 0.9 * 6 * messages
    assert packets["cover"] > 0
    assert not {"bad_mac", "replay", "bad_cell", "wrong_run"} & packets["dropped"].keys()
    assert 0 < report["rtt_seconds"]["p50"] <= report["rtt_seconds"]["p95"]
    assert report["bytes_on_links"] > 8 * messages * 8192
    assert report["rss_bytes"]["daemon_max"] < 120_000_000 < report["rss_bytes"]["trainer_max"]
    assert report["model_agreement"]["max_difference"] < 1e-5
    assert report["exchange_seconds"]["mean"] <= report["exchange_seconds"]["max"] < 60


@pytest.mark.timeout(120)
@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.soak)])
def test_an_interrupted_demo_leaves_nothing_behind(programs, number):
    demo = subprocess.Popen(
        ["peerctl", "demo", "--rounds", "1000", "--peers", "3", "--hops", "1", "--task", "synthetic"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**programs.environment, "TMPDIR": str(programs.home)}, cwd=programs.home,
    )  # fmt: skip
    try:
        for line in demo.stdout:
            if "round 1" in line.lower():
                break
        assert len(processes_of(programs.home)) >= 3
        demo.send_signal(number)
        demo.communicate(timeout=60)
        assert demo.returncode == 130
    finally:
        demo.terminate()  # killed, it could not take down what it has started
        demo.communicate()
    assert processes_of(programs.home) == []
