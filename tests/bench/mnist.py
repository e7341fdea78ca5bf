"""All 60,000 images of MNIST over the mixnet, beside centralised federated averaging of the same code. One
JSON object, and a picture.

    mixnet        six daemons, three hops, 50 ms mean delay, cover off; every peer trains on all of its part
                  in every round; accuracy of the aggregate, mean over the peers, in the last round on all
                  10,000 test images, before on 1,000
    centralised   the same learners, spec and seed in one process; a plain mean, no network, nothing frozen

    python tests/bench/mnist.py --mnist ../shared/data/mnist --plot mnist.png

Two cores take half an hour; `--partitions`, `--ways` and `--with` (what was printed before) make several
invocations of it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import round as reference  # the bench beside this one

from ctl.client import Client
from ctl.experiment.plot import BLUE, ORANGE, canvas, save
from ctl.testbed import Plan, Testbed, bring_up
from peerd.membership import run_spec_message
from peerd.types import RunSpec

PEERS = 6
POLL_SECONDS = 1.0
WAYS = ("mixnet", "centralised")
PARTITIONS: dict[str, dict[str, Any]] = {
    "IID": {"partition": "iid"},
    "Dirichlet(0.5)": {"partition": "dirichlet", "alpha": 0.5},
}


def make_spec(mnist: Path, rounds: int, **changes: Any) -> RunSpec:
    return RunSpec(
        run_id=secrets.token_hex(16),
        task="mnist-cnn",
        data_dir=str(mnist.resolve()),
        rounds=rounds,
        seed=1,
        batch_size=32,
        local_epochs=2,
        learning_rate=8e-3,
        schedule="cosine",
        test_samples=1_000,
        grace_seconds=60.0,
        round_timeout_seconds=600.0,
        **changes,
    )


async def over_the_mixnet(testbed: Testbed, spec: RunSpec) -> dict[str, Any]:
    message = run_spec_message(spec)
    began = time.monotonic()
    await reference.everywhere(testbed, lambda client: client.start_run(message))
    while True:
        runs = await reference.everywhere(testbed, Client.run)
        if all(run.state not in ("starting", "running") for run in runs):
            break
        await asyncio.sleep(POLL_SECONDS)
    for run in runs:
        if run.state != "finished":
            raise SystemExit(f"the run {run.state}: {run.error}")
    rounds = range(spec.rounds)
    accuracies = [[run.results[number].accuracy for run in runs] for number in rounds]
    return {
        "accuracy": [round(statistics.mean(found), 4) for found in accuracies],
        "samples": sorted(run.results[0].train_samples for run in runs),
        "peers_differ": max(max(found) - min(found) for found in accuracies),
        "gave_up": sum(result.gave_up for run in runs for result in run.results),
        "closed_by": sorted({result.closed_by for run in runs for result in run.results}),
        "seconds": round(time.monotonic() - began, 1),
    }


async def measure(options: argparse.Namespace, found: dict[str, Any]) -> None:
    """Into `found`."""
    specs = {
        name: make_spec(options.mnist, options.rounds, **PARTITIONS[name]) for name in options.partitions
    }
    for name, spec in specs.items():
        if "mixnet" in options.ways:
            found.setdefault(name, {})["mixnet"] = await in_a_testbed(spec)
            print(name, json.dumps(found[name]["mixnet"]), file=sys.stderr)
    for name, spec in specs.items():
        if "centralised" in options.ways:
            alone = await asyncio.to_thread(reference.bare_loop, spec, os.cpu_count() or 1, 1, 0)
            kept = {key: alone[key] for key in ("accuracy", "seconds", "cpu_seconds")}
            found.setdefault(name, {})["centralised"] = kept
            print(name, json.dumps(kept), file=sys.stderr)
    for ways in found.values():
        if len(ways) >= len(WAYS):
            last = [ways[way]["accuracy"][-1] for way in WAYS]
            ways["difference"] = round(last[0] - last[1], 4)


async def in_a_testbed(spec: RunSpec) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="peerd-mnist-") as folder:
        plan = Plan.make(PEERS, **reference.MIXING)
        testbed = await bring_up(Path(folder) / "testbed", plan, 120.0, lambda *_: None)
        try:
            return await testbed.while_alive(over_the_mixnet(testbed, spec))
        finally:
            testbed.down()
            testbed.remove()


def draw(found: dict[str, Any], path: Path) -> None:
    figure = canvas(10.0, 3.8)
    for axis, (name, ways) in zip(figure.subplots(1, len(found), sharey=True), found.items(), strict=True):
        for way, colour, style in (("centralised", ORANGE, "--"), ("mixnet", BLUE, "-")):
            accuracy = ways[way]["accuracy"]
            axis.plot(range(1, len(accuracy) + 1), accuracy, style, color=colour, label=way, marker="o")
        axis.set_title(name)
        axis.set_xlabel("round")
        axis.set_ylim(0.88, 1.0)  # the first round is far below
        axis.grid(color="#e3e5e8", linewidth=0.8)
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(loc="lower right", frameon=False)
    figure.axes[0].set_ylabel("accuracy on test images")
    figure.suptitle("MNIST, six peers, 60,000 images: over the mixnet and without it")
    save(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mnist", type=Path, default=Path("../shared/data/mnist"), metavar="DIR")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--partitions", nargs="+", choices=PARTITIONS, default=list(PARTITIONS))
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--with", dest="before", type=Path, nargs="*", default=[], metavar="FILE",
                        help="What earlier invocations printed; this one adds to it.")  # fmt: skip
    parser.add_argument("--plot", type=Path, metavar="FILE")
    options = parser.parse_args()
    found: dict[str, Any] = {}
    for path in options.before:
        for name, ways in json.loads(path.read_text()).items():
            found.setdefault(name, {}).update(ways)
    asyncio.run(measure(options, found))
    if options.plot:
        draw(found, options.plot)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
