"""What strangers may send to a hop. Runs once more under `python -O`, where no assert is executed:
hence `refused`, which needs none."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peerd.sphinx import Forward, Geometry, MixKey, Rejected, ReplayFilter, unwrap, wrap
from peerd.sphinx.group import FIELD_PRIME, LOW_ORDER
from peerd.types import DropReason

GEOMETRY = Geometry(max_hops=3, body_bytes=256)
OPTIMISED_RUN = "PEERD_TEST_OPTIMISED"


def refused(outcome: object, *reasons: DropReason) -> None:
    if not isinstance(outcome, Rejected) or outcome.reason not in reasons:
        pytest.fail(f"expected a refusal for {' or '.join(reasons)}, not {outcome!r:.200}")


def packets_by_hop(make_path) -> list[tuple[MixKey, bytes]]:
    """A good packet as each hop of its path receives it."""
    keys, path = make_path(4)
    packet = wrap(GEOMETRY, path, bytes(GEOMETRY.message_bytes))
    seen = []
    for key in keys:
        seen.append((key, packet))
        step = unwrap(GEOMETRY, key, packet)
        if isinstance(step, Rejected):
            pytest.fail(f"a good packet was refused: {step}")
        packet = step.packet if isinstance(step, Forward) else b""
    return seen


def test_every_flipped_bit_of_the_header_at_every_hop(make_path):
    for key, packet in packets_by_hop(make_path):
        for bit in range(8 * GEOMETRY.header_bytes):
            flipped = bytearray(packet)
            flipped[bit // 8] ^= 1 << bit % 8
            in_alpha = bit < 8 * 32
            reasons = [DropReason.BAD_MAC, *([DropReason.LOW_ORDER] if in_alpha else [])]
            refused(unwrap(GEOMETRY, key, bytes(flipped)), *reasons)


def test_every_truncation_and_any_excess(make_path):
    key, packet = packets_by_hop(make_path)[0]
    for size in range(len(packet)):
        refused(unwrap(GEOMETRY, key, packet[:size]), DropReason.BAD_SIZE)
        refused(unwrap(GEOMETRY, key, packet[len(packet) - size :]), DropReason.BAD_SIZE)
    for excess in (1, 16, 10_000):
        refused(unwrap(GEOMETRY, key, packet + bytes(excess)), DropReason.BAD_SIZE)


def low_order_encodings() -> list[bytes]:
    """The points, also not reduced and with the top bit that X25519 ignores."""
    numbers = {u + extra for u in LOW_ORDER for extra in (0, FIELD_PRIME, 2**255)}
    numbers |= {u + FIELD_PRIME + 2**255 for u in LOW_ORDER}
    return [u.to_bytes(32, "little") for u in sorted(numbers) if u < 2**256]


@pytest.mark.parametrize("alpha", low_order_encodings(), ids=lambda alpha: alpha.hex()[:12])
def test_low_order_and_zero_points_with_the_macs_that_they_would_make_valid(make_path, alpha):
    """With such an alpha the shared secret is known to everybody: zeros."""
    key, _ = packets_by_hop(make_path)[0]
    params = GEOMETRY.params
    hop = params.hop_keys(bytes(32))
    beta = params.xor_rho(hop.rho, b"\x01\xf1".ljust(GEOMETRY.beta_bytes, b"\0"))
    payload = b"".join((GEOMETRY.payload_prefix, bytes(GEOMETRY.message_bytes), GEOMETRY.payload_suffix))
    delta = params.pi(hop.pi, params.mu(hop.pi, payload) + payload)
    packet = b"".join((alpha, beta, params.mu(hop.mu, beta), delta))
    refused(unwrap(GEOMETRY, key, packet), DropReason.LOW_ORDER)


@given(st.binary(max_size=2 * GEOMETRY.packet_bytes))
def test_any_bytes(make_path, data):
    key = make_path(1)[0][0]
    exact = data[: GEOMETRY.packet_bytes].ljust(GEOMETRY.packet_bytes, b"\1")
    refused(unwrap(GEOMETRY, key, exact), DropReason.BAD_MAC, DropReason.LOW_ORDER)
    if len(data) != GEOMETRY.packet_bytes:
        refused(unwrap(GEOMETRY, key, data), DropReason.BAD_SIZE)


def test_another_s_packet(make_path):
    for _, packet in packets_by_hop(make_path):
        refused(unwrap(GEOMETRY, MixKey.generate(), packet), DropReason.BAD_MAC)


def test_a_replayed_packet_has_the_tag_of_the_first_whatever_its_body(make_path):
    for key, packet in packets_by_hop(make_path)[:-1]:
        replay = ReplayFilter(1000)
        other_body = packet[: GEOMETRY.header_bytes] + os.urandom(GEOMETRY.body_bytes)
        answers = [replay.check_and_add(unwrap(GEOMETRY, key, packet).tag) for _ in range(2)]
        answers.append(replay.check_and_add(unwrap(GEOMETRY, key, other_body).tag))
        if answers != [None, DropReason.REPLAY, DropReason.REPLAY]:
            pytest.fail(f"replays were answered {answers}")


@pytest.mark.skipif(OPTIMISED_RUN in os.environ, reason="is that run")
def test_all_of_this_once_more_under_python_o():
    program = (
        "import sys, pytest\n"
        "if sys.flags.optimize != 1: sys.exit('not optimised')\n"
        f"sys.exit(pytest.main(['-q', '-p', 'no:cacheprovider', {__file__!r}]))\n"
    )
    run = subprocess.run(
        [sys.executable, "-O", "-c", program],
        env={**os.environ, OPTIMISED_RUN: "1"},
        cwd=os.path.dirname(__file__),  # noqa: PTH120
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "passed" in run.stdout
