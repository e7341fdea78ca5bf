"""The daemon's configuration: frozen slices, one for each part that is handed its own.

Read from a TOML file; every problem is one line that names the file, the key and what is allowed.
A change at runtime makes a new slice (`msgspec.structs.replace`), never mutates one.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from peerd.errors import InvalidInputError, NotFoundError
from peerd.presets import preset_fields
from peerd.reading import read_text
from peerd.types import SHIPPED_TASKS, Fraction, Seconds
from peerd.wording import explained

StrategyName = Literal["exponential", "outbox", "threshold", "timed", "pool", "none"]
MetricsDetail = Literal["coarse", "full"]
Rate = Annotated[float, Meta(ge=0.0, le=10_000.0)]
TaskName = Annotated[str, Meta(min_length=1, max_length=200)]
Delay = Annotated[float, Meta(ge=0.0, le=3_600.0)]
HostName = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9._-]{1,253}\Z",
        description="text of letters, digits, '.', '_' and '-', as host names are",
    ),
]
AbsolutePath = Annotated[
    str, Meta(pattern=r"^(/.*)?\Z", max_length=4096, description="an absolute path, or nothing")
]

MAX_BYTES = 1 << 20
"""Of a config file."""


class _Slice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all slices: immutable, and a misspelt key is an error."""


class NetworkConfig(_Slice, frozen=True, kw_only=True):
    """What all peers of a network share; signed by its authority and part of every bundle."""

    name: Annotated[
        str,
        Meta(
            pattern=r"^[a-z0-9][a-z0-9-]{0,62}\Z",
            description="up to 63 of a-z, 0-9 and '-', not beginning with '-'",
        ),
    ]
    max_hops: Annotated[int, Meta(ge=1, le=16)] = 5
    """Most intermediate mix nodes that a header has room for."""
    body_bytes: Annotated[int, Meta(ge=512, le=65_536)] = 8192
    """Sphinx body (delta) of every packet."""
    epoch_seconds: Annotated[float, Meta(ge=1.0, le=2_592_000.0)] = 3600.0
    """Every peer's mix key is good for one epoch; epochs are counted from the Unix epoch."""
    epoch_grace_seconds: Annotated[float, Meta(ge=0.5, le=2_592_000.0)] = 300.0
    """A mix key is accepted so long before its epoch (clocks differ) and after it (packets in flight)."""

    def __post_init__(self) -> None:
        if self.epoch_grace_seconds > self.epoch_seconds:
            raise ValueError("epoch_grace_seconds is at most epoch_seconds")


class MixingConfig(_Slice, frozen=True, kw_only=True):
    strategy: StrategyName = "exponential"
    hops: Annotated[int, Meta(ge=1, le=16)] = 3
    """Intermediate mix nodes of every own path: distinct, never the sender or the recipient."""
    direct: bool = False
    """For experiments: own messages go straight to their recipients. No hops, no cover, NO ANONYMITY."""
    mean_delay_seconds: Delay = 0.05
    """exponential: mean of each hop's delay, drawn by the sender."""
    max_delay_seconds: Delay = 10.0
    """A header that asks this mix node for a longer delay is refused."""
    send_rate_per_second: Rate = 0.0
    """Sender shaping: own messages leave at Poisson times at this rate, and drop cover where there is
    none, so that sending looks the same whether a round is on or not. 0: off, own messages leave at once."""
    loop_rate_per_second: Rate = 0.5
    """Loop cover to oneself, Poisson."""
    drop_rate_per_second: Rate = 0.5
    """Drop cover to random peers, Poisson; answered by a SURB like any message."""
    cover_budget_bytes_per_second: Annotated[float, Meta(ge=0.0, le=1e12)] = 0.0
    """Most bytes of own cover, on the way to its first hop; 0: no limit. Above it the three rates are
    lowered together, whether there is traffic or not: cover that gave way to traffic would tell of it.
    Not under it: the dummies of `outbox` and `threshold`, whose number the strategy's own parameters give."""
    loop_alarm_loss: Fraction = 0.5
    """Share of the latest loops that must be lost for the blending-attack alarm."""
    threshold_size: Annotated[int, Meta(ge=2, le=256)] = 8
    """threshold: packets of a batch. A batch out of patience is filled up within one turn of the event loop,
    a dummy takes some 170 us to wrap, and links and control calls wait meanwhile: 43 ms for the largest."""
    threshold_patience_seconds: Annotated[float, Meta(ge=0.0, le=3_600.0)] = 1.0
    """threshold: a batch that is not full so long after its first packet is filled up with dummies.
    0: it waits for ever."""
    timed_interval_seconds: Annotated[float, Meta(ge=0.001, le=3_600.0)] = 0.1
    """timed: all that came is sent so often."""
    pool_interval_seconds: Annotated[float, Meta(ge=0.001, le=3_600.0)] = 0.1
    """pool: a part of the pool is sent so often."""
    pool_minimum: Annotated[int, Meta(ge=0, le=10_000)] = 4
    """pool: packets that always stay."""
    pool_rate: Fraction = 0.6
    """pool: largest share of the pool that is sent at a time."""
    outbox_size: Annotated[int, Meta(ge=2, le=10_000)] = 16
    """outbox: packets in the box, filled up with dummies."""
    outbox_interval_seconds: Annotated[float, Meta(ge=0.001, le=60.0)] = 0.002
    """outbox: mean of the truncated normal between two departures."""
    outbox_jitter_seconds: Annotated[float, Meta(ge=0.0, le=60.0)] = 0.001
    """outbox: standard deviation of the same."""
    queue_limit: Annotated[int, Meta(ge=16, le=1_000_000)] = 8192
    """Packets that the strategy may hold; more are dropped and counted."""

    @property
    def path_hops(self) -> int:
        """Mix nodes of own paths: none in direct mode."""
        return 0 if self.direct else self.hops

    @property
    def sender_delay_seconds(self) -> float:
        """Mean of the delays that a sender draws for each hop. Also where its own strategy is another one:
        other mix nodes may be stop-and-go mixes, and a packet that asks for no delay is not mixed there."""
        return 0.0 if self.direct else self.mean_delay_seconds

    @property
    def delays_kept(self) -> bool:
        """Whether mix nodes that mix as this peer does keep a packet for the time that its sender drew."""
        return self.strategy == "exponential" and not self.direct


class DeliveryConfig(_Slice, frozen=True, kw_only=True):
    max_in_flight: Annotated[int, Meta(ge=1, le=100_000)] = 128
    """Most messages that wait for an acknowledgement at a time; fewer when the mixnet queues."""
    queue_limit: Annotated[int, Meta(ge=1, le=10_000_000)] = 200_000
    """Messages that wait to be sent."""
    max_attempts: Annotated[int, Meta(ge=1, le=100)] = 10
    initial_timeout_seconds: Seconds = 3.0
    """Retransmission timeout before a round trip was measured, beyond the path's known delays."""
    min_timeout_seconds: Seconds = 1.0
    """RFC 6298, 2.4. Below it, the burst after training alone would cause spurious resends."""
    max_timeout_seconds: Seconds = 30.0
    dedup_limit: Annotated[int, Meta(ge=1024, le=10_000_000)] = 200_000
    """Message ids that the recipient remembers."""


class LinkConfig(_Slice, frozen=True, kw_only=True):
    listen: Annotated[str, Meta(min_length=3)] = "127.0.0.1:9101"
    """host:port of the link listener; port 0 takes a free one."""
    queue_cells: Annotated[int, Meta(ge=1, le=1_000_000)] = 1024
    """Cells that wait on one outbound link; more are dropped and counted."""
    keepalive_seconds: Seconds = 1.0
    dead_after_seconds: Seconds = 4.0
    """A link that has not answered for so long is closed."""
    connect_timeout_seconds: Seconds = 5.0
    backoff_min_seconds: Seconds = 0.1
    backoff_max_seconds: Seconds = 10.0


class RelayConfig(_Slice, frozen=True, kw_only=True):
    inbox_limit: Annotated[int, Meta(ge=16, le=1_000_000)] = 2048
    """Packets received but not yet unwrapped; more are dropped and counted."""
    replay_capacity: Annotated[int, Meta(ge=1_000, le=1_000_000_000)] = 64_000_000
    """Replay tags remembered for one mix key; when full, packets are refused (fail closed). More than a core
    relays (10,000 packets a second) while a key of an hour is accepted; memory is taken as it is used."""


class ControlConfig(_Slice, frozen=True, kw_only=True):
    unix: str = ""
    """Path of the Unix socket; empty: `control.sock` in the state directory."""
    listen: str = ""
    """host:port for TCP with mutual TLS; empty: off."""


class MetricsConfig(_Slice, frozen=True, kw_only=True):
    listen: str = "127.0.0.1:0"
    """host:port of the Prometheus endpoint; port 0 takes a free one; empty: off."""
    detail: MetricsDetail = "coarse"
    """coarse: nothing that tells own traffic from relayed, and once a minute. full: all, for networks that
    nobody watches. See `observe.detail`."""
    neighbour_labels: bool = False
    """Label link metrics by neighbour. Off: per-neighbour series help traffic analysis."""
    page: bool = True
    """Serve a status page beside the metrics."""
    page_hosts: Annotated[tuple[HostName, ...], Meta(max_length=100)] = ()
    """Names under which the page may be asked for, beside IP addresses, localhost and the host of `listen`: a
    browser that is made to take this peer for some other site is refused (DNS rebinding)."""


class TraceConfig(_Slice, frozen=True, kw_only=True):
    file: str = ""
    """For experiments: every packet's time, link and fate is written here. NO ANONYMITY. Empty: off."""


class LoggingConfig(_Slice, frozen=True, kw_only=True):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["console", "json"] = "console"
    file: AbsolutePath = ""
    """An absolute path: lines go there, too, and to standard error as always; empty: off."""
    max_bytes: Annotated[int, Meta(ge=10_000, le=1_000_000_000_000)] = 10_000_000
    """The file is put aside before it would be longer."""
    backups: Annotated[int, Meta(ge=1, le=1_000)] = 5
    """Files put aside that stay, as `FILE.1` (the newest), `FILE.2`, ..."""


class TrainingConfig(_Slice, frozen=True, kw_only=True):
    threads: Annotated[int, Meta(ge=1, le=1024)] = 1
    nice: Annotated[int, Meta(ge=0, le=19)] = 10
    """Niceness of the trainer process, so that relaying goes first."""
    start_timeout_seconds: Seconds = 120.0
    hang_timeout_seconds: Seconds = 600.0
    """A trainer that says nothing for so long is killed and restarted."""
    max_restarts: Annotated[int, Meta(ge=0, le=1_000)] = 5
    """Per run; after that the run fails on this peer, which goes on relaying."""
    join: Literal["announced", "manual"] = "announced"
    """announced: take part in runs that an operator announces to the network; manual: only in those that
    are started on this peer itself."""
    data_dir: str = ""
    """Where this host has the files of announced runs; empty: as the announcement says."""
    keep_checkpoints: Annotated[int, Meta(ge=0, le=10_000)] = 3
    """Models of closed rounds that stay on disk, of each of the last four runs: so many of the newest, and
    the best. 0: none but the one that this peer would go on with after a crash."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """auto: CUDA or MPS where there is one, else the CPU."""
    tasks: Annotated[tuple[TaskName, ...], Meta(max_length=100)] = SHIPPED_TASKS
    """What may be trained here, whoever asks for it. `module:factory` and entry points run code of this
    host's own, so that its operator names them here; nothing else is ever imported."""
    task_path: AbsolutePath = ""
    """An absolute path: a folder to import `module:factory` from, besides PYTHONPATH; empty: none."""


class MembershipConfig(_Slice, frozen=True, kw_only=True):
    dead_after_seconds: Seconds = 4.0
    """A suspect (our link to it is down) is dead so much later: no fragments for it, not waited for."""
    gossip_interval_seconds: Annotated[float, Meta(ge=0.05, le=3_600.0)] = 1.0
    """So often, at a random moment, a random neighbour is asked whether it knows something else."""
    flap_limit: Annotated[int, Meta(ge=1, le=1_000)] = 3
    """A peer that was lost so often lately is damped: it counts only after it has stayed for a while."""
    flap_half_life_seconds: Seconds = 60.0
    """Losses are forgotten at this rate."""
    max_members: Annotated[int, Meta(ge=2, le=1_000_000)] = 10_000
    """Of others nothing is kept."""
    dial_allow: tuple[str, ...] = ()
    """Address ranges (CIDR) that a descriptor may make this peer dial. Empty: all but loopback (unless this
    peer listens there itself), link-local, multicast, unspecified and reserved ones."""
    advertise: str = ""
    """host:port at which the others reach this peer; empty: as in its enrolment request."""


class EnrolmentConfig(_Slice, frozen=True, kw_only=True):
    listen: str = ""
    """host:port where newcomers redeem join tokens of this peer, if it is a delegate; empty: off."""


class ShutdownConfig(_Slice, frozen=True, kw_only=True):
    drain_seconds: Delay = 10.0
    """After SIGTERM or Ctrl-C a peer leaves politely, as by `peerctl node drain`, for so long at most. 0: it
    ends at once, and the others find out. A second signal ends it at once, too."""


class PeerdConfig(_Slice, frozen=True, kw_only=True):
    """The whole file."""

    state_dir: str = ""
    """Keys, bundle, replay log and run state; empty: taken from the command line."""
    link: LinkConfig = LinkConfig()
    relay: RelayConfig = RelayConfig()
    mixing: MixingConfig = MixingConfig()
    delivery: DeliveryConfig = DeliveryConfig()
    membership: MembershipConfig = MembershipConfig()
    enrolment: EnrolmentConfig = EnrolmentConfig()
    training: TrainingConfig = TrainingConfig()
    control: ControlConfig = ControlConfig()
    metrics: MetricsConfig = MetricsConfig()
    logging: LoggingConfig = LoggingConfig()
    shutdown: ShutdownConfig = ShutdownConfig()
    trace: TraceConfig = TraceConfig()


T = TypeVar("T")


def convert(value: Any, kind: type[T], where: str) -> T:
    """Validate plain data into a slice. `where` names the source in the error."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at ")
        _, _, place = path.rpartition(" in ")  # of a bad key in a map it says: `key` in `$.map`
        key = place.strip("`").removeprefix("$").removeprefix(".")
        wrong = explained(message, kind, path)
        raise InvalidInputError(f"{where}: {key + ': ' if key else ''}{wrong}") from None


def load(path: Path) -> PeerdConfig:
    """Read a config file. Raises NotFoundError or InvalidInputError with one clear line."""
    return loads(read(path), str(path))


def read(path: Path) -> str:
    """The text of a config file. NotFoundError, InvalidInputError: also for what is too long to be one."""
    try:
        return read_text(path, MAX_BYTES, "a config file")
    except NotFoundError:
        raise NotFoundError(f"{path}: no such config file") from None


def loads(text: str, where: str) -> PeerdConfig:
    """The same of text; `where` names it in errors."""
    return convert(_with_preset(parse_toml(text, where), where), PeerdConfig, where)


def parse_toml(text: str, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidInputError(f"{where}: not valid TOML: {error}") from None
    except RecursionError:
        raise InvalidInputError(f"{where}: not valid TOML: nested too deeply") from None


def _with_preset(raw: dict[str, Any], where: str) -> dict[str, Any]:
    """`[mixing] preset` sets what the section does not set itself."""
    mixing = raw.get("mixing")
    if not isinstance(mixing, dict) or "preset" not in mixing:
        return raw
    given = {key: value for key, value in mixing.items() if key != "preset"}
    try:
        fields = preset_fields(str(mixing["preset"]))
    except InvalidInputError as error:
        raise InvalidInputError(f"{where}: mixing.{error}") from None
    return raw | {"mixing": fields | given}


def parse_address(text: str, where: str = "address") -> tuple[str, int]:
    """`host:port` or `[v6]:port`. Raises InvalidInputError."""
    host, separator, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not separator or not host or not port.isascii() or not port.isdigit() or int(port) > 65_535:
        raise InvalidInputError(f"{where}: {text!r} is not host:port")
    return host, int(port)
