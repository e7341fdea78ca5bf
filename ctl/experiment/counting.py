"""The simplest adversary, as a check on the other: who sent more than came in, at the right time before?

He counts cells at the first hop (what a peer sent beyond what it can have forwarded) and knows how long a
path takes; he follows no packet. Danezis, "Statistical Disclosure Attacks" (2003), is built on such counts.
"""

from __future__ import annotations

import numpy as np

from ctl.experiment.adversaries import Setting, candidates, normalised, own_share
from ctl.experiment.observation import Floats, Ints, Observation

BINS_PER_DELAY = 4.0
NARROWEST_SECONDS = 0.002
SAMPLE = 20_000
MOST = 0.999
"""Waits beyond this quantile count as at it."""
BASE = 0.01
"""Share of the mean excess that every peer may always have: noise hides a little sending."""


def counting(seen: Observation, setting: Setting, last: Ints) -> Floats:
    """Posteriors (n, peers) over the senders of the messages that ended with the cells `last` (n,)."""
    waits = _waits(seen, setting)
    came = np.isfinite(seen.arrived_at)
    latency = float((seen.arrived_at - seen.sent_at)[came].mean()) if came.any() else 0.0
    width = max(float(waits.mean()) / BINS_PER_DELAY, NARROWEST_SECONDS)
    bins = int(seen.ends_at / width) + 1
    delay = _counts(waits, width, int(np.quantile(waits, MOST) / width) + 1) / len(waits)
    excess = np.zeros((seen.peers, bins))
    for peer in range(seen.peers):
        sent = _counts(seen.sent_at[seen.src == peer], width, bins)
        received = _counts(seen.arrived_at[(seen.dst == peer) & came], width, bins)
        forwarded = np.convolve(received, delay)[:bins] * (1.0 - own_share(setting, seen.cells))
        excess[peer] = np.maximum(sent - forwarded, 0.0)
    excess += BASE * excess.mean()
    path = np.ones(1)
    for _ in range(setting.hops):
        path = np.convolve(path, delay)
    found = np.stack([np.convolve(one, path)[:bins] for one in excess])
    when = np.clip((seen.sent_at[last] - setting.hops * latency) / width, 0, bins - 1).astype(np.int64)
    return normalised(found[:, when].T, candidates(seen, last))


def echo(seen: Observation, setting: Setting, last: Ints) -> Floats:
    """Posteriors (n, peers) from what came *to* each peer: while somebody sends, less than usual, since its
    own packets never pass it; then more, since the acknowledgements come home. Constant emission hides
    neither. The weight is exp of the difference in standard deviations."""
    came = np.isfinite(seen.arrived_at)
    latency = float((seen.arrived_at - seen.sent_at)[came].mean()) if came.any() else 0.0
    way = (setting.hops + 1) * (float(_waits(seen, setting).mean()) + latency)
    now = seen.arrived_at[last]
    scores = np.zeros((len(last), seen.peers))
    for peer in range(seen.peers):
        times = seen.arrived_at[seen.entering(peer)]
        before, between, start, end = (
            np.searchsorted(times, now + shift * way) for shift in (-1.5, 0.0, 0.5, 2.0)
        )
        after, earlier = end - start, between - before
        scores[:, peer] = (after - earlier) / np.sqrt(np.maximum(after + earlier, 1))
    return normalised(np.exp(scores), candidates(seen, last))


def _counts(times: Floats, width: float, bins: int) -> Floats:
    place = np.clip(times / width, 0, bins - 1).astype(np.int64)
    return np.bincount(place, minlength=bins).astype(float)


def _waits(seen: Observation, setting: Setting) -> Floats:
    """A sample of the seconds that a packet waits at a mix node: of the known distribution, or, where flushes
    are seen, until the next one (and in a pool for so many more as its rate makes likely)."""
    mixing = setting.mixing
    even = (np.arange(SAMPLE) + 0.5) / SAMPLE
    means = {
        "exponential": mixing.mean_delay_seconds,
        "outbox": mixing.outbox_size * mixing.outbox_interval_seconds,
        "none": 0.0,
    }
    if (mean := means.get(mixing.strategy)) is not None:
        return -max(mean, *setting.timing.processing) * np.log(1.0 - even)
    found = [np.zeros(1)]
    for node in range(seen.peers):
        flushes, arrived = seen.sent_at[seen.leaving(node)], seen.arrived_at[seen.entering(node)]
        following = np.searchsorted(flushes, arrived)
        inside = following < len(flushes)
        found.append(flushes[following[inside]] - arrived[inside])
    waits = np.concatenate(found)
    if mixing.strategy == "pool":
        more = np.floor(np.log(1.0 - even) / np.log(max(1.0 - mixing.pool_rate, 1e-9)))
        waits = (
            np.resize(waits, SAMPLE)
            + np.random.default_rng(0).permutation(more) * mixing.pool_interval_seconds
        )
    return waits
