"""Options of `peerctl run start` and `resume`: what a run's spec says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from ctl import complete
from ctl.choices import (
    AGGREGATOR,
    DISSEMINATION,
    ENCODING,
    EVALUATION,
    PARTITION,
    SCHEDULE,
    STALE,
    named_values,
)
from ctl.text import Duration

Option = Callable[[Any], Any]

JOIN_WINDOW = click.option(
    "--join-window",
    type=Duration(),
    default=15.0,
    help="Announced: who hears of it so soon begins with round 1.  [default: 15s]",
)

_EARLY_END = (
    click.option(
        "--patience",
        type=int,
        help="End after so many rounds without an improvement; 0: after the last round.",
    ),
    click.option("--min-improvement", type=float, help="--patience: what counts as one.  [default: any]"),
    click.option(
        "--target-accuracy", type=float, help="End when that is measured; 0: never before the last round."
    ),
)

_TRAINING = (
    click.option(
        "--task",
        default="digits-cnn",
        show_default=True,
        shell_complete=complete.task,
        help="See `peerctl task list`.",
    ),
    click.option(
        "--task-option",
        "-O",
        "task_options",
        multiple=True,
        metavar="NAME=VALUE",
        callback=named_values,
        help="Of the task; `peerctl task show TASK` lists them.",
    ),
    click.option("--data-dir", help="Where each peer finds the task's files, if it needs any."),
    click.option("--rounds", type=int, help="How many."),
    click.option("--seed", type=int, help="Of the initial weights, the partition and the batches."),
    click.option("--partition", type=PARTITION, help="How samples are divided, see below.  [default: iid]"),
    click.option("--alpha", type=float, help="dirichlet, quantity: small is uneven.  [default: 0.5]"),
    click.option("--classes-per-peer", type=int, help="shards: slices by class for each peer.  [default: 2]"),
    click.option("--samples", "samples_per_round", type=int, help="Of a peer's shard in a round; 0: all."),
    click.option("--test-samples", type=int, help="In every round but the last; 0: all."),
    click.option(
        "--evaluation",
        type=EVALUATION,
        help="On the task's test set or on some of the own samples.  [default: shared]",
    ),
    click.option("--holdout", type=float, help="holdout: which part, not trained on.  [default: 0.2]"),
    click.option("--batch-size", type=int, help="Samples of a step of training."),
    click.option("--epochs", "local_epochs", type=int, help="Local epochs a round."),
    click.option("--local-batches", type=int, help="Steps of a round, whatever a peer has; 0: by --epochs."),
    click.option("--learning-rate", type=float, help="In the first round."),
    click.option("--schedule", type=SCHEDULE, help="Of the rate, see below.  [default: constant]"),
    click.option("--decay", type=float, help="step: the factor.  [default: 0.5]"),
    click.option("--decay-rounds", type=int, help="step: every so many rounds.  [default: 10]"),
    click.option(
        "--quorum", type=float, help="Share of the fragments after which grace starts.  [default: 0.5]"
    ),
    click.option("--grace", "grace_seconds", type=Duration(), help="Time for the rest after the quorum."),
    click.option(
        "--round-timeout",
        "round_timeout_seconds",
        type=Duration(),
        help="A round closes then with what has come.",
    ),
    click.option(
        "--shards", type=int, help="Parts of a shared data set.  [default: one for each enrolled peer]"
    ),
    click.option("--stale", type=STALE, help="Fragments of rounds that a peer has closed.  [default: drop]"),
    click.option("--stale-rounds", type=int, help="With --stale use: how many rounds old at most."),
    click.option(
        "--aggregator",
        type=AGGREGATOR,
        help="Of the fragments of one index. mean and weighted-by-age (with --stale use) trust all; the "
        "others withstand false ones and keep a round's fragments in memory.  [default: mean]",
    ),
    click.option(
        "--trim",
        type=float,
        help="trimmed-mean, krum: share of false fragments to reckon with.  [default: 0.2]",
    ),
    click.option(
        "--clip",
        type=float,
        help="clipped-mean: how far a fragment may move the model, in median moves.  [default: 2]",
    ),
    click.option(
        "--encoding",
        type=ENCODING,
        help="How values travel: float16 and bfloat16 take half the packets, int8 a quarter, top-k and "
        "random-mask less than a tenth.  [default: float32]",
    ),
    click.option(
        "--density",
        type=float,
        help="top-k, random-mask: share of the values that is sent, at least.  [default: 0.3]",
    ),
    click.option(
        "--delta",
        is_flag=True,
        default=None,
        help="Send what changed since the last aggregate; top-k and random-mask always do.",
    ),
    click.option(
        "--dissemination",
        type=DISSEMINATION,
        help="Every fragment to every peer, or to --fanout of them.  [default: broadcast]",
    ),
    click.option("--fanout", type=int, help="random-k: to how many peers, drawn anew.  [default: 4]"),
    click.option(
        "--share",
        type=float,
        help="Most of an update that one peer gets, drawn anew: against linking by content.  [default: 1]",
    ),
    click.option(
        "--streaming",
        type=float,
        help="Freeze the model bit by bit over that last share of a round's batches, and send what is frozen "
        "meanwhile; 0: train all of it to the end.  [default: 0.1]",
    ),
    click.option(
        "--privacy-clip", type=float, help="Bound of the norm of what a peer's training changes; 0: none."
    ),
    click.option(
        "--noise-multiplier",
        type=float,
        help="With --privacy-clip: noise on every update, in units of it. `run privacy` says what it costs.",
    ),
    click.option("--privacy-delta", type=float, help="At which epsilon is calculated.  [default: 1e-05]"),
)


def training_options(command: Any) -> Any:
    """What is trained, how, and how updates travel."""
    return _with(_TRAINING, command)


def early_end_options(command: Any) -> Any:
    """When a run ends before its last round."""
    return _with(_EARLY_END, command)


def _with(options: Sequence[Option], command: Any) -> Any:
    """In the order in which `--help` lists them."""
    for option in reversed(options):
        command = option(command)
    return command
