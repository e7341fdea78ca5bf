"""A stand-in for `peerd`, for the tests of processes: it serves the control API, relays nothing, and
plays a run by the clock. Run as `python standin.py run --state-dir DIR --config FILE ...`.

The stand-ins of one folder know of each other by files, STANDINS/NAME: who has one with the pid of a living
process is alive; an announced run lies in STANDINS/run, so who comes later hears of it, listens for a round
and contributes then.

$STANDIN (JSON) makes single peers misbehave: {"carol": {"exit": 4}}, "hang", "deaf" (to SIGTERM),
"die_in_run", "fail_run", "lonely" (sees nobody), "child" (leaves a child in its process group), "clinging"
(does not drain), "silent" (hears of no announcement). {"": {"pace": 0.3}} is for all: seconds of a round.
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
import time
import tomllib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from peerd.pb import (
    gossip_pb2,
    node_pb2,
    node_pb2_grpc,
    peers_pb2,
    peers_pb2_grpc,
    runs_pb2,
    runs_pb2_grpc,
)

FLOATS = 5
ENDED = ("finished", "stopped", "failed")
TICK = 0.02


class Network:
    """What the stand-ins of one testbed know of each other."""

    def __init__(self, state: Path) -> None:
        self.me = state.name
        self._states = state.parent
        self._folder = state.parent.parent / "network" / "standins"
        self._folder.mkdir(exist_ok=True)

    def others(self) -> list[str]:
        return sorted(path.name for path in self._states.iterdir() if path.name != self.me)

    def is_here(self, here: bool) -> None:
        (self._folder / self.me).write_text(str(os.getpid()) if here else "left")

    def state_of(self, name: str) -> str:
        try:
            text = (self._folder / name).read_text()
        except OSError:
            return "joining"
        if text == "left":
            return "left"
        try:
            stat = Path(f"/proc/{text}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return "dead"
        return "dead" if stat in "ZXT" else "alive"

    def announce(self, spec: runs_pb2.RunSpec) -> None:
        draft = self._folder / f".run-{self.me}"
        draft.write_bytes(json.dumps([time.time(), spec.SerializeToString().hex()]).encode())
        draft.replace(self._folder / "run")

    def announced(self) -> tuple[float, runs_pb2.RunSpec] | None:
        try:
            at, spec = json.loads((self._folder / "run").read_bytes())
        except OSError:
            return None
        return at, runs_pb2.RunSpec.FromString(bytes.fromhex(spec))


class Peer(node_pb2_grpc.NodeServicer, runs_pb2_grpc.RunsServicer, peers_pb2_grpc.PeersServicer):
    """One lock, one observer thread that lets time go by, and the calls."""

    def __init__(self, state: Path, hops: int, habits: dict[str, Any], pace: float) -> None:
        self.state, self.hops, self.habits, self.pace = state, hops, habits, pace
        self.network = Network(state)
        self.stop = threading.Event()
        self.run: runs_pb2.RunStatus | None = None
        self.begun = 0.0
        self.draining = False
        self.events: list[node_pb2.Event] = []
        self.seen: dict[str, str] = {}
        self.changed = threading.Condition()
        self.add("node", "up")
        self.look()
        threading.Thread(target=self.observe, daemon=True).start()

    # -- time goes by -----------------------------------------------------------

    def observe(self) -> None:
        while True:
            time.sleep(TICK)
            with self.changed:
                self.look()
                if self.run is not None and self.run.state not in ENDED:
                    self.go_on(self.run)
                self.changed.notify_all()

    def look(self) -> None:
        """At the others, and whether a run is announced."""
        for name in self.network.others():
            state = "joining" if "lonely" in self.habits else self.network.state_of(name)
            if state != self.seen.get(name, "joining"):
                if state == "dead":
                    self.add("peer", "suspect", name)
                self.add("peer", state, name)
            self.seen[name] = state
        announced = self.network.announced()
        known = None if self.run is None else self.run.spec.run_id
        if announced is not None and announced[1].run_id != known and "silent" not in self.habits:
            self.begin(announced[1], announced[0], announced=True)

    def begin(self, spec: runs_pb2.RunSpec, at: float, announced: bool) -> None:
        self.begun = at
        late = self.round_now() > 1
        self.run = runs_pb2.RunStatus(
            spec=spec,
            state="running",
            announced=announced,
            parameters=FLOATS,
            fragments=2,
            round=self.round_now(),
            stage="listening" if late else "training",
            contributes_from=0 if late else 1,
            cohort=len(self.alive()) + 1,
        )
        self.add("run", "begins")

    def round_now(self) -> int:
        return int((time.time() - self.begun) / max(self.pace, TICK)) + 1

    def go_on(self, run: runs_pb2.RunStatus) -> None:
        """Close the round that is over; rounds that were slept through are skipped."""
        if "die_in_run" in self.habits:
            print("the last words", flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        if "hang" in self.habits:
            return
        if "fail_run" in self.habits:
            run.state, run.error = "failed", "no data left"
            return
        now = min(self.round_now(), run.spec.rounds + 1)
        if now <= run.round:
            return
        listened = now - run.round > 2 or not 0 < run.contributes_from <= run.round
        if now - run.round > 2 and self.pace > TICK:
            run.rounds_skipped += now - 1 - run.round
            run.round = now - 1
        while run.round < now:
            self.close(run, run.round, listened)
            run.round += 1
        if run.round > run.spec.rounds:
            run.round, run.state, run.stage = run.spec.rounds, "finished", "done"
            self.save_model(run)
        elif listened:
            run.contributes_from, run.stage = run.round, "training"

    def close(self, run: runs_pb2.RunStatus, number: int, listened: bool) -> None:
        run.results.add(
            round=number,
            accuracy=number / 10,
            test_samples=7,
            train_samples=3,
            train_seconds=self.pace / 2,
            exchange_seconds=min(1.0, self.pace / 2) if self.pace > TICK else 1.0,
            round_seconds=2.0,
            closed_by="complete",
            cohort=len(self.alive()) + 1,
            listened=listened,
        )
        self.add("round", "closed", detail=f"{number} by complete")

    def save_model(self, run: runs_pb2.RunStatus) -> None:
        folder = self.state / "run"
        folder.mkdir(exist_ok=True)
        data = struct.pack(f"<{FLOATS}f", *range(FLOATS))
        (folder / "model-0.f32").write_bytes(data)
        record = {
            "spec": {"run_id": run.spec.run_id, "task": run.spec.task},
            "round": run.spec.rounds,
            "parameters": FLOATS,
            "sha256": hashlib.sha256(data).hexdigest(),
            "file": "model-0.f32",
        }
        (folder / "run.json").write_text(json.dumps(record))

    def add(self, kind: str, what: str, peer: str = "", detail: str = "") -> None:
        number = len(self.events) + 1
        self.events.append(
            node_pb2.Event(at=time.time(), kind=kind, what=what, peer=peer, detail=detail, number=number)
        )

    def alive(self) -> list[str]:
        return [name for name, state in self.seen.items() if state == "alive"]

    # -- node -------------------------------------------------------------------

    def GetStatus(self, request: Any, context: Any) -> node_pb2.NodeStatus:
        dead = sum(event.what == "dead" for event in self.events)
        traffic = node_pb2.TrafficStatus(
            packets={"own": 10, "ack": 20, "loop": 1, "drop": 2, "forwarded": 40},
            dropped={"replay": 1, "peer_dead": 3 * dead},
            resent=dead,
            bytes_sent=1000,
            rtt_samples=[0.1, 0.3],
        )
        return node_pb2.NodeStatus(
            name=self.state.name,
            network="testbed",
            strategy="exponential",
            hops=self.hops,
            peers_alive=len(self.alive()),
            peers_enrolled=len(self.network.others()),
            traffic=traffic,
            trainer=node_pb2.TrainerStatus(state="idle", cpu_seconds=2.0, rss_bytes=2000),
            cpu_seconds=0.5,
            rss_bytes=1000,
            draining=self.draining,
        )

    def Drain(self, request: node_pb2.DrainRequest, context: Any) -> Iterator[node_pb2.DrainProgress]:
        self.draining = True
        self.network.is_here(False)
        yield node_pb2.DrainProgress(state="announcing", messages=2)
        if "clinging" in self.habits:
            yield node_pb2.DrainProgress(state="timeout", messages=2)
            return
        if self.run is not None and self.run.state not in ENDED:
            self.run.state = "stopped"
        yield node_pb2.DrainProgress(state="drained")
        if not request.stay:
            threading.Timer(TICK, self.stop.set).start()

    def WatchEvents(self, request: node_pb2.WatchEventsRequest, context: Any) -> Iterator[node_pb2.Event]:
        sent = max(len(self.events) - request.last, 0) if request.last else 0
        yield from self.wait_for(context, lambda: self.events[sent:], request.follow)

    # -- peers ------------------------------------------------------------------

    def List(self, request: Any, context: Any) -> peers_pb2.ListPeersResponse:
        peers = [peers_pb2.Peer(name=name, state=state) for name, state in self.seen.items()]
        return peers_pb2.ListPeersResponse(peers=peers)

    # -- runs -------------------------------------------------------------------

    def Start(self, request: runs_pb2.StartRunRequest, context: Any) -> runs_pb2.RunStatus:
        with self.changed:
            if request.notice:
                gossip_pb2.SignedRun.FromString(request.notice)
                self.network.announce(request.spec)
                self.look()
            else:
                self.begin(request.spec, time.time(), announced=False)
            assert self.run is not None
            return self.run

    def Get(self, request: Any, context: Any) -> runs_pb2.RunStatus:
        return self.known(context)

    def Watch(self, request: Any, context: Any) -> Iterator[runs_pb2.RunStatus]:
        told = b""
        run = self.known(context)
        while context.is_active():
            with self.changed:
                now = run.SerializeToString(deterministic=True)
                if now == told:
                    self.changed.wait(1)
                    continue
                told, status = now, runs_pb2.RunStatus.FromString(now)
            if "hang" in self.habits:
                print("hanging", flush=True)
            yield status
            if status.state in ENDED:
                return

    def known(self, context: Any) -> runs_pb2.RunStatus:
        if self.run is None:
            context.abort(grpc.StatusCode.NOT_FOUND, "this peer has not taken part in a run yet")
        assert self.run is not None
        return self.run

    def wait_for(self, context: Any, news: Callable[[], list[Any]], follow: bool) -> Iterator[Any]:
        """Those that are there, and to follow those that come."""
        sent = 0
        while True:
            with self.changed:
                new = news()[sent:]
                if not new and follow and context.is_active():
                    self.changed.wait(1)
            yield from new
            sent += len(new)
            if not follow or not context.is_active():
                return


def main() -> None:
    options = dict(zip(sys.argv[2::2], sys.argv[3::2], strict=True))
    state = Path(options["--state-dir"])
    config = tomllib.loads(Path(options["--config"]).read_text())
    if not Path(options["--bundle"]).is_file():
        raise SystemExit("no bundle")
    every = json.loads(os.environ.get("STANDIN", "{}"))
    habits = every.get(state.name, {})
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
    peer = Peer(state, config["mixing"]["hops"], habits, every.get("", {}).get("pace", TICK))
    signal.signal(signal.SIGTERM, lambda *_: None if "deaf" in habits else peer.stop.set())
    server = grpc.server(ThreadPoolExecutor(max_workers=32))
    node_pb2_grpc.add_NodeServicer_to_server(peer, server)
    runs_pb2_grpc.add_RunsServicer_to_server(peer, server)
    peers_pb2_grpc.add_PeersServicer_to_server(peer, server)
    healthy = health.HealthServicer()
    healthy.set("", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    server.add_insecure_port(f"unix:{config['control']['unix']}")
    if "mute" not in habits:
        server.start()
    peer.network.is_here(True)
    while not peer.stop.wait(0.1):  # a signal that another thread was given is noticed, too
        pass
    peer.network.is_here(False)
    os._exit(0)  # threads that hang on purpose do not hold it up


if __name__ == "__main__":
    main()
