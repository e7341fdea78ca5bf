"""How well a mix node hides a packet, in bits, and what that is worth over a whole path.

Serjantov and Danezis, "Towards an Information Theoretic Metric for Anonymity" (2002), section 4, for
pools; Loopix (Piotrowska et al., 2017), section 4.2, states the same incrementally for stop-and-go.
"""

from __future__ import annotations

import math

_EXACT_PER_SENDER = 1000
"""More candidates for each sender than this: the expansion errs by less than a millionth of a bit."""
_MOST_BITS = 256.0
"""2 to the power of it is still a float, and beyond every cap."""


class PoolEntropy:
    """Entropy of "which of the packets that came in is this one?" for what leaves a pool of slots.

    With l slots kept, whose content has entropy H each, and k new packets, what leaves is uniform
    over the l + k, so that

        H' = h(l / (l + k)) + k / (l + k) * log2(k) + l / (l + k) * H,    h: binary entropy,

    holds for each packet that leaves then and for each that stays. The terms of h cancel to

        H' = log2(l + k) - l / (l + k) * (log2(l) - H),

    which is what is computed: it costs two logarithms. Everything that was taken in counts as having
    come in, own packets too: an observer of the wire cannot see them enter, but must count on them.
    """

    __slots__ = ("_bits", "_fresh", "_kept")

    def __init__(self) -> None:
        self._kept = 0
        self._fresh = 0
        self._bits = 0.0

    def arrive(self) -> None:
        """One packet enters a slot."""
        self._fresh += 1

    def leave(self, count: int) -> float:
        """`count` of the packets inside (at least 1) leave together, drawn uniformly. Bits of each."""
        kept = self._kept
        slots = kept + self._fresh
        if not kept:
            bits = math.log2(slots)
        elif self._fresh:
            bits = math.log2(slots) - kept / slots * (math.log2(kept) - self._bits)
        else:
            bits = self._bits
        self._kept = slots - count
        self._fresh = 0
        self._bits = bits
        return bits

    def clear(self) -> None:
        """Everything inside is gone; the next packets start afresh."""
        self._kept = self._fresh = 0
        self._bits = 0.0


def end_to_end_bits(bits_per_hop: float, hops: int, senders: int) -> float:
    """Estimated entropy, in bits, of "who sent this delivered message" to a global passive observer.

    Every hop multiplies the packets that the message may have been by 2 ** bits_per_hop; the
    n = 2 ** (bits_per_hop * hops) of a whole path are thrown at random on the `senders`. The result
    is the expected entropy of where they fell: log2(n) where n is small, since then hardly two have
    the same sender, and log2(senders) where n is large. Between whole n it is interpolated.

    It assumes that all mix nodes mix like this one and independently, that all senders are equally
    active, and an observer who weighs n candidates alike. It knows nothing of what an observer learns
    from several messages together, or from corrupt mix nodes. 0.0 without hops, bits or company.
    """
    exponent = min(bits_per_hop * hops, _MOST_BITS)
    if exponent <= 0.0 or senders <= 1:
        return 0.0
    candidates = math.exp2(exponent)
    if candidates > _EXACT_PER_SENDER * senders:
        bits = math.log2(senders) - (senders - 1) / (2.0 * candidates * math.log(2.0))  # Miller, Madow
    else:
        whole = int(candidates)
        below, above = _expected_bits(whole, senders), _expected_bits(whole + 1, senders)
        bits = below + (candidates - whole) * (above - below)
    return min(max(bits, 0.0), math.log2(senders))


def _expected_bits(candidates: int, senders: int) -> float:
    """Expected entropy of `candidates` balls in `senders` boxes.

    E[H] = log2(n) - senders / n * E[X log2(X)], X ~ Binomial(n, 1 / senders), and since
    x * P(X = x) = n / senders * P(Y = x - 1), Y ~ Binomial(n - 1, 1 / senders), this is
    log2(n) - E[log2(1 + Y)]. What is more than 12 deviations off the mean is left out.
    """
    others = candidates - 1
    mean = others / senders
    reach = 12.0 * math.sqrt(mean * (1.0 - 1.0 / senders))
    first, last = max(int(mean - reach), 0), min(int(mean + reach) + 20, others)
    weight, total, weighted = 1.0, 0.0, 0.0  # weights in proportion to the probabilities
    for y in range(first, last + 1):
        total += weight
        weighted += weight * math.log2(1 + y)
        weight *= (others - y) / ((y + 1) * (senders - 1))
    return math.log2(candidates) - weighted / total
