"""A large model through six real peers: seconds, memory of daemons and trainers, where the time goes. One
JSON object.

    --parameters       floats of the `synthetic` model (25 million: 95 MiB)
    seconds            of a round: training, exchange, all of it; mean over the peers
    daemon_peak_bytes  largest resident size that any daemon ever had (VmHWM), and in models: without what it
                       had before the run
    trainer_peak_bytes the same of trainers, the memory that they share with their daemon included
    messages_per_second  own fragments delivered and acknowledged, all peers together
    cpu_seconds        of daemons and trainers, all peers together, by where: relaying and delivery (daemons),
                       training (trainers)

    python tests/bench/large.py                        float32 to everybody: minutes
    python tests/bench/large.py --body 32768           larger packets, a quarter of them
    python tests/bench/large.py --encoding int8        a quarter of the packets
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import round as reference  # the bench beside this one
from msgspec import structs

from ctl.client import Client
from ctl.testbed import Plan, Testbed, bring_up
from peerd.membership import run_spec_message
from peerd.types import RunSpec

POLL_SECONDS = 0.5
FLOAT_BYTES = 4


def peak(pid: int) -> int:
    """VmHWM, bytes; 0 when it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


async def run_on(testbed: Testbed, spec: RunSpec, limit: float) -> dict[str, Any]:
    message = run_spec_message(spec)
    daemons = [peer.running.pid for peer in testbed.peers]
    before, resting = await reference.everywhere(testbed, Client.status), [peak(pid) for pid in daemons]
    await reference.everywhere(testbed, lambda client: client.start_run(message))
    trainers: dict[int, int] = {}
    async with asyncio.timeout(limit):
        while True:
            runs = await reference.everywhere(testbed, Client.run)
            if all(run.state not in ("starting", "running") for run in runs):
                break
            for pid in daemons:
                for child in reference.with_children(pid)[1:]:
                    trainers[child] = max(trainers.get(child, 0), peak(child))
            await asyncio.sleep(POLL_SECONDS)
    for run in runs:
        if run.state != "finished":
            raise SystemExit(f"the run {run.state}: {run.error}")
    after = await reference.everywhere(testbed, Client.status)
    results = [result for run in runs for result in run.results]
    peaks, model = [peak(pid) for pid in daemons], spec_bytes(runs)
    exchange = statistics.mean(result.exchange_seconds for result in results)
    acked = sum(b.traffic.acked - a.traffic.acked for a, b in zip(before, after, strict=True))
    return {
        "parameters": runs[0].parameters,
        "model_bytes": model,
        "fragments": runs[0].fragments,
        "rounds": spec.rounds,
        "seconds": {
            "training": round(statistics.mean(result.train_seconds for result in results), 2),
            "exchange": round(exchange, 2),
            "round": round(statistics.mean(result.round_seconds for result in results), 2),
        },
        "closed_by": sorted({result.closed_by for result in results}),
        "gave_up": sum(result.gave_up for result in results),
        "accuracy": round(statistics.mean(run.results[-1].accuracy for run in runs), 4),
        "models_agree": len({run.model_digest for run in runs}) == 1,
        "daemon_resting_bytes": max(resting),
        "daemon_peak_bytes": max(peaks),
        "daemon_peak_models": round(max(p - r for p, r in zip(peaks, resting, strict=True)) / model, 2),
        "trainer_peak_bytes": max(trainers.values(), default=0),
        "bytes_on_links": reference.traffic(after) - reference.traffic(before),
        "messages": acked,
        "messages_per_second": round(acked / (exchange * spec.rounds)),
        "cpu_seconds": {
            "daemons": round(sum(s.cpu_seconds for s in after) - sum(s.cpu_seconds for s in before), 1),
            "trainers": round(sum(status.trainer.cpu_seconds for status in after), 1),
        },
    }


def spec_bytes(runs: list[Any]) -> int:
    return int(runs[0].parameters) * FLOAT_BYTES


async def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    spec = RunSpec(
        run_id=secrets.token_hex(16),
        task="synthetic",
        task_options={"parameters": str(options.parameters)},
        rounds=options.rounds,
        encoding=options.encoding,
        delta=options.encoding == "int8",
        round_timeout_seconds=options.limit,
        grace_seconds=options.limit,
    )
    plan = Plan.make(options.peers, **(reference.MIXING | {"hops": options.hops}))
    plan = replace(plan, network=structs.replace(plan.network, body_bytes=options.body))
    testbed = await bring_up(folder, plan, 120.0, lambda *_: None)
    try:
        return await testbed.while_alive(run_on(testbed, spec, options.limit * options.rounds))
    finally:
        testbed.down()
        testbed.remove()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parameters", type=int, default=25_000_000)
    parser.add_argument("--peers", type=int, default=6)
    parser.add_argument("--hops", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--body", type=int, default=8_192, help="bytes of a packet's body")
    parser.add_argument("--encoding", default="float32")
    parser.add_argument("--limit", type=float, default=1_800.0, help="seconds for a round")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="peerd-large-") as folder:
        print(json.dumps(asyncio.run(measure(options, Path(folder) / "testbed"))))


if __name__ == "__main__":
    main()
