"""Results of the runs that this peer took part in: RUN/results.json, the last status of each.

A few hundred bytes a round. They outlive the models, so that runs can be compared.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from peerd.errors import InvalidInputError, NotFoundError
from peerd.reading import read_bounded
from peerd.status import RunStatus
from peerd.store.archive import RUN_FOLDER, age, folder_of, listed, remove_run
from peerd.store.files import write_atomic

RUNS = 32
"""That are remembered; what is left of older ones goes, models included."""
MAX_BYTES = 4 << 20
_FILE = "results.json"


class History:
    """Blocking: for a thread, or small enough not to matter."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, status: RunStatus) -> None:
        """Replace what is known of that run. OSError when the disk refuses."""
        run = folder_of(self._folder, status.spec.run_id)
        write_atomic(run / _FILE, msgspec.json.encode(status), 0o600)
        runs = self._runs()
        for path in runs[: max(len(runs) - RUNS, 0)]:
            if path.name != run.name:
                remove_run(path)

    def read(self, run_id: str) -> RunStatus:
        """By an id or its first digits. NotFoundError; InvalidInputError where it is corrupt or not one."""
        runs = self._runs()
        named = [path for path in runs if path.name.startswith(run_id)]
        if not named:
            known = ", ".join(path.name[:8] for path in reversed(runs)) or "none"
            raise NotFoundError(f"run {run_id}: this peer took part in no such run; known: {known}")
        if len(named) > 1:
            raise InvalidInputError(f"run {run_id}: {len(named)} runs begin so; give more digits")
        path = named[0] / _FILE
        try:
            return msgspec.json.decode(read_bounded(path, MAX_BYTES, "results of a run"), type=RunStatus)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise InvalidInputError(f"{path}: corrupt results: {error}") from None

    def _runs(self) -> list[Path]:
        """By the time of the last write, the latest last."""
        runs = [path for path in listed(self._folder) if RUN_FOLDER.fullmatch(path.name)]
        files = [path / _FILE for path in runs if (path / _FILE).is_file()]
        return [path.parent for path in sorted(files, key=age)]
