from __future__ import annotations

import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctl.testbed import Plan, peer_names
from ctl.testbed.plan import ReservedPorts
from peerd.config import LoggingConfig, MixingConfig, NetworkConfig, PeerdConfig
from peerd.errors import InvalidInputError
from peerd.presets import PRESETS


@given(st.integers(3, 256))
def test_names_are_unique_and_as_many(peers: int) -> None:
    names = peer_names(peers)
    assert len(set(names)) == len(names) == peers
    assert all(name.isascii() and name.isalnum() for name in names)


@given(st.integers(-5, 300), st.integers(0, 20))
def test_a_plan_has_enough_peers_for_its_hops_or_is_refused(peers: int, hops: int) -> None:
    try:
        plan = Plan.make(peers, hops=hops)
    except InvalidInputError as error:
        assert not (3 <= peers <= 256 and 1 <= hops <= min(16, peers - 2))
        assert "\n" not in str(error)
    else:
        assert plan.config.mixing.hops == hops <= peers - 2


def test_what_is_given_overrides_the_file_and_none_does_not() -> None:
    base = PeerdConfig(mixing=MixingConfig(strategy="outbox", hops=2), logging=LoggingConfig(level="debug"))
    plan = Plan.make(6, base, hops=4, strategy=None)
    config = plan.peer_config("127.0.0.1:1", Path("/s.sock"), Path("/t.jsonl"))
    assert (config.mixing.hops, config.mixing.strategy) == (4, "outbox")
    assert config.logging.level == "debug"
    assert config.link.listen == "127.0.0.1:1"
    assert config.control.unix == "/s.sock"


def test_what_would_collide_is_each_peers_own() -> None:
    from peerd.config import ControlConfig, MetricsConfig, TraceConfig

    base = PeerdConfig(
        state_dir="/shared",
        control=ControlConfig(listen="127.0.0.1:9"),
        metrics=MetricsConfig(listen="0.0.0.0:9100"),
        trace=TraceConfig(file="/shared/trace.jsonl"),
    )
    config = Plan.make(6, base).peer_config("127.0.0.1:1", Path("/s.sock"), Path("/t.jsonl"))
    assert config.trace.file == "/t.jsonl"
    assert (config.state_dir, config.control.listen) == ("", "")
    assert config.metrics.listen == "127.0.0.1:0"


def test_no_peer_is_traced_unless_the_configuration_says_so() -> None:
    assert Plan.make(6).peer_config("127.0.0.1:1", Path("/s.sock"), Path("/t.jsonl")).trace.file == ""


def test_a_preset_goes_over_the_file_and_single_fields_over_the_preset() -> None:
    base = PeerdConfig(mixing=MixingConfig(strategy="outbox", hops=2, mean_delay_seconds=0.3, queue_limit=99))
    plan = Plan.make(6, base, preset="strong", loop_rate_per_second=7.0, hops=None)
    mixing, strong = plan.config.mixing, PRESETS["strong"]
    assert (mixing.hops, mixing.queue_limit, mixing.loop_rate_per_second) == (2, 99, 7.0)
    for name in ("strategy", "mean_delay_seconds", "send_rate_per_second"):
        assert getattr(mixing, name) == strong[name]
    assert Plan.make(6, base, preset=None).config == base
    with pytest.raises(InvalidInputError, match=r"no such preset 'max'; allowed: fast, balanced, strong"):
        Plan.make(6, preset="max")


def test_the_grace_of_an_epoch_follows_it() -> None:
    assert Plan.make(6).network == NetworkConfig(name="testbed")
    short = Plan.make(6, epoch_seconds=10.0).network
    assert (short.epoch_seconds, short.epoch_grace_seconds) == (10.0, 10.0)
    long = Plan.make(6, epoch_seconds=7200.0).network
    assert (long.epoch_seconds, long.epoch_grace_seconds) == (7200.0, 300.0)
    with pytest.raises(InvalidInputError, match="network: epoch_seconds"):
        Plan.make(6, epoch_seconds=0.1)


def test_late_peers_are_no_mix_nodes_at_the_start() -> None:
    assert Plan.make(6, hops=2, late=("erin", "frank")).late == ("erin", "frank")
    with pytest.raises(InvalidInputError, match=r"hops: 3 mix nodes .* at least 5 peers, not 4"):
        Plan.make(6, hops=3, late=("erin", "frank"))
    with pytest.raises(InvalidInputError, match="late: zoe is none of the 6 peers"):
        Plan.make(6, late=("zoe",))


def test_reserved_ports_are_taken_until_they_are_released() -> None:
    ports = ReservedPorts(4)
    try:
        assert len(set(ports.addresses)) == 4
        address = ports.addresses[0]
        port = int(address.rpartition(":")[2])
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", port))
        ports.release(address)
        with socket.socket() as other:
            other.bind(("127.0.0.1", port))
    finally:
        ports.close()
    assert ports.addresses == ()
