from __future__ import annotations

from pathlib import Path

import pytest

from peerd.epochs import Rotation
from peerd.membership import Identity
from peerd.sphinx import Epochs

SECONDS, GRACE = 100.0, 20.0
CAPACITY = 1000


class Log:
    """Keeps what was logged: (level, event)."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str]] = []

    def warning(self, event: str, **_fields) -> None:
        self.said.append(("warning", event))

    def error(self, event: str, **_fields) -> None:
        self.said.append(("error", event))

    @property
    def levels(self) -> list[str]:
        return [level for level, _ in self.said]


class Life:
    """The lives of one peer, one rotation at a time: `restart` is what comes after a kill -9."""

    def __init__(self, state_dir: Path) -> None:
        self.dir = state_dir
        self.identity = Identity.create(state_dir, "alice", "192.0.2.1:9101")
        self.log = Log()
        self.rotation: Rotation | None = None

    def start(self, wall: float, seconds: float = SECONDS, grace: float = GRACE) -> Rotation:
        self.log = Log()
        made = Rotation(self.dir, self.identity, Epochs(seconds, grace), CAPACITY, self.log)
        made.start(wall)
        self.rotation = made
        return made

    def logs(self) -> set[str]:
        return {path.name for path in (self.dir / "replay").iterdir()}

    def on_disk(self) -> bytes:
        """Every byte of every file."""
        return b"\0".join(path.read_bytes() for path in sorted(self.dir.rglob("*")) if path.is_file())

    def close(self) -> None:
        if self.rotation is not None:
            self.rotation.close()


@pytest.fixture
def life(tmp_path):
    made = Life(tmp_path / "alice")
    yield made
    made.close()
