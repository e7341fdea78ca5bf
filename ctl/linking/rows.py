"""What is compared, by names that say it all.

share1                 every fragment to everybody; share0.25: a quarter of every update to each
random4                every fragment to four peers drawn anew
int8, top-k, delta     an encoding, or changes; several together: share0.25+int8
iid, shards, own       a partition; dirichlet0.1, quantity0.5: with its alpha
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

from ctl.defaults import make_spec
from peerd.errors import InvalidInputError
from peerd.types import EncodingName, PartitionName, RunSpec

FULL = ("share1", "share0.5", "share0.25", "random4", "int8", "share0.25+int8", "top-k")
QUICK = ("share1", "share0.25")
PARTITIONS = ("iid", "dirichlet0.5", "dirichlet0.1")
QUICK_PARTITIONS = ("iid", "dirichlet0.1")
LOCAL_TEST = 50
"""Samples that a peer's own update is measured on; nobody looks at it here."""


@dataclass(frozen=True)
class Frame:
    """What all rows share."""

    task: str
    data_dir: str
    peers: int
    rounds: int
    seeds: int
    seed: int
    """The first."""
    body_bytes: int
    shadows: int
    """Peers that the attacker trains himself."""


@dataclass(frozen=True)
class Row:
    partition: str
    sent: str
    changes: dict[str, Any]
    """Of the spec."""

    def spec(self, frame: Frame, seed: int) -> RunSpec:
        """InvalidInputError for what makes no sense together."""
        return make_spec(
            frame.task, run_id=32 * "0", data_dir=frame.data_dir, rounds=frame.rounds, seed=seed,
            test_samples=LOCAL_TEST, **self.changes,
        )  # fmt: skip


def make_rows(partitions: Sequence[str], sent: Sequence[str], frame: Frame) -> list[Row]:
    """Every way of sending with every partition; each is tried out as a spec."""
    rows = [Row(p, s, _partition(p) | _sending(s)) for p in partitions for s in sent]
    for row in rows:
        row.spec(frame, frame.seed)
    return rows


def _partition(name: str) -> dict[str, Any]:
    for kind in get_args(PartitionName):
        rest = name.removeprefix(kind)
        if name.startswith(kind) and kind in ("dirichlet", "quantity") and rest:
            return {"partition": kind, "alpha": _number(name, rest)}
        if name == kind:
            return {"partition": kind}
    raise InvalidInputError(
        f"--partitions: {name!r} begins with none of: {', '.join(get_args(PartitionName))}; "
        "as in iid, shards, dirichlet0.1"
    )


def _sending(name: str) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    for part in name.split("+"):
        if part in get_args(EncodingName):
            changes["encoding"] = part
        elif part == "delta":
            changes["delta"] = True
        elif part.startswith("share"):
            changes["share"] = _number(name, part.removeprefix("share"))
        elif part.startswith("random") and part.removeprefix("random").isdecimal():
            changes |= {"dissemination": "random-k", "fanout": int(part.removeprefix("random"))}
        else:
            raise InvalidInputError(
                f"--sent: {name!r}: {part!r} is none of shareN, randomK, delta, "
                f"{', '.join(get_args(EncodingName))}; as in share1, random4, share0.25+int8"
            )
    return changes


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InvalidInputError(f"{name!r}: {text!r} is no number; as in share0.25, dirichlet0.1") from None


def split_names(option: str, text: str) -> tuple[str, ...]:
    """Of a comma-separated list, each once. InvalidInputError for an empty one."""
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not names:
        raise InvalidInputError(f"{option}: at least one name")
    return names
