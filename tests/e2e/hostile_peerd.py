"""`peerd` whose owner has turned against the run: it trains and relays like any other, and what it sends of
its updates is no update. NaN, infinities, too little, too much, an index that is none: one kind for each
index, the same in every round. Run as a program.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from peerd.learning import fragment

KINDS = ("nan", "infinity", "minus infinity", "short", "no such index")
encode = fragment.encode_fragment


def forged(run: int, round: int, index: int, data: Any, **more: Any) -> bytes:
    """One float of the last of six fragments, the only one with room for more, is one too many."""
    values = np.array(data, np.float32)
    kind = KINDS[index] if index < len(KINDS) else "long"
    match kind:
        case "nan":
            values[-1] = np.nan
        case "infinity":
            values[0] = np.inf
        case "minus infinity":
            values[1] = -np.inf
        case "short":
            values = values[:-1]
        case "long":
            values = np.append(values, np.float32(1.0))
        case _:
            index = 2**32 - 1
    return encode(run, round, index, values, **more)


def main() -> None:
    fragment.encode_fragment = forged
    from peerd.__main__ import main as run

    run()


if __name__ == "__main__":
    main()
