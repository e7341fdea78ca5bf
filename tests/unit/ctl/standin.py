"""A stand-in for `peerd`, for the tests of processes: it serves the control API, relays nothing, and
plays a run from a table. Run as `python standin.py run --state-dir DIR --config FILE ...`.

$STANDIN (JSON) makes single peers misbehave: {"carol": {"exit": 4}}, "hang", "deaf" (to SIGTERM),
"die_in_run", "fail_run", "lonely" (sees nobody), "child" (leaves a child in its process group).
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import struct
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from peerd.pb import node_pb2, node_pb2_grpc, runs_pb2, runs_pb2_grpc

FLOATS = 5


class Peer(node_pb2_grpc.NodeServicer, runs_pb2_grpc.RunsServicer):
    def __init__(self, state: Path, hops: int, habits: dict[str, Any]) -> None:
        self.state, self.hops, self.habits = state, hops, habits
        self.others = len(list(state.parent.iterdir())) - 1
        self.spec = runs_pb2.RunSpec()

    def GetStatus(self, request: Any, context: Any) -> node_pb2.NodeStatus:
        packets = {"own": 10, "ack": 20, "loop": 1, "drop": 2, "forwarded": 40}
        traffic = node_pb2.TrafficStatus(
            packets=packets, dropped={"replay": 1}, bytes_sent=1000, rtt_samples=[0.1, 0.3]
        )
        return node_pb2.NodeStatus(
            name=self.state.name,
            strategy="exponential",
            hops=self.hops,
            peers_alive=0 if "lonely" in self.habits else self.others,
            traffic=traffic,
            trainer=node_pb2.TrainerStatus(state="idle", cpu_seconds=2.0, rss_bytes=2000),
            cpu_seconds=0.5,
            rss_bytes=1000,
        )

    def Start(self, request: Any, context: Any) -> runs_pb2.RunStatus:
        self.spec = request.spec
        return runs_pb2.RunStatus(spec=self.spec, state="starting")

    def Watch(self, request: Any, context: Any) -> Iterator[runs_pb2.RunStatus]:
        yield runs_pb2.RunStatus(spec=self.spec, state="starting")
        if "die_in_run" in self.habits:
            print("the last words", flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        if "hang" in self.habits:
            print("hanging", flush=True)
            threading.Event().wait()
        if "fail_run" in self.habits:
            yield runs_pb2.RunStatus(spec=self.spec, state="failed", error="no data left")
            return
        for number in range(1, self.spec.rounds + 1):
            yield self.run("running", number)
        self.save_model()
        yield self.run("finished", self.spec.rounds)

    def run(self, state: str, rounds: int) -> runs_pb2.RunStatus:
        results = [
            runs_pb2.RoundResult(
                round=number,
                accuracy=number / 10,
                test_samples=7,
                train_samples=3,
                exchange_seconds=1.0,
                round_seconds=2.0,
                closed_by="complete",
            )
            for number in range(1, rounds + 1)
        ]
        return runs_pb2.RunStatus(
            spec=self.spec,
            state=state,
            round=rounds,
            results=results,
            parameters=FLOATS,
            fragments=2,
        )

    def save_model(self) -> None:
        folder = self.state / "run"
        folder.mkdir(exist_ok=True)
        data = struct.pack(f"<{FLOATS}f", *range(FLOATS))
        (folder / "model-0.f32").write_bytes(data)
        record = {
            "spec": {"run_id": self.spec.run_id, "task": self.spec.task},
            "round": self.spec.rounds,
            "parameters": FLOATS,
            "sha256": hashlib.sha256(data).hexdigest(),
            "file": "model-0.f32",
        }
        (folder / "run.json").write_text(json.dumps(record))


def main() -> None:
    options = dict(zip(sys.argv[2::2], sys.argv[3::2], strict=True))
    state = Path(options["--state-dir"])
    config = tomllib.loads(Path(options["--config"]).read_text())
    if not Path(options["--bundle"]).is_file():
        raise SystemExit("no bundle")
    habits = json.loads(os.environ.get("STANDIN", "{}")).get(state.name, {})
    print(f"{state.name} begins at {config['link']['listen']}", flush=True)
    if "exit" in habits:
        print("peerd: cannot go on", flush=True)
        raise SystemExit(habits["exit"])
    if "once" in habits and not Path(habits["once"]).exists():
        Path(habits["once"]).touch()
        raise SystemExit(4)
    if "child" in habits:
        child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
        (state / "child.pid").write_text(str(child.pid))
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: None if "deaf" in habits else stop.set())
    server = grpc.server(ThreadPoolExecutor(max_workers=8))
    peer = Peer(state, config["mixing"]["hops"], habits)
    node_pb2_grpc.add_NodeServicer_to_server(peer, server)
    runs_pb2_grpc.add_RunsServicer_to_server(peer, server)
    healthy = health.HealthServicer()
    healthy.set("", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    server.add_insecure_port(f"unix:{config['control']['unix']}")
    if "mute" not in habits:
        server.start()
    stop.wait()
    os._exit(0)  # threads that hang on purpose do not hold it up


if __name__ == "__main__":
    main()
