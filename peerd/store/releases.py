"""How many noised updates have left this peer, by run: `releases.json`, so that restarts do not forget."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Annotated

import msgspec

from peerd.errors import InvalidInputError, NotFoundError
from peerd.reading import read_bounded
from peerd.store.files import write_atomic

KEPT_RUNS = 1_000
"""Those that were counted for last."""
LOST = (
    "restored from a backup, so it is not known what runs of before have cost; remove this file when none of "
    "them that has noise goes on any more"
)
"""In the place of the counts."""
_MAX_BYTES = 1 << 20

_Counts = dict[
    Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}\Z")],
    Annotated[int, msgspec.Meta(ge=1, le=1 << 53)],
]


class Releases:
    """Called from threads: a run that has been stopped may still be counting while the next one begins."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    def count(self, run_id: str) -> int:
        """InvalidInputError when the file is corrupt: nothing is known then, so nothing may be said."""
        return self._read().get(run_id, 0)

    def add(self, run_id: str) -> int:
        """One more; how many there are now, once it is on disk. OSError when the disk refuses."""
        with self._lock:
            counts = self._read()
            counts[run_id] = counts.pop(run_id, 0) + 1
            kept = dict(list(counts.items())[-KEPT_RUNS:])
            write_atomic(self._path, msgspec.json.encode(kept), 0o600)
            return counts[run_id]

    def forget(self) -> None:
        """From now on nothing is known, and says so. OSError when the disk refuses."""
        write_atomic(self._path, msgspec.json.encode(LOST), 0o600)

    def _read(self) -> dict[str, int]:
        try:
            raw = read_bounded(self._path, _MAX_BYTES, "updates released by run")
        except NotFoundError:
            return {}
        if raw == msgspec.json.encode(LOST):
            raise InvalidInputError(f"{self._path}: {LOST}")
        try:
            return msgspec.json.decode(raw, type=_Counts)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise InvalidInputError(f"{self._path}: corrupt: {error}") from None
