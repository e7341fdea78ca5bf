"""What a round of training costs with anonymity: six real peers beside a bare loop. One JSON object.

The reference task: six peers, `mnist-cnn`, 1,000 images each a round, batches of 64, Adam 1e-3, five
rounds. In one run, in turns, `--repeats` times:

    bare            no network, no framework: six learners one after the other, a plain mean, one evaluation
                    of the aggregate on 1,000 images; the quicker of one process with all cores for torch, and
                    one process for each core with some of the learners
    mixing          six daemons, three hops, acknowledgements, 50 ms mean delay; int8 on the wire, streaming
                    as by default; every peer measures its own model and the aggregate on 250 images
    mixing_burst    the same with nothing frozen: everything is sent when training is over
    mixing_float32  the same as mixing with float32 on the wire
    direct          the same as mixing without hops

    seconds         of a round, median over repeats, of the mean over peers and all rounds but the last (which
                    ends with an evaluation on all 10,000 test images, on every peer)
    ratio_to_bare   of these seconds
    accuracy        of the aggregate after each round, mean over the peers
    uss_bytes       unshared memory of all daemons and trainers together, most of all samples
    bytes_on_links  of a round, all peers together; cover is off, keepalive and gossip are in
    streaming_gain  seconds of mixing_burst / seconds of mixing

With `--shaped`, where sending is slow and so the wait after training counts: 6,000 images a peer, float32,
own messages leave at 20 a second, half of the batches freeze, and none: `streaming_gain_shaped`.

    python tests/bench/round.py --mnist ../shared/data/mnist
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from ctl.client import Client
from ctl.fanout import fan_out
from ctl.testbed import Plan, Testbed, bring_up
from peerd.membership import run_spec_message
from peerd.pb import mixing_pb2
from peerd.trainerproto import Vector
from peerd.types import RunSpec

PEERS = 6
TEST_IMAGES = 1_000
TEST_IMAGES_OF_A_PEER = 250
CALL_SECONDS = 30.0
POLL_SECONDS = 0.5
RUN_SECONDS = 600.0
MIXING: dict[str, Any] = {
    "hops": 3,
    "mean_delay_seconds": 0.05,
    "loop_rate_per_second": 0.0,
    "drop_rate_per_second": 0.0,
}
SHAPED_RATE = 20.0
"""Own messages a second, as in the preset `balanced`."""


def reference(mnist: Path, rounds: int, **changes: Any) -> RunSpec:
    fields: dict[str, Any] = {
        "run_id": secrets.token_hex(16),
        "task": "mnist-cnn",
        "data_dir": str(mnist.resolve()),
        "rounds": rounds,
        "seed": 1,
        "samples_per_round": 1_000,
        "test_samples": TEST_IMAGES_OF_A_PEER,
        "batch_size": 64,
        "local_epochs": 1,
        "learning_rate": 1e-3,
    }
    return RunSpec(**(fields | changes))


# -- the bare loop, in processes of its own -------------------------------------------------------------

_learners: list[Any] = []


def open_learners(spec: RunSpec, numbers: Sequence[int], threads: int) -> Vector:
    """In a worker. Returns the model that all start from."""
    import peerd.training.torchtask as torchtask
    from peerd.training.session import open_learner
    from peerd.training.task import Host

    class Bare(torchtask.TorchLearner):
        """Does not measure each peer's own model after training."""

        def train(self, round: int, vector: Vector) -> tuple[Vector, Any]:
            self._measure, measure = lambda samples: (0.0, 0), self._measure  # type: ignore[method-assign]
            try:
                return super().train(round, vector)
            finally:
                self._measure = measure  # type: ignore[method-assign]

    torchtask.TorchLearner = Bare  # type: ignore[misc]
    _learners.extend(open_learner(spec, number, PEERS, Host("cpu", threads)) for number in numbers)
    first: Vector = _learners[0].vector()
    return first


def train_sum(number: int, vector: Vector) -> Any:
    return sum(learner.train(number, vector)[0].astype(np.float64) for learner in _learners)


def evaluate(vector: Vector, images: int) -> float:
    return float(_learners[0].evaluate(vector, images).accuracy)


def spent() -> tuple[int, float]:
    return uss([os.getpid()]), time.process_time()


def bare_loop(spec: RunSpec, workers: int, threads: int, images: int = TEST_IMAGES) -> dict[str, Any]:
    with ExitStack() as stack:
        spawn = multiprocessing.get_context("spawn")
        pools = [stack.enter_context(ProcessPoolExecutor(1, spawn)) for _ in range(workers)]
        opened = [
            pool.submit(open_learners, spec, range(number, PEERS, workers), threads)
            for number, pool in enumerate(pools)
        ]
        vector, *_ = [future.result() for future in opened]
        accuracy, seconds = [], []
        for number in range(1, spec.rounds + 1):
            began = time.monotonic()
            sums = [pool.submit(train_sum, number, vector) for pool in pools]
            vector = (sum(future.result() for future in sums) / PEERS).astype(np.float32)
            accuracy.append(round(pools[0].submit(evaluate, vector, images).result(), 4))
            seconds.append(time.monotonic() - began)
        costs = [pool.submit(spent).result() for pool in pools]
    return {
        "seconds": statistics.mean(seconds[:-1]),
        "accuracy": accuracy,
        "uss_bytes": sum(memory for memory, _ in costs),
        "cpu_seconds": sum(cpu for _, cpu in costs),
    }


def run_bare(spec: RunSpec) -> dict[str, Any]:
    cores = os.cpu_count() or 1
    ways = [bare_loop(spec, 1, cores), bare_loop(spec, min(cores, PEERS), 1)]
    return min(ways, key=lambda way: float(way["seconds"]))


# -- memory ------------------------------------------------------------------------------------------


def uss(pids: Iterable[int]) -> int:
    """Memory that belongs to these processes alone, bytes."""
    total = 0
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue  # it has ended
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) * 1024
    return total


def with_children(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return [pid]
    return [pid, *(found for child in children for found in with_children(int(child)))]


# -- the peers ---------------------------------------------------------------------------------------


async def everywhere(testbed: Testbed, call: Callable[[Client], Awaitable[Any]]) -> list[Any]:
    answers = await fan_out(testbed.endpoints, call, CALL_SECONDS)
    for failure in answers.bad:
        raise failure.error
    return [answer.value for answer in answers.good]


async def run_on(testbed: Testbed, spec: RunSpec) -> dict[str, Any]:
    """One run on all peers, and what it took."""
    message = run_spec_message(spec)
    pids = [peer.process.pid for peer in testbed.peers if peer.process is not None]
    before = await everywhere(testbed, Client.status)
    await everywhere(testbed, lambda client: client.start_run(message))
    peak = 0
    async with asyncio.timeout(RUN_SECONDS):
        while True:
            runs = await everywhere(testbed, Client.run)
            if all(run.state not in ("starting", "running") for run in runs):
                break
            peak = max(peak, uss([one for pid in pids for one in with_children(pid)]))
            await asyncio.sleep(POLL_SECONDS)
    for run in runs:
        if run.state != "finished":
            raise SystemExit(f"the run {run.state}: {run.error}")
    after = await everywhere(testbed, Client.status)
    results = [list(run.results) for run in runs]
    rounds = range(spec.rounds - 1)
    return {
        "seconds": statistics.mean(result[n].round_seconds for result in results for n in rounds),
        "exchange_seconds": statistics.mean(result[n].exchange_seconds for result in results for n in rounds),
        "accuracy": [
            round(statistics.mean(result[n].accuracy for result in results), 3) for n in range(spec.rounds)
        ],
        "gave_up": sum(r.gave_up for result in results for r in result),
        "uss_bytes": peak,
        "bytes_on_links": (traffic(after) - traffic(before)) // spec.rounds,
        "cpu_seconds": cpu(before, after),
    }


def traffic(statuses: Iterable[Any]) -> int:
    return sum(status.traffic.bytes_sent for status in statuses)


def cpu(before: Iterable[Any], after: Iterable[Any]) -> float:
    """Of the daemons, and of the run's trainers."""
    began = sum(status.cpu_seconds for status in before)
    return float(sum(status.cpu_seconds + status.trainer.cpu_seconds for status in after) - began)


async def mix(testbed: Testbed, **changes: Any) -> None:
    request = mixing_pb2.UpdateMixingRequest(**changes)
    await everywhere(testbed, lambda client: client.update_mixing(request))


async def measure(options: argparse.Namespace, folder: Path) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    testbed = await bring_up(folder, Plan.make(PEERS, **MIXING), 120.0, lambda *_: None)

    async def peers(name: str, **changes: Any) -> None:
        spec = reference(options.mnist, **({"rounds": options.rounds} | changes))
        found.setdefault(name, []).append(await testbed.while_alive(run_on(testbed, spec)))
        print(name, json.dumps(found[name][-1]), file=sys.stderr)

    try:
        for _ in range(options.repeats):
            found.setdefault("bare", []).append(
                await asyncio.to_thread(run_bare, reference(options.mnist, options.rounds))
            )
            print("bare", json.dumps(found["bare"][-1]), file=sys.stderr)
            await peers("mixing", encoding="int8")
            await peers("mixing_burst", encoding="int8", streaming=0.0)
            await peers("mixing_float32")
            await mix(testbed, direct=True)
            await peers("direct", encoding="int8")
            await mix(testbed, direct=False)
        if options.shaped:
            await mix(testbed, send_rate_per_second=SHAPED_RATE)
            long = {"samples_per_round": 6_000, "rounds": 3}
            await peers("shaped", streaming=0.5, **long)
            await peers("shaped_burst", streaming=0.0, **long)
    finally:
        testbed.down()
        testbed.remove()
    return found


def summary(found: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    seconds = {name: statistics.median(run["seconds"] for run in runs) for name, runs in found.items()}
    report: dict[str, Any] = {
        name: {
            **{
                key: round(statistics.median(run[key] for run in runs), 3)
                for key in runs[0]
                if key != "accuracy"
            },
            "accuracy": runs[-1]["accuracy"],
            "ratio_to_bare": round(seconds[name] / seconds["bare"], 2),
        }
        for name, runs in found.items()
    }
    report["streaming_gain"] = round(seconds["mixing_burst"] / seconds["mixing"], 3)
    if "shaped" in seconds:
        report["streaming_gain_shaped"] = round(seconds["shaped_burst"] / seconds["shaped"], 3)
    return report


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mnist", type=Path, default=Path("../shared/data/mnist"), metavar="DIR")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--shaped", action="store_true", help="also with shaped sending, 6,000 images a peer")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="peerd-round-") as folder:
        found = asyncio.run(measure(options, Path(folder) / "testbed"))
    print(json.dumps(summary(found)))


if __name__ == "__main__":
    main()
