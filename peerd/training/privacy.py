"""What leaves the trainer of a model, where the run asks for privacy: its change, bounded and noised.

    released = start + clip(trained - start) + noise       each ~ N(0, (noise_multiplier * privacy_clip)^2)

`start` is the model that the round began with, `clip` scales the change down to an L2 norm of at most
`privacy_clip` (McMahan et al. 2018, "Learning Differentially Private Recurrent Language Models"). Everything
that is exchanged counts, running statistics too.

This is done in the trainer process, before the vector is put where the daemon sees it. All that happens
afterwards (encodings, error feedback, deltas, shares, resends, copies for latecomers, the average, the
accuracy that is measured on a shared test set) starts from `released` and from what others sent, so it is
post-processing and costs nothing more (Dwork and Roth 2014, proposition 2.1). `start` is known to others or
made of what was released, and what the learner remembers from round to round stays in this process; that the
change depends on both is what adaptive composition allows.

A job that is redone, since the trainer died before it answered, is noised anew: what the dead process had
made was seen by nobody. One whose answer was taken is counted, before anything of it leaves, on disk
(`learning.spent`): whoever trains the same round again, after a crash of the daemon, pays again. Noise that
follows from a secret and the round would not help: a learner that starts anew has forgotten its optimiser's
moments, so the second update is another one, and equal noise on two updates shows their difference.

Floating point. Noise of doubles is not the ideal one, and its last bits may tell what it was added to
(Mironov 2012, "On Significance of the Least Significant Bits"). Against that each noise value is a sum of
four (Holohan and Braghin 2021, as in Opacus' secure mode), and the result is rounded to float32, 29 bits
coarser than the sum. This is a defence, not a proof: (epsilon, delta) is that of the ideal mechanism.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Iterator

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

from peerd.trainerproto import Vector

Floats = NDArray[np.float64]

CHUNK = 1 << 16
"""Values that are held as doubles at a time."""
SUMMANDS = 4
"""Normal numbers in each value of noise."""
SLACK = 1e-9
"""By which the bound is undercut: more than a norm in doubles is off, of as many values as there may be."""
LARGEST = float(np.finfo(np.float32).max)


class Normals:
    """Independent standard normal numbers: the Box-Muller transform of AES-256's key stream in counter mode.

    The key comes from the operating system and is kept nowhere, so the noise is neither repeated nor
    predicted, by whoever knows the run's seed or earlier noise.
    """

    def __init__(self) -> None:
        key = secrets.token_bytes(32)
        self._stream = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()

    def draw(self, count: int) -> Floats:
        """Shape (count,)."""
        half = -(-count // 2)
        words = np.frombuffer(self._stream.update(bytes(2 * SUMMANDS * half * 8)), "<u8")
        length, turn = (words >> np.uint64(11)).astype(np.float64).reshape(2, SUMMANDS, half)
        radius = np.sqrt(-2.0 * np.log((length + 1.0) * 2.0**-53))  # of a number in (0, 1]
        angle = turn * (2.0 * math.pi * 2.0**-53)
        both = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
        normals: Floats = both.sum(0)[:count] / math.sqrt(SUMMANDS)
        return normals


def release(
    trained: Vector,
    start: Vector,
    clip: float,
    multiplier: float,
    alive: Callable[[], None] = lambda: None,
    normals: Normals | None = None,
) -> Vector:
    """Vectors of shape (n,). `clip` is above 0; `multiplier` 0: no noise. A change that has no norm (NaN,
    infinity) counts as none. `alive` is called now and then."""
    factor = clip_factor(trained, start, clip)
    normals = normals or Normals()
    released = np.empty_like(start)
    for part in _parts(len(start)):
        moved = clipped(trained[part], start[part], factor)
        if multiplier:
            moved += normals.draw(len(moved)) * (multiplier * clip)
        moved += start[part]
        released[part] = np.clip(moved, -LARGEST, LARGEST, out=moved)
        alive()
    return released


def clip_factor(trained: Vector, start: Vector, clip: float) -> float:
    """By which the change is multiplied, so that its norm is below `clip`; 1 where it is anyway."""
    squares = [np.square(_change(trained[part], start[part])).sum() for part in _parts(len(start))]
    norm = math.sqrt(sum(squares))
    if not math.isfinite(norm):
        return 0.0
    bound = clip * (1.0 - SLACK)
    return 1.0 if norm <= bound else bound / norm


def clipped(trained: Vector, start: Vector, factor: float) -> Floats:
    """The change, scaled; without noise still."""
    if factor == 0.0:
        return np.zeros(len(start))
    change = _change(trained, start)
    change *= factor
    return change


def _change(trained: Vector, start: Vector) -> Floats:
    with np.errstate(invalid="ignore"):  # infinity minus infinity
        return np.subtract(trained, start, dtype=np.float64)


def _parts(size: int) -> Iterator[slice]:
    return (slice(begin, begin + CHUNK) for begin in range(0, size, CHUNK))
