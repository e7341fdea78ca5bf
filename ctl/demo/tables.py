"""The end of a demo for people: accuracy per round, and what the mixnet did."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType

from ctl.board import cover_of, rounds_table
from ctl.render import details, fitting
from ctl.text import count, number_of, seconds, size
from peerd.pb import runs_pb2

PEER_COLUMNS = ("Peer", "Accuracy#", "Own#", "Forwarded#", "Acks#", "Cover#", "CPU#",
                "Memory#", "Trainer CPU#", "Trainer mem.#")  # fmt: skip
PEER_SPARE = ("Trainer CPU#", "Acks#", "Trainer mem.#", "CPU#", "Memory#")


def final(summary: dict[str, Any], runs: list[runs_pb2.RunStatus]) -> RenderableType:
    parts: list[RenderableType] = [
        "",
        rounds_table(runs, "Accuracy per round, over the peers"),
        "",
        details(_mixnet(summary), "What the mixnet did"),
        "",
        fitting(PEER_COLUMNS, map(_peer, summary["peers_detail"]), PEER_SPARE, "Peers"),
        *(f"Note: {note}." for note in summary["notes"]),
    ]
    return Group(*parts)


def _mixnet(summary: dict[str, Any]) -> list[tuple[str, str]]:
    packets, model = summary["packets"], summary["model"]
    dropped = ", ".join(f"{reason} {count(n)}" for reason, n in packets["dropped"].items())
    agreement, trips = summary["model_agreement"], summary["rtt_seconds"]
    difference = agreement["max_difference"]
    same = (
        "bit for bit the same"
        if agreement["identical"]
        else "not a number"
        if difference is None
        else f"differ by {difference:.2g} at most"
    )
    split = ", ".join(f"{name} {seconds(value)}" for name, value in summary["seconds"].items())
    return [
        ("paths", f"{number_of(summary['hops'], 'mix node')} each way, strategy {summary['strategy']}"),
        (
            "model",
            f"{count(model['parameters'])} floats, {size(model['bytes'])}, "
            f"{model['fragments']} fragments to each peer",
        ),
        ("own packets", f"{count(packets['sent'])}, of them {count(packets['resent'])} resent"),
        ("acknowledgements", count(packets["acks"])),
        ("forwarded", count(packets["forwarded"])),
        ("cover", count(packets["cover"])),
        ("given up", count(packets["gave_up"])),
        ("dropped", dropped or "nothing"),
        ("round trip", f"{seconds(trips['p50'])} median, {seconds(trips['p95'])} at 95 %"),
        ("on the links", size(summary["bytes_on_links"])),
        (
            "exchange of a round",
            f"{seconds(summary['exchange_seconds']['mean'])} mean, "
            f"{seconds(summary['exchange_seconds']['max'])} at most",
        ),
        ("the peers' models", same),
        ("wall time", f"{seconds(summary['wall_seconds'])}: {split}"),
    ]


def _peer(peer: dict[str, Any]) -> tuple[object, ...]:
    packets, cpu, memory = peer["packets"], peer["cpu_seconds"], peer["rss_bytes"]
    return (
        peer["name"],
        "" if peer["accuracy"] is None else f"{peer['accuracy']:.4f}",
        count(packets.get("own", 0)),
        count(packets.get("forwarded", 0)),
        count(packets.get("ack", 0)),
        count(cover_of(packets)),
        seconds(cpu["daemon"]),
        size(memory["daemon"]),
        seconds(cpu["trainer"]),
        size(memory["trainer"]),
    )
