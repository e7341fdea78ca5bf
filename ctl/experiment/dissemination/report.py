"""The result: one JSON object, a table for people, a CSV file, a picture."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.console import Group, RenderableType

from ctl import render
from ctl.experiment.dissemination.run import Cost, Setting, Size
from ctl.experiment.plot import BLUE, GREY, ORANGE, canvas, save
from ctl.text import number_of, seconds, size
from peerd.errors import PeerdError

TOLERANCE = 0.10
"""What is within so much of its mean is called flat."""
DIGITS = 4
COLUMNS = ("Peers#", "Way", "A peer and round#", "Reckoned#", "Own#", "Acks#", "Forwarded#", "Resent#",
           "Exchange#", "Accuracy#", "Closed by")  # fmt: skip
SPARE = ("Acks#", "Forwarded#", "Resent#", "Accuracy#", "Own#")
UPKEEP = ("Peers#", "Idle, a peer and second#", "Memory, daemons#", "trainers#", "Took#")
COLOURS = {"random-k": BLUE, "broadcast": ORANGE}


def whole(found: Sequence[Size], setting: Setting, cell_bytes: int, files: Sequence[str]) -> dict[str, Any]:
    """The JSON object; keys as documented in `peerctl experiment dissemination --help`."""
    sizes = [_size(one, setting, cell_bytes) for one in found]
    flat = spread([one["random-k"]["bytes_per_peer_round"] for one in sizes])
    return {
        "fanout": setting.fanout,
        "rounds": setting.rounds,
        "hops": setting.hops,
        "parameters": setting.parameters,
        "seed": setting.seed,
        "cell_bytes": cell_bytes,
        "sizes": sizes,
        "spread": rounded(flat),
        "flat": flat <= TOLERANCE,
        "growth_broadcast": rounded(growth(sizes, "broadcast")),
        "growth_random_k": rounded(growth(sizes, "random-k")),
        "files": list(files),
        "notes": notes(),
    }


def spread(values: Sequence[float]) -> float:
    """The largest distance from their mean, as a share of it."""
    mean = fmean(values)
    return max(abs(value - mean) for value in values) / mean if mean else 0.0


def growth(sizes: Sequence[Mapping[str, Any]], way: str) -> float:
    """Of the cost in the largest network, in costs in the smallest one."""
    first, last = (sizes[at][way]["bytes_per_peer_round"] for at in (0, -1))
    return float(last / first) if first else 0.0


def _size(one: Size, setting: Setting, cell_bytes: int) -> dict[str, Any]:
    costs = {way: _cost(cost, one.peers, way, setting, cell_bytes) for way, cost in one.costs.items()}
    return {
        "peers": one.peers,
        **costs,
        "idle_bytes_per_peer_second": rounded(one.idle_bytes_per_second),
        "memory_uss_bytes": one.memory.as_json(),
        "seconds": rounded(one.seconds),
    }


def _cost(cost: Cost, peers: int, way: str, setting: Setting, cell_bytes: int) -> dict[str, Any]:
    parts = peers * setting.rounds
    copies = setting.fanout if way == "random-k" else peers - 1
    cells_a_message = 2 * (setting.hops + 1)
    return {
        "bytes_per_peer_round": rounded(cost.sent.of_the_run * cell_bytes / parts),
        "reckoned_bytes_per_peer_round": copies * cost.fragments * cells_a_message * cell_bytes,
        "packets_per_peer_round": {
            kind: rounded(cost.sent.packets.get(kind, 0) / parts) for kind in ("own", "ack", "forwarded")
        },
        "all_bytes_per_peer": rounded(cost.sent.bytes_sent / peers),
        "fragments": cost.fragments,
        "resent": cost.sent.resent,
        "gave_up": cost.sent.gave_up,
        "exchange_seconds": rounded(cost.exchange_seconds),
        "accuracy": rounded(cost.accuracy),
        "closed_by": cost.closed_by,
    }


def rounded(value: float) -> float:
    return round(value, DIGITS)


def notes() -> list[str]:
    """What a reader of the figures should know, in sentences."""
    return [
        "bytes are those of own packets, acknowledgements and what is passed on of both, on all links of a "
        "peer, by the daemons' counters, without cover; reckoned is fanout x fragments x 2 (hops + 1) cells: "
        "what is more was sent again",
        "what daemons send when idle is not in it: pings on every link, and gossip. That grows with the "
        "network, since each peer has a link to each other",
        "memory is the most at any look that would be free if the processes ended (USS), over all of them",
    ]


def shown(result: Mapping[str, Any]) -> RenderableType:
    """For people."""
    verdict = "flat" if result["flat"] else "NOT flat"
    title = (
        f"What a peer sends in a round: {number_of(result['hops'], 'hop')}, fanout {result['fanout']}, "
        f"{result['parameters']:,} parameters"
    )
    parts: list[RenderableType] = [
        "",
        render.fitting(COLUMNS, _rows(result["sizes"]), SPARE, title),
        "",
        render.table(UPKEEP, map(_upkeep, result["sizes"])),
        f"random-k is {verdict}: within {result['spread']:.1%} of its mean; from the smallest network to the "
        f"largest it costs x {result['growth_random_k']:.2f}, broadcast x {result['growth_broadcast']:.2f}.",
    ]
    parts += [f"Note: {note}." for note in result["notes"]]
    parts += [f"Wrote {file}" for file in result["files"]]
    return Group(*parts)


def _ways(sizes: Sequence[Mapping[str, Any]]) -> Iterator[tuple[int, str, Mapping[str, Any]]]:
    for one in sizes:
        for way in COLOURS:
            yield one["peers"], way, one[way]


def _rows(sizes: Sequence[Mapping[str, Any]]) -> Iterator[tuple[object, ...]]:
    for peers, way, cost in _ways(sizes):
        packets = cost["packets_per_peer_round"]
        yield (
            peers,
            way,
            size(cost["bytes_per_peer_round"]),
            size(cost["reckoned_bytes_per_peer_round"]),
            *(f"{packets[kind]:.1f}" for kind in ("own", "ack", "forwarded")),
            cost["resent"],
            seconds(cost["exchange_seconds"]),
            f"{cost['accuracy']:.4f}",
            ", ".join(f"{how} {count}" for how, count in cost["closed_by"].items()),
        )


def _upkeep(one: Mapping[str, Any]) -> tuple[object, ...]:
    memory = one["memory_uss_bytes"]
    return (
        one["peers"],
        size(one["idle_bytes_per_peer_second"]),
        size(memory["daemons"]),
        size(memory["trainers"]),
        seconds(one["seconds"]),
    )


def as_csv(result: Mapping[str, Any]) -> str:
    """One line for each network and way."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("peers", "way", "bytes_per_peer_round", "own", "ack", "forwarded", "resent"))
    for peers, way, cost in _ways(result["sizes"]):
        packets = cost["packets_per_peer_round"]
        writer.writerow(
            (peers, way, cost["bytes_per_peer_round"], packets["own"], packets["ack"], packets["forwarded"],
             cost["resent"])
        )  # fmt: skip
    return text.getvalue()


def write(result: Mapping[str, Any], plot: Path) -> list[str]:
    """The picture, and the CSV file beside it; their names. PeerdError where they cannot be written."""
    draw(result, plot)
    table = plot.with_suffix(".csv")
    try:
        table.write_text(as_csv(result), encoding="utf-8")
    except OSError as error:
        raise PeerdError(f"{table}: cannot be written: {error.strerror}") from None
    return [str(plot), str(table)]


def draw(result: Mapping[str, Any], path: Path) -> None:
    """One PNG: the cost of a peer and round over the number of peers. PeerdError where it cannot be
    written."""
    figure = canvas(7.0, 4.6)
    axis = figure.subplots()
    peers = [one["peers"] for one in result["sizes"]]
    for way, colour in COLOURS.items():
        costs = [one[way]["bytes_per_peer_round"] / 2**20 for one in result["sizes"]]
        reckoned = [one[way]["reckoned_bytes_per_peer_round"] / 2**20 for one in result["sizes"]]
        axis.plot(peers, costs, color=colour, marker="o", label=way)
        axis.plot(peers, reckoned, color=GREY, linestyle=":", linewidth=1.1)
    axis.set_xticks(peers)
    axis.set_xlabel("peers")
    axis.set_ylabel("MiB on links, a peer and round")
    axis.set_ylim(bottom=0.0)
    axis.grid(color="#e3e5e8", linewidth=0.8)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False)
    figure.suptitle(
        f"What a peer sends: every fragment to all, or to {result['fanout']} (dotted: reckoned)", fontsize=11
    )
    save(figure, path)
