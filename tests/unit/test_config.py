from __future__ import annotations

import ipaddress
import tomllib
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from peerd.config import (
    MixingConfig,
    NetworkConfig,
    PeerdConfig,
    StrategyName,
    convert,
    load,
    parse_address,
)
from peerd.errors import InvalidInputError, NotFoundError
from peerd.presets import PRESETS
from peerd.types import SHIPPED_TASKS

SLICES = [field.name for field in msgspec.structs.fields(PeerdConfig) if field.name != "state_dir"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "peerd.toml"


def refusal(file: Path) -> str:
    """The one line that the operator reads; it begins with the file."""
    with pytest.raises(InvalidInputError) as raised:
        load(file)
    line = str(raised.value)
    assert "\n" not in line
    assert line.startswith(f"{file}: ")
    return line.removeprefix(f"{file}: ")


def test_an_empty_file_means_the_defaults(file: Path) -> None:
    file.write_text("")
    assert load(file) == PeerdConfig()


def test_defaults_are_safe() -> None:
    config = PeerdConfig()
    for address in (config.link.listen, config.metrics.listen):
        assert ipaddress.ip_address(parse_address(address)[0]).is_loopback
    assert config.control.listen == ""
    assert config.metrics.detail == "coarse"
    assert not config.metrics.neighbour_labels
    assert not config.mixing.direct
    assert config.trace.file == ""
    assert config.mixing.strategy != "none"
    assert config.mixing.threshold_patience_seconds > 0  # nobody waits for ever
    assert config.mixing.hops >= 3
    assert config.mixing.loop_rate_per_second > 0
    assert config.mixing.drop_rate_per_second > 0
    assert config.mixing.max_delay_seconds >= 10 * config.mixing.mean_delay_seconds
    assert config.mixing.hops <= NetworkConfig(name="net").max_hops
    assert config.link.keepalive_seconds < config.link.dead_after_seconds
    assert config.delivery.min_timeout_seconds <= config.delivery.initial_timeout_seconds
    assert config.delivery.initial_timeout_seconds <= config.delivery.max_timeout_seconds


@pytest.mark.parametrize("name", SLICES)
def test_the_defaults_of_every_slice_pass_their_own_validation(name: str) -> None:
    default = getattr(PeerdConfig(), name)
    assert convert(msgspec.to_builtins(default), type(default), name) == default


def test_what_is_set_is_set_and_the_rest_stays(file: Path) -> None:
    file.write_text(
        """
        state_dir = "/var/lib/peerd"
        [mixing]
        strategy = "outbox"
        hops = 4
        mean_delay_seconds = 1      # a whole number of seconds is welcome
        [logging]
        format = "json"
        """
    )
    config = load(file)
    assert config.state_dir == "/var/lib/peerd"
    assert config.mixing == MixingConfig(strategy="outbox", hops=4, mean_delay_seconds=1.0)
    assert isinstance(config.mixing.mean_delay_seconds, float)
    assert config.logging.format == "json"
    assert config.link == PeerdConfig().link


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("mixing = [", ["not valid TOML: "]),
        ("[mixing]\nhops = 3\nhops = 4\n", ["not valid TOML: ", "line 3"]),
        ("[mixng]", ["unknown field `mixng`"]),
        ("[mixing]\nhop = 3", ["mixing", "unknown field `hop`"]),
        ('[mixing]\nhops = "3"', ["mixing.hops: ", "Expected `int`", "got `str`"]),
        ("[mixing]\nhops = 3.5", ["mixing.hops: ", "Expected `int`"]),
        ("[mixing]\nhops = true", ["mixing.hops: ", "Expected `int`"]),
        ("[mixing]\nhops = 0", ["mixing.hops: ", ">= 1"]),
        ("[mixing]\nhops = 17", ["mixing.hops: ", "<= 16"]),
        ('[mixing]\nstrategy = "magic"', ["mixing.strategy: ", "Invalid enum value 'magic'"]),
        ("[mixing]\noutbox_interval_seconds = 0.0", ["mixing.outbox_interval_seconds: ", ">= 0.001"]),
        ("[mixing]\nmean_delay_seconds = nan", ["mixing.mean_delay_seconds: "]),
        ("[mixing]\nloop_rate_per_second = inf", ["mixing.loop_rate_per_second: "]),
        ("[mixing]\ndrop_rate_per_second = -1", ["mixing.drop_rate_per_second: ", ">= 0.0"]),
        ("mixing = 3", ["mixing: ", "Expected `object`, got `int`"]),
        ('[logging]\nlevel = "loud"', ["logging.level: ", "Invalid enum value 'loud'"]),
        ("[metrics]\nneighbour_labels = 1", ["metrics.neighbour_labels: ", "Expected `bool`"]),
        ('[metrics]\ndetail = "some"', ["metrics.detail: ", "allowed: ", "coarse", "full"]),
        ('[metrics]\npage = "no"', ["metrics.page: ", "Expected `bool`"]),
        ('[metrics]\npage_hosts = ["alice.example:9103"]', ["metrics.page_hosts"]),
        ("[link]\nqueue_cells = 99999999", ["link.queue_cells: ", "<= 1000000"]),
        ("[training]\nnice = -5", ["training.nice: ", ">= 0"]),
        ('[training]\ndevice = "tpu"', ["training.device: ", "allowed: ", "auto", "cpu", "cuda", "mps"]),
        ('[training]\ntasks = [""]', ["training.tasks"]),
        ('[training]\ntask_path = "here"', ["training.task_path: "]),
        ("[delivery]\nmax_attempts = 0", ["delivery.max_attempts: ", ">= 1"]),
        ("[relay]\nreplay_capacity = 1", ["relay.replay_capacity: ", ">= 1000"]),
        (
            '[mixing]\nstrategy = "Pool"',
            ["allowed: ", "exponential", "outbox", "threshold", "timed", "pool", "none"],
        ),
        ("[mixing]\ndirect = 1", ["mixing.direct: ", "Expected `bool`"]),
        ("[mixing]\nsend_rate_per_second = -1", ["mixing.send_rate_per_second: ", ">= 0.0"]),
        ("[mixing]\nsend_rate_per_second = 10001", ["mixing.send_rate_per_second: ", "<= 10000.0"]),
        (
            "[mixing]\ncover_budget_bytes_per_second = -1",
            ["mixing.cover_budget_bytes_per_second: ", ">= 0.0"],
        ),
        ("[mixing]\ncover_budget_bytes_per_second = nan", ["mixing.cover_budget_bytes_per_second: "]),
        ("[mixing]\nloop_alarm_loss = 0", ["mixing.loop_alarm_loss: ", "> 0.0"]),
        ("[mixing]\nloop_alarm_loss = 1.1", ["mixing.loop_alarm_loss: ", "<= 1.0"]),
        ("[mixing]\nthreshold_size = 1", ["mixing.threshold_size: ", ">= 2"]),
        ("[mixing]\nthreshold_size = 257", ["mixing.threshold_size: ", "<= 256"]),
        ("[mixing]\nthreshold_patience_seconds = -1", ["mixing.threshold_patience_seconds: ", ">= 0.0"]),
        ("[mixing]\ntimed_interval_seconds = 0", ["mixing.timed_interval_seconds: ", ">= 0.001"]),
        ("[mixing]\npool_interval_seconds = 0", ["mixing.pool_interval_seconds: ", ">= 0.001"]),
        ("[mixing]\npool_minimum = -1", ["mixing.pool_minimum: ", ">= 0"]),
        ("[mixing]\npool_rate = 0", ["mixing.pool_rate: ", "> 0.0"]),
        ("[mixing]\npool_rate = 2", ["mixing.pool_rate: ", "<= 1.0"]),
        ('[mixing]\npreset = "max"', ["mixing.preset: ", "'max'", "fast, balanced, strong"]),
        ("[mixing]\npreset = 3", ["mixing.preset: ", "fast, balanced, strong"]),
        ('[mixing]\npreset = "fast"\nhops = 0', ["mixing.hops: ", ">= 1"]),
        ("[trace]\nfile = 3", ["trace.file: ", "Expected `str`"]),
        ('[trace]\npath = "x"', ["trace", "unknown field `path`"]),
    ],
)
def test_each_mistake_is_one_line_with_file_and_key(file: Path, text: str, parts: list[str]) -> None:
    file.write_text(text)
    line = refusal(file)
    assert all(part in line for part in parts), line


def test_the_preset_of_a_file_sets_what_the_section_does_not(file: Path) -> None:
    file.write_text('[mixing]\npreset = "strong"\nloop_rate_per_second = 9.0\nhops = 2')
    mixing, strong = load(file).mixing, PRESETS["strong"]
    assert mixing == MixingConfig(**{**strong, "loop_rate_per_second": 9.0, "hops": 2})
    file.write_text('[mixing]\npreset = ""')
    assert load(file) == PeerdConfig()


def test_a_network_whose_grace_is_longer_than_its_epoch_is_none() -> None:
    network = {"name": "net", "epoch_seconds": 10.0, "epoch_grace_seconds": 10.0}
    assert convert(network, NetworkConfig, "bundle").epoch_grace_seconds == 10.0
    for change, says in (
        ({"epoch_grace_seconds": 10.1}, "bundle: epoch_grace_seconds is at most epoch_seconds"),
        ({"epoch_grace_seconds": 0.4}, "bundle: epoch_grace_seconds: "),
        ({"epoch_seconds": 0.9}, "bundle: epoch_seconds: "),
        ({"epoch_seconds": float("inf")}, "bundle: epoch_seconds: "),
        ({"epoch_seconds": 200.0, "epoch_grace_seconds": "1"}, "bundle: epoch_grace_seconds: "),
    ):
        with pytest.raises(InvalidInputError) as raised:
            convert(network | change, NetworkConfig, "bundle")
        assert str(raised.value).startswith(says)
        assert "\n" not in str(raised.value)


def test_direct_mode_has_no_hops_and_every_strategy_draws_delays_for_the_mix_nodes_of_others() -> None:
    assert (MixingConfig().path_hops, MixingConfig(direct=True).path_hops) == (3, 0)
    assert MixingConfig(mean_delay_seconds=0.2).sender_delay_seconds == 0.2
    assert MixingConfig(mean_delay_seconds=0.2, direct=True).sender_delay_seconds == 0.0
    assert MixingConfig().delays_kept
    assert not MixingConfig(direct=True).delays_kept
    for strategy in get_args(StrategyName)[1:]:
        mixing = MixingConfig(mean_delay_seconds=0.2, strategy=strategy)
        assert (mixing.sender_delay_seconds, mixing.delays_kept) == (0.2, False)


def test_a_missing_file_an_unreadable_one_and_one_that_is_not_text(file: Path) -> None:
    with pytest.raises(NotFoundError, match=r": no such config file$"):
        load(file)
    file.mkdir()
    assert "cannot be read" in refusal(file)
    file.rmdir()
    file.write_bytes(b"\xff\xfe\x00")
    assert "cannot be read" in refusal(file)


def test_only_shipped_tasks_are_trained_unless_the_host_says_otherwise() -> None:
    assert PeerdConfig().training.tasks == SHIPPED_TASKS
    assert not any(":" in task for task in SHIPPED_TASKS)


def test_slices_do_not_change() -> None:
    with pytest.raises(AttributeError):
        MixingConfig().hops = 1
    changed = msgspec.structs.replace(MixingConfig(), hops=1)
    assert (changed.hops, MixingConfig().hops) == (1, 3)


@pytest.mark.parametrize("name", ["net", "a", "0-day", "a" * 63])
def test_network_names(name: str) -> None:
    assert convert({"name": name}, NetworkConfig, "bundle").name == name


@pytest.mark.parametrize(
    "name",
    [
        *("", "-net", "Net", "a" * 64, "a b", "nät", "../net", "net\n\n", "net\n"),
    ],
)
def test_names_that_no_network_may_have(name: str) -> None:
    with pytest.raises(InvalidInputError, match=r"^bundle: name: "):
        convert({"name": name}, NetworkConfig, "bundle")


values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=10)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=10), inner, max_size=3)
    ),
    max_leaves=8,
)
mixing_keys = st.sampled_from([field.name for field in msgspec.structs.fields(MixingConfig)])


@given(st.dictionaries(mixing_keys, values))
def test_any_data_makes_a_valid_slice_or_one_line(data: dict[str, Any]) -> None:
    try:
        config = convert(data, MixingConfig, "mixing")
    except InvalidInputError as error:
        assert str(error).startswith("mixing: ")
    else:
        assert 1 <= config.hops <= 16
        assert config.strategy in ("exponential", "outbox", "threshold", "timed", "pool", "none")
        assert 0.0 < config.pool_rate <= 1.0
        assert 0.0 < config.loop_alarm_loss <= 1.0
        assert 0.0 <= config.send_rate_per_second <= 10_000.0
        assert 0.0 <= config.cover_budget_bytes_per_second <= 1e12
        assert 0.0 < config.outbox_interval_seconds <= 60.0
        assert 0.0 <= config.mean_delay_seconds <= 3600.0
        assert 16 <= config.queue_limit <= 1_000_000


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    st.one_of(
        st.binary(max_size=200), st.text(max_size=200).map(lambda t: t.encode("utf-8", "surrogatepass"))
    )
)
def test_any_bytes_in_the_file_make_a_config_or_one_line(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    try:
        config = load(file)
    except InvalidInputError as error:
        assert str(error).startswith(f"{file}: ")
        assert "\n" not in str(error)
    else:
        assert isinstance(config, PeerdConfig)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:9101", ("127.0.0.1", 9101)),
        ("peer.example.org:0", ("peer.example.org", 0)),
        ("[::1]:65535", ("::1", 65535)),
        ("[fe80::1%eth0]:1", ("fe80::1%eth0", 1)),
    ],
)
def test_addresses(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text",
    ["", ":", "host", "host:", ":9101", "[]:1", "host:65536", "host:-1", "host:1.5", "host:٣", "host: 1"],
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(InvalidInputError) as raised:
        parse_address(text, "[link] listen")
    assert str(raised.value) == f"[link] listen: {text!r} is not host:port"


@given(st.text())
def test_any_text_is_an_address_or_refused(text: str) -> None:
    try:
        host, port = parse_address(text)
    except InvalidInputError as error:
        assert "\n" not in str(error)
    else:
        assert host
        assert 0 <= port <= 65_535


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)), st.integers(0, 65_535))
def test_every_ip_address_with_a_port_is_one(
    ip: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int
) -> None:
    text = f"{ip}:{port}" if ip.version == 4 else f"[{ip}]:{port}"
    assert parse_address(text) == (str(ip), port)


def test_the_shipped_configuration_lists_every_key_with_its_default() -> None:
    path = Path(__file__).parents[2] / "deploy" / "peerd.toml"
    assert load(path) == PeerdConfig()
    assert tomllib.loads(path.read_text()) == msgspec.json.decode(msgspec.json.encode(PeerdConfig()))
