"""Names that every floor shares: identities, kinds of packets, reasons for drops, run specs."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal, NewType, get_args

import msgspec

PEER_ID_BYTES = 16

PeerId = NewType("PeerId", bytes)
"""16 bytes: the head of the SHA-256 of a peer's Ed25519 identity key."""


class PacketKind(StrEnum):
    """What a packet is to the peer that emits it. Known to that peer alone; no cell shows it."""

    FORWARDED = "forwarded"
    OWN = "own"
    ACK = "ack"
    LOOP = "loop"
    DROP = "drop"
    DUMMY = "dummy"
    """Fills a slot of a constant-rate strategy; ends at the next peer."""
    GOSSIP = "gossip"
    """No packet, but a cell like those that carry one: it waits and leaves among them."""


class DropReason(StrEnum):
    """Why a packet, cell, message or fragment was discarded. The label of `peerd_dropped_total`."""

    # link
    BAD_CELL = "bad_cell"
    HANDSHAKE_FAILED = "handshake_failed"
    BAD_CERTIFICATE = "bad_certificate"
    LINK_DOWN = "link_down"
    LINK_QUEUE_FULL = "link_queue_full"
    UNKNOWN_PEER = "unknown_peer"
    REVOKED_PEER = "revoked_peer"
    GOSSIP_FLOOD = "gossip_flood"
    BAD_GOSSIP = "bad_gossip"
    GOSSIP_FULL = "gossip_full"
    UNKNOWN_RECORD = "unknown_record"
    # sphinx
    BAD_SIZE = "bad_size"
    LOW_ORDER = "low_order"
    BAD_MAC = "bad_mac"
    BAD_COMMAND = "bad_command"
    BAD_BODY = "bad_body"
    REPLAY = "replay"
    REPLAY_FILTER_FULL = "replay_filter_full"
    REPLAY_LOG_LOST = "replay_log_lost"
    # relay
    INBOX_FULL = "inbox_full"
    MIX_QUEUE_FULL = "mix_queue_full"
    DELAY_TOO_LONG = "delay_too_long"
    NEXT_HOP_UNKNOWN = "next_hop_unknown"
    NEXT_HOP_SELF = "next_hop_self"
    # delivery
    BAD_MESSAGE = "bad_message"
    DUPLICATE = "duplicate"
    UNKNOWN_SURB = "unknown_surb"
    SEND_QUEUE_FULL = "send_queue_full"
    PEER_DEAD = "peer_dead"
    GAVE_UP = "gave_up"
    CANCELLED = "cancelled"
    # learning
    BAD_PAYLOAD = "bad_payload"
    WRONG_RUN = "wrong_run"
    ROUND_PAST = "round_past"
    ROUND_AHEAD = "round_ahead"
    BAD_FRAGMENT = "bad_fragment"
    NOT_FINITE = "not_finite"
    OVER_COUNT = "over_count"


Positive = Annotated[int, msgspec.Meta(ge=1)]
Fraction = Annotated[float, msgspec.Meta(gt=0.0, le=1.0)]
Seconds = Annotated[float, msgspec.Meta(gt=0.0, le=86_400.0)]

SHIPPED_TASKS = (
    "digits-cnn",
    "mnist-cnn",
    "digits-mlp",
    "fashion-mnist-cnn",
    "cifar10-cnn",
    "synthetic",
)
"""What every host has. Any other task is a host's own code: `module:factory`, or an entry point."""

PartitionName = Literal["iid", "dirichlet", "shards", "quantity", "own"]
ScheduleName = Literal["constant", "cosine", "step"]
EvaluationName = Literal["shared", "holdout"]
StaleRule = Literal["drop", "use"]
DisseminationName = Literal["broadcast", "random-k"]
AggregatorName = Literal["mean", "weighted-by-age", "median", "trimmed-mean", "clipped-mean", "krum"]
EncodingName = Literal["float32", "float16", "bfloat16", "int8", "top-k", "random-mask"]

SPARSE: frozenset[EncodingName] = frozenset({"top-k", "random-mask"})
"""Encodings that send a part of the values; the others count as zero, so they are always of deltas."""
AGEING: frozenset[AggregatorName] = frozenset({"mean", "weighted-by-age"})
"""Aggregators that can give a fragment less weight."""
COMPARING: frozenset[AggregatorName] = frozenset({"median", "trimmed-mean", "krum"})
"""Aggregators that compare fragments value by value, so that all of them must have all values."""
PRIVACY_DELTA = 1e-5
LEAST_NOISE = 1e-3
"""Noise multipliers below it promise nothing, and figures as large as theirs are beyond double precision."""
RunId = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}\Z", description="32 of 0-9 and a-f")]
NoRunId = Annotated[
    str, msgspec.Meta(pattern=r"^([0-9a-f]{32})?\Z", description="32 of 0-9 and a-f, or nothing")
]
NoSha256 = Annotated[
    str, msgspec.Meta(pattern=r"^([0-9a-f]{64})?\Z", description="64 of 0-9 and a-f, or nothing")
]
OptionName = Annotated[
    str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_]{0,62}\Z", description="a name of a-z, 0-9 and '_'")
]
TaskOptions = Annotated[
    dict[
        OptionName,
        Annotated[str, msgspec.Meta(max_length=200)],
    ],
    msgspec.Meta(max_length=16),
]
"""Names and values as text; the task says which there are, and reads them."""


class RunSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that the peers of a run must agree on, except `data_dir`, which is each host's own."""

    run_id: RunId
    """32 hex digits, drawn by the operator."""
    task: Annotated[str, msgspec.Meta(max_length=200)]
    """One of `SHIPPED_TASKS`, `module:factory`, or the name of an entry point. A host trains only those that
    its own configuration allows."""
    data_dir: Annotated[str, msgspec.Meta(max_length=4096)] = ""
    rounds: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 5
    seed: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] = 0
    """Makes the initial weights, the partition and the batches."""
    partition: PartitionName = "iid"
    alpha: Annotated[float, msgspec.Meta(gt=0.0, le=1e6)] = 0.5
    """dirichlet, quantity: small is uneven."""
    samples_per_round: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Drawn anew from the peer's shard each round; 0: the whole shard."""
    test_samples: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Of the shared test set in every round but the last, which uses all; 0: all."""
    batch_size: Annotated[int, msgspec.Meta(ge=1, le=65_536)] = 32
    local_epochs: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 1
    learning_rate: Annotated[float, msgspec.Meta(gt=0.0, le=10.0)] = 1e-3
    quorum: Fraction = 0.5
    """Share of the expected fragments after which the grace period starts, and by which a peer that is
    behind knows in which round the others are. Below one half, two halves could each go on alone."""
    grace_seconds: Seconds = 10.0
    round_timeout_seconds: Seconds = 300.0
    """From the end of the peer's own training; the round then closes with what has arrived."""
    shards: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 0
    """Parts that a shared data set is divided into; 0: as many as there are enrolled peers at the start."""
    stale: StaleRule = "drop"
    """Fragments of rounds that this peer has closed: dropped, or averaged in with less weight."""
    stale_rounds: Annotated[int, msgspec.Meta(ge=1, le=100)] = 1
    """use: how many rounds old at most."""
    task_options: TaskOptions = msgspec.field(default_factory=dict)
    classes_per_peer: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 2
    """shards: slices of the samples sorted by class that a peer gets."""
    schedule: ScheduleName = "constant"
    """Of the learning rate, over the rounds."""
    decay: Fraction = 0.5
    """step: the learning rate is multiplied by this ..."""
    decay_rounds: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 10
    """... every so many rounds."""
    local_batches: Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000)] = 0
    """Of a round, as many on every peer whatever it has; 0: `local_epochs` of them."""
    evaluation: EvaluationName = "shared"
    """On the task's test set, or on a part of the peer's own samples that it does not train on."""
    holdout: Annotated[float, msgspec.Meta(gt=0.0, lt=1.0)] = 0.2
    """holdout: which share of them."""
    aggregator: AggregatorName = "mean"
    """What becomes of the fragments of one index; see `learning.aggregation`."""
    trim: Annotated[float, msgspec.Meta(gt=0.0, lt=0.5)] = 0.2
    """trimmed-mean, krum: the share of false fragments that is reckoned with."""
    clip: Annotated[float, msgspec.Meta(gt=0.0, le=1e6)] = 2.0
    """clipped-mean: how far a fragment may be from the last aggregate, in median distances."""
    encoding: EncodingName = "float32"
    """How values travel; see `learning.encoding`."""
    density: Fraction = 0.3
    """top-k, random-mask: share of the values that is sent, at least; a packet is always filled."""
    delta: bool = False
    """Send what changed since the last aggregate. Sparse encodings always do."""
    dissemination: DisseminationName = "broadcast"
    """Every fragment to every peer, or to `fanout` of them, drawn anew; see `learning.dealing`."""
    fanout: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 4
    """random-k: the k."""
    share: Fraction = 1.0
    """Which part of an update one peer gets at most."""
    patience: Annotated[int, msgspec.Meta(ge=0, le=1_000)] = 0
    """A peer ends after so many rounds without an improvement, by its own measurement; 0: after all rounds.
    As many rounds at most as have their results remembered."""
    min_improvement: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)] = 0.0
    """patience: what counts as one, of accuracy."""
    target_accuracy: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)] = 0.0
    """A peer ends when it measures that much; 0: after all rounds."""
    initial_run: NoRunId = ""
    """The run whose model this one begins with, from each peer's own checkpoints; empty: the task's."""
    initial_round: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 0
    """Of which of its rounds."""
    initial_sha256: NoSha256 = ""
    """Of the vector as little-endian float32, in hex."""
    privacy_clip: Annotated[float, msgspec.Meta(ge=0.0, le=1e6)] = 0.0
    """Bound of the L2 norm of what a peer's training changes in a round; 0: none. See `training.privacy`."""
    noise_multiplier: Annotated[float, msgspec.Meta(ge=0.0, le=1e6)] = 0.0
    """Gaussian noise on that change: its deviation, in units of `privacy_clip`; 0: none."""
    privacy_delta: Annotated[float, msgspec.Meta(ge=1e-30, le=0.5)] = PRIVACY_DELTA
    """The delta for which the epsilon of this run is calculated; see `training.accountant`."""
    streaming: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)] = 0.1
    """Over that last share of a round's batches the model is frozen fragment by fragment, and what is frozen
    is sent while the rest still trains; see `training.freezing`. 0: nothing is frozen."""

    def __post_init__(self) -> None:
        """ValueError, in one line, where fields that are good each by itself make no sense together."""
        if self.encoding in SPARSE and self.aggregator in COMPARING:
            allowed = ", ".join(sorted(set(get_args(AggregatorName)) - COMPARING))
            raise ValueError(
                f"aggregator {self.aggregator} compares fragments value by value, and with encoding "
                f"{self.encoding} each has other values; use one of {allowed}, or a dense encoding"
            )
        if self.stale == "use" and self.aggregator not in AGEING:
            raise ValueError(
                f"aggregator {self.aggregator} gives late fragments no less weight; "
                f"stale = use is for {', '.join(sorted(AGEING))}"
            )
        if self.deltas and (self.share < 1.0 or self.dissemination == "random-k"):
            raise ValueError(
                "with random-k, or a share below 1, every peer averages other fragments and has another "
                "model, so changes (top-k, random-mask, delta) would add up to something else; use a dense "
                "encoding without delta"
            )
        if self.stale == "drop" and self.aggregator == "weighted-by-age":
            raise ValueError("aggregator weighted-by-age needs late fragments: stale = use")
        if self.min_improvement and not self.patience:
            raise ValueError("min_improvement says what patience waits for: give patience, too")
        if len({bool(self.initial_run), bool(self.initial_round), bool(self.initial_sha256)}) > 1:
            raise ValueError("initial_run, initial_round and initial_sha256 belong together: all or none")
        if self.noise_multiplier and not self.privacy_clip:
            raise ValueError(
                "noise_multiplier counts in units of privacy_clip, the bound of an update's norm; "
                "set privacy_clip above 0, too"
            )
        if 0.0 < self.noise_multiplier < LEAST_NOISE:
            raise ValueError(
                f"noise_multiplier {self.noise_multiplier:g} is as good as none; "
                f"use 0 to clip only, or {LEAST_NOISE:g} and more"
            )
        if self.privacy_delta != PRIVACY_DELTA and not self.noise_multiplier:
            raise ValueError("privacy_delta says nothing without noise; set noise_multiplier above 0, too")

    @property
    def noised(self) -> bool:
        """Whether there is an epsilon to speak of."""
        return self.noise_multiplier > 0.0

    @property
    def deltas(self) -> bool:
        """Whether fragments are of changes, not of models."""
        return self.delta or self.encoding in SPARSE

    @property
    def id_bytes(self) -> bytes:
        """The run id, as descriptors carry it."""
        return bytes.fromhex(self.run_id)

    @property
    def wire_id(self) -> int:
        """The run id's first 8 bytes, as fragments carry it."""
        return int(self.run_id[:16], 16)
